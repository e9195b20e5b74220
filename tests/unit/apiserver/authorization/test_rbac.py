"""Bound roles allow, at once and no more; nobody gives away what they do not have; the default roles are kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proa.apiserver.authorization.bootstrap_policy import ensure_policy, load_policy
from proa.client.protocol import User
from proa.controllers import make_controllers, make_server_controllers
from proa.reconcile.manager import account_name

RBAC = "/apis/rbac.authorization.k8s.io/v1"
IN_DEFAULT = f"{RBAC}/namespaces/default"
AUTHENTICATED = "system:authenticated"
ANN = User("ann", ("dev", AUTHENTICATED))
ACCOUNT = User(
    "system:serviceaccount:default:builder",
    ("system:serviceaccounts", "system:serviceaccounts:default", AUTHENTICATED),
)
READ_PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
PODS = "/api/v1/namespaces/default/pods"


def ask(api: Any, user: User, method: str, path: str, body: Any = None) -> Any:
    return asyncio.run(api.ask(method, path, body, user=user))


def role(name: str, *rules: Any) -> Any:
    return {"metadata": {"name": name}, "rules": list(rules)}


def binding(name: str, kind: str, role_name: str, *subjects: Any) -> Any:
    return {
        "metadata": {"name": name},
        "roleRef": {"kind": kind, "name": role_name},
        "subjects": list(subjects),
    }


def user(name: str) -> Any:
    return {"kind": "User", "name": name}


def make(api: Any, path: str, body: Any) -> None:
    answer = api.post(path, body)
    assert answer.status == 201, answer.raw


@pytest.mark.parametrize(
    "subject",
    [user("ann"), {"kind": "Group", "name": "dev"}, {"kind": "Group", "name": AUTHENTICATED}],
)
def test_a_bound_role_counts_as_soon_as_the_binding_is_acknowledged_and_ends_with_it(
    secured_api: Any, subject: Any
) -> None:
    api = secured_api
    refused = ask(api, ANN, "GET", PODS)
    assert (refused.status, refused.message) == (
        403,
        'pods is forbidden: User "ann" cannot list resource "pods" in API group "" in the namespace "default"',
    )
    make(api, f"{IN_DEFAULT}/roles", role("reader", READ_PODS))
    make(api, f"{IN_DEFAULT}/rolebindings", binding("b", "Role", "reader", subject))
    assert ask(api, ANN, "GET", PODS).status == 200
    assert ask(api, ANN, "DELETE", f"{PODS}/p").status == 403
    assert ask(api, ANN, "GET", "/api/v1/namespaces/kube-system/pods").status == 403
    assert ask(api, ANN, "GET", "/api/v1/pods").message.endswith("at the cluster scope")
    api.patch(f"{IN_DEFAULT}/roles/reader", {"rules": [{**READ_PODS, "verbs": ["watch"]}]})
    assert ask(api, ANN, "GET", PODS).status == 403
    api.patch(f"{IN_DEFAULT}/roles/reader", {"rules": [READ_PODS]})
    assert ask(api, ANN, "GET", PODS).status == 200
    api.delete(f"{IN_DEFAULT}/rolebindings/b")
    assert ask(api, ANN, "GET", PODS).status == 403


def test_an_account_is_bound_by_name_or_by_its_groups(secured_api: Any) -> None:
    api = secured_api
    account = {"kind": "ServiceAccount", "name": "builder"}
    make(api, f"{IN_DEFAULT}/rolebindings", binding("own", "ClusterRole", "view", account))
    api.patch(f"{RBAC}/clusterroles/view", {"rules": [READ_PODS]})
    assert ask(api, ACCOUNT, "GET", PODS).status == 200
    assert ask(api, ACCOUNT, "GET", "/api/v1/pods").status == 403
    everywhere = {
        "kind": "Group",
        "name": "system:serviceaccounts:default",
        "apiGroup": "rbac.authorization.k8s.io",
    }
    make(api, f"{RBAC}/clusterrolebindings", binding("all", "ClusterRole", "view", everywhere))
    assert ask(api, ACCOUNT, "GET", "/api/v1/pods").status == 200


def test_a_rule_for_one_name_allows_what_selects_that_name(secured_api: Any) -> None:
    api = secured_api
    one = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["one"], "verbs": ["get", "list"]}
    make(api, f"{IN_DEFAULT}/roles", role("one", one))
    make(api, f"{IN_DEFAULT}/rolebindings", binding("one", "Role", "one", user("ann")))
    path = "/api/v1/namespaces/default/configmaps"
    assert ask(api, ANN, "GET", f"{path}/one").status == 404
    assert ask(api, ANN, "GET", f"{path}/two").status == 403
    assert ask(api, ANN, "GET", path).status == 403
    assert ask(api, ANN, "GET", f"{path}?fieldSelector=metadata.name%3Done").status == 200
    assert ask(api, ANN, "GET", f"{path}?fieldSelector=metadata.name!%3Done").status == 403
    assert (
        ask(api, ANN, "GET", f"{path}?fieldSelector=metadata.namespace%3Da%5C,metadata.name%3Done").status
        == 403
    )


def test_a_role_that_is_not_there_is_named_in_the_refusal(secured_api: Any) -> None:
    api = secured_api
    make(api, f"{IN_DEFAULT}/rolebindings", binding("a", "Role", "gone", user("ann")))
    make(api, f"{RBAC}/clusterrolebindings", binding("b", "ClusterRole", "gone", user("ann")))
    assert ask(api, ANN, "GET", PODS).message.endswith(
        'in the namespace "default": RBAC: [clusterrole.rbac.authorization.k8s.io "gone" not found, '
        'role.rbac.authorization.k8s.io "gone" not found]'
    )


def test_a_review_tells_why(secured_api: Any) -> None:
    api = secured_api
    make(api, f"{IN_DEFAULT}/roles", role("reader", READ_PODS))
    account = {"kind": "ServiceAccount", "name": "builder"}
    make(api, f"{IN_DEFAULT}/rolebindings", binding("b", "Role", "reader", account))
    attributes = {"namespace": "default", "verb": "list", "resource": "pods"}
    body = {"spec": {"user": ACCOUNT.name, "resourceAttributes": attributes}}
    status = api.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", body).json["status"]
    reason = 'RBAC: allowed by RoleBinding "b/default" of Role "reader" to ServiceAccount "builder/default"'
    assert status == {"allowed": True, "reason": reason}
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    found = ask(api, ACCOUNT, "POST", path, {"spec": {"namespace": "default"}}).json["status"]
    assert {**READ_PODS, "verbs": ["get", "list"]} in found["resourceRules"]
    assert found["incomplete"] is False
    assert {
        "verbs": ["get"],
        "nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"],
    } in found["nonResourceRules"]


def test_a_websocket_needs_create_though_it_begins_with_get(secured_api: Any) -> None:
    api, path = secured_api, f"{PODS}/p/exec?command=id"
    reads = {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get"]}
    make(api, f"{IN_DEFAULT}/roles", role("reads", reads))
    make(api, f"{IN_DEFAULT}/rolebindings", binding("reads", "Role", "reads", user("ann")))
    answer = ask(api, ANN, "GET", path)
    assert answer.status == 403
    assert 'User "ann" cannot create resource "pods/exec" in API group ""' in answer.message
    api.patch(f"{IN_DEFAULT}/roles/reads", {"rules": [{**reads, "verbs": ["get", "create"]}]})
    assert ask(api, ANN, "GET", path).status == 404


def test_the_watch_of_one_object_needs_watch_though_it_is_a_get(secured_api: Any) -> None:
    api, path = secured_api, "/api/v1/namespaces/default/configmaps/a?watch=true"
    reads = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}
    make(api, f"{IN_DEFAULT}/roles", role("reads", reads))
    make(api, f"{IN_DEFAULT}/rolebindings", binding("reads", "Role", "reads", user("ann")))
    answer = ask(api, ANN, "GET", path)
    assert (answer.status, "cannot watch resource" in answer.message) == (403, True)


def test_subject_reviews_agree_with_what_is_then_allowed(secured_api: Any) -> None:
    """[sig-auth] SubjectReview should support SubjectReview API operations [Conformance]"""
    api = secured_api
    asked = {"verb": "list", "resource": "configmaps", "version": "v1", "namespace": "default"}
    body = {"spec": {"user": ACCOUNT.name, "resourceAttributes": asked}}
    access = "/apis/authorization.k8s.io/v1"
    reviews = (f"{access}/subjectaccessreviews", f"{access}/namespaces/default/localsubjectaccessreviews")
    make(api, f"{IN_DEFAULT}/roles", role("r", {**READ_PODS, "resources": ["configmaps"]}))
    for is_allowed in (False, True):
        if is_allowed:
            account = {"kind": "ServiceAccount", "name": "builder"}
            make(api, f"{IN_DEFAULT}/rolebindings", binding("b", "Role", "r", account))
        for path in reviews:
            answer = api.post(path, body)
            assert (answer.status, answer.json["status"]["allowed"]) == (201, is_allowed)
        found = ask(api, ACCOUNT, "GET", "/api/v1/namespaces/default/configmaps")
        assert found.status == (200 if is_allowed else 403)


def test_paths_are_refused_in_upstreams_words(secured_api: Any) -> None:
    anonymous = asyncio.run(secured_api.ask("GET", "/metrics", user=None))
    assert anonymous.message == 'forbidden: User "system:anonymous" cannot get path "/metrics"'
    odd = ask(secured_api, User("<b>", (AUTHENTICATED,)), "GET", "/metrics")
    assert 'User "&lt;b&gt;" cannot' in odd.message


# --- escalation -------------------------------------------------------------------------------------------------

WRITE_ROLES = {
    "apiGroups": ["rbac.authorization.k8s.io"],
    "resources": ["roles", "rolebindings", "clusterroles", "clusterrolebindings"],
    "verbs": ["create", "update", "patch", "get"],
}
MISSING = (
    'user "ann" (groups=["dev" "system:authenticated"]) is attempting to grant RBAC permissions not currently held:\n'
    '{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}'
)


@pytest.fixture
def delegating(secured_api: Any) -> Any:
    """A server where ann may write roles and bindings, and nothing else."""
    make(secured_api, f"{RBAC}/clusterroles", role("delegate", WRITE_ROLES))
    make(
        secured_api,
        f"{RBAC}/clusterrolebindings",
        binding("delegate", "ClusterRole", "delegate", user("ann")),
    )
    return secured_api


def grant(api: Any, *rules: Any) -> None:
    make(api, f"{RBAC}/clusterroles", role("granted", *rules))
    make(api, f"{RBAC}/clusterrolebindings", binding("granted", "ClusterRole", "granted", user("ann")))


@pytest.mark.parametrize(
    ("path", "body", "subject"),
    [
        (f"{IN_DEFAULT}/roles", role("r", READ_PODS), 'roles.rbac.authorization.k8s.io "r"'),
        (f"{RBAC}/clusterroles", role("r", READ_PODS), 'clusterroles.rbac.authorization.k8s.io "r"'),
        (f"{IN_DEFAULT}/rolebindings", binding("b", "ClusterRole", "reads-pods", user("ann")),
         'rolebindings.rbac.authorization.k8s.io "b"'),
        (f"{RBAC}/clusterrolebindings", binding("b", "ClusterRole", "reads-pods", user("ann")),
         'clusterrolebindings.rbac.authorization.k8s.io "b"'),
    ],
    ids=["role", "clusterrole", "rolebinding", "clusterrolebinding"],
)  # fmt: skip
def test_what_one_does_not_have_one_cannot_give(delegating: Any, path: str, body: Any, subject: str) -> None:
    api = delegating
    make(api, f"{RBAC}/clusterroles", role("reads-pods", READ_PODS))
    refused = ask(api, ANN, "POST", path, body)
    assert (refused.status, refused.message) == (403, f"{subject} is forbidden: {MISSING}")
    grant(api, READ_PODS)
    assert ask(api, ANN, "POST", path, body).status == 201


@pytest.mark.parametrize(
    ("verb", "plural", "path", "body"),
    [
        ("escalate", "roles", f"{IN_DEFAULT}/roles", role("r", READ_PODS)),
        ("escalate", "clusterroles", f"{RBAC}/clusterroles", role("r", READ_PODS)),
        ("bind", "clusterroles", f"{IN_DEFAULT}/rolebindings", binding("b", "ClusterRole", "reads-pods")),
    ],
)
def test_who_may_escalate_or_bind_can(delegating: Any, verb: str, plural: str, path: str, body: Any) -> None:
    make(delegating, f"{RBAC}/clusterroles", role("reads-pods", READ_PODS))
    grant(delegating, {"apiGroups": ["rbac.authorization.k8s.io"], "resources": [plural], "verbs": [verb]})
    assert ask(delegating, ANN, "POST", path, body).status == 201


def test_the_binding_of_a_role_that_is_not_there_is_not_found(delegating: Any) -> None:
    answer = ask(delegating, ANN, "POST", f"{IN_DEFAULT}/rolebindings", binding("b", "Role", "gone"))
    assert (answer.status, answer.message) == (404, 'roles.rbac.authorization.k8s.io "gone" not found')


def test_an_aggregation_needs_all_rights(delegating: Any) -> None:
    body = {**role("a"), "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}}
    answer = ask(delegating, ANN, "POST", f"{RBAC}/clusterroles", body)
    assert answer.message.endswith("must have cluster-admin privileges to use an aggregationRule")
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    grant(delegating, everything, {"nonResourceURLs": ["*"], "verbs": ["*"]})
    assert ask(delegating, ANN, "POST", f"{RBAC}/clusterroles", body).status == 201


def test_the_collectors_fields_of_a_role_can_be_changed_by_who_lacks_its_rules(delegating: Any) -> None:
    make(delegating, f"{IN_DEFAULT}/roles", role("r", READ_PODS))
    stored = delegating.get(f"{IN_DEFAULT}/roles/r").json
    changed = {**stored, "metadata": {**stored["metadata"], "finalizers": ["example.com/x"]}}
    assert ask(delegating, ANN, "PUT", f"{IN_DEFAULT}/roles/r", changed).status == 200
    labelled = {**stored, "metadata": {**stored["metadata"], "labels": {"a": "b"}, "resourceVersion": ""}}
    assert ask(delegating, ANN, "PUT", f"{IN_DEFAULT}/roles/r", labelled).status == 403


# --- the default policy -----------------------------------------------------------------------------------------


def test_what_a_default_role_has_lost_comes_back_and_what_it_has_beyond_stays(secured_api: Any) -> None:
    api, path = secured_api, f"{RBAC}/clusterroles/system:kube-dns"
    extra = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    api.patch(
        path, {"rules": [extra, {"apiGroups": [""], "resources": ["services"], "verbs": ["list", "watch"]}]}
    )
    api.delete(f"{RBAC}/clusterrolebindings/system:node-proxier")
    api.patch(f"{RBAC}/clusterrolebindings/system:kube-dns", {"subjects": [{"kind": "User", "name": "me"}]})
    asyncio.run(ensure_policy(api.server.catalog))
    rules = api.get(path).json["rules"]
    assert (rules[0], len(rules)) == (extra, 4)
    assert api.get(f"{RBAC}/clusterrolebindings/system:node-proxier").status == 200
    subjects = api.get(f"{RBAC}/clusterrolebindings/system:kube-dns").json["subjects"]
    assert [subject["name"] for subject in subjects] == ["me", "kube-dns"]


def test_a_default_role_that_says_so_is_left_alone(secured_api: Any) -> None:
    api, path = secured_api, f"{RBAC}/clusterroles/system:kube-dns"
    annotations = {"rbac.authorization.kubernetes.io/autoupdate": "false"}
    api.patch(path, {"rules": [], "metadata": {"annotations": annotations}})
    asyncio.run(ensure_policy(api.server.catalog))
    assert not api.get(path).json["rules"]


def test_a_second_start_writes_nothing(secured_api: Any) -> None:
    before = secured_api.store.revision
    asyncio.run(ensure_policy(secured_api.server.catalog))
    assert secured_api.store.revision == before


def test_every_controller_acts_as_an_account_that_a_default_role_is_bound_to() -> None:
    bound = {
        subject["name"]
        for default in load_policy()
        for subject in default.obj.get("subjects") or ()
        if subject["kind"] == "ServiceAccount" and subject["namespace"] == "kube-system"
    }
    assert {
        account_name(controller) for controller in (*make_server_controllers(), *make_controllers())
    } - bound == set(), "docs/adding-a-controller.md, Let it in"


def test_operators_whose_users_make_objects_read_no_secrets() -> None:
    found = [default.obj for default in load_policy()]
    roles = {obj["metadata"]["name"]: obj for obj in found if "rules" in obj}
    for account in ("tuning-operator", "training-operator"):
        rules = roles[f"system:proa:controller:{account}"]["rules"]
        assert not [rule for rule in rules if {"secrets", "*"} & set(rule.get("resources", ()))]


def test_the_operator_of_serving_reads_secrets_by_name_alone() -> None:
    found = [default.obj for default in load_policy()]
    roles = {obj["metadata"]["name"]: obj for obj in found if "rules" in obj}
    rules = roles["system:proa:controller:serving-operator"]["rules"]
    assert {v for rule in rules if "secrets" in rule.get("resources", ()) for v in rule["verbs"]} == {"get"}
    assert not [rule for rule in rules if "*" in (*rule["verbs"], *rule.get("resources", ()))]


def test_a_role_of_more_parts_than_can_be_compared_is_refused_at_once(secured_api: Any) -> None:
    api = secured_api
    writes = {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["create"]}
    make(api, f"{IN_DEFAULT}/roles", role("author", writes, READ_PODS))
    make(api, f"{IN_DEFAULT}/rolebindings", binding("author", "Role", "author", user("ann")))
    many = [f"x{index}" for index in range(300)]
    wide = {"apiGroups": many, "resources": many, "verbs": many, "resourceNames": many}
    refused = ask(api, ANN, "POST", f"{IN_DEFAULT}/roles", role("wide", wide))
    assert refused.status == 403
    assert "more RBAC permissions than can be compared" in refused.message
    refused = ask(api, ANN, "POST", f"{IN_DEFAULT}/roles", role("wide", *([READ_PODS] * 4000), wide))
    assert refused.status == 403
    refused = ask(
        api, ANN, "POST", f"{IN_DEFAULT}/roles", role("wide", *([{**READ_PODS, "verbs": many}] * 5))
    )
    assert "permissions not currently held" in refused.message
    allowed = role("narrow", *([{**READ_PODS, "resourceNames": many}] * 50))
    assert ask(api, ANN, "POST", f"{IN_DEFAULT}/roles", allowed).status == 201


def test_who_may_update_but_not_create_cannot_create_by_an_update(secured_api: Any) -> None:
    api, leases = secured_api, "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["update"]}
    make(api, f"{IN_DEFAULT}/roles", role("updates", rule))
    make(api, f"{IN_DEFAULT}/rolebindings", binding("b", "Role", "updates", user("ann")))
    lease = {"metadata": {"name": "a"}, "spec": {}}
    refused = ask(api, ANN, "PUT", f"{leases}/a", lease)
    assert refused.status == 403
    assert 'cannot create resource "leases" in API group "coordination.k8s.io"' in refused.message
    assert api.put(f"{leases}/a", lease).status == 201
