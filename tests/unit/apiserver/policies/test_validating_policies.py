"""ValidatingAdmissionPolicies refuse, warn and note, by the examples of Kubernetes' documentation."""

from __future__ import annotations

import pytest
from tests.unit.apiserver.policies.conftest import CONFIG_MAPS, DEPLOYMENTS, GROUP


def test_a_deployment_is_refused_in_upstreams_words(policies) -> None:
    """[sig-api-machinery] ValidatingAdmissionPolicy should validate against a Deployment [Conformance]"""
    policies.validating("object.spec.replicas <= 5", name="demo-policy.example.com", rule=DEPLOYMENTS)
    assert policies.deployment("few", 5).status == 201
    refused = policies.deployment("many", 6)
    message = (
        "ValidatingAdmissionPolicy 'demo-policy.example.com' with binding 'demo-policy.example.com-b' denied request: "
        "failed expression: object.spec.replicas <= 5"
    )
    assert refused.json == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f'deployments.apps "many" is forbidden: {message}',
        "reason": "Invalid",
        "details": {
            "name": "many",
            "group": "apps",
            "kind": "deployments",
            "causes": [{"message": message}],
        },
        "code": 422,
    }


def test_expressions_may_refer_to_variables(policies) -> None:
    """[sig-api-machinery] ValidatingAdmissionPolicy should allow expressions to refer variables. [Conformance]"""
    policies.validating(
        {"expression": "variables.oddReplicas", "messageExpression": "'even: ' + string(variables.replicas)"},
        rule=DEPLOYMENTS,
        variables=[
            {"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"},
        ],
    )
    assert policies.deployment("odd", 3).status == 201
    assert policies.deployment("even", 4).message.endswith("denied request: even: 4")


@pytest.mark.parametrize(
    ("validation", "said", "reason", "code"),
    [
        ({"message": "no"}, "no", "Invalid", 422),
        ({"message": "no", "reason": "Forbidden"}, "no", "Forbidden", 403),
        ({"reason": "Unauthorized"}, "failed expression: has(object.data)", "Unauthorized", 401),
        ({"reason": "RequestEntityTooLarge", "message": "m"}, "m", "RequestEntityTooLarge", 413),
        ({"messageExpression": "'for ' + request.userInfo.username"}, "for admin", "Invalid", 422),
        ({"messageExpression": "'two\\nlines'", "message": "one"}, "one", "Invalid", 422),
        ({"messageExpression": "string(object.nope)", "message": "falls back"}, "falls back", "Invalid", 422),
    ],
)  # fmt: skip
def test_a_refusal_says_what_the_policy_says(policies, validation, said, reason, code) -> None:
    policies.validating({"expression": "has(object.data)", **validation})
    refused = policies.config_map()
    assert (refused.json["reason"], refused.status) == (reason, code)
    assert refused.message.endswith(f"denied request: {said}")


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("request.operation == 'CREATE' && request.namespace == 'default' && request.name == 'c'", True),
        ("request.kind.kind == 'ConfigMap' && request.resource.resource == 'configmaps'", True),
        ("request.userInfo.username == 'admin' && 'system:masters' in request.userInfo.groups", True),
        ("namespaceObject.metadata.name == 'default' && has(namespaceObject.metadata.creationTimestamp)", True),
        ("oldObject == null && object.metadata.name == 'c'", True),
        ("authorizer.group('').resource('pods').namespace('default').check('get').allowed()", True),
        ("authorizer.requestResource.check('create').allowed()", True),
        ("authorizer.serviceAccount('default', 'x').group('').resource('pods').check('get').allowed()", False),
        ("authorizer.path('/healthz').check('get').allowed()", True),
        ("request.dryRun", False),
        ("object.?data.?a.orValue('') == ''", True),
    ],
)  # fmt: skip
def test_expressions_know_the_request(policies, expression, allowed) -> None:
    policies.validating(expression)
    assert (policies.config_map().status == 201) is allowed


def test_an_update_sees_what_was(policies, api) -> None:
    api.config_map("c")
    policies.validating("oldObject == null || object.data.a == oldObject.data.a", name="frozen")
    assert api.patch("/api/v1/namespaces/default/configmaps/c", {"data": {"b": "c"}}).status == 200
    assert api.patch("/api/v1/namespaces/default/configmaps/c", {"data": {"a": "c"}}).status == 422


def test_a_deletion_has_no_object(policies, api) -> None:
    api.config_map("kept", labels={"keep": "true"})
    api.config_map("loose")
    rule = {**CONFIG_MAPS, "operations": ["DELETE"]}
    policies.validating("object == null && !('keep' in oldObject.metadata.?labels.orValue({}))", rule=rule)
    assert api.delete("/api/v1/namespaces/default/configmaps/loose").status == 200
    assert api.delete("/api/v1/namespaces/default/configmaps/kept").status == 422


def test_warn_and_audit_let_the_request_through(policies) -> None:
    policies.validating("false", actions=("Warn", "Audit"))
    answer = policies.config_map()
    assert answer.status == 201
    said = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p-b': failed expression: false"
    assert answer.headers["Warning"] == f'299 - "{said}"'


def test_match_conditions_leave_requests_out(policies) -> None:
    policies.validating(
        "false", matchConditions=[{"name": "labelled", "expression": "has(object.metadata.labels)"}]
    )
    assert policies.config_map("plain").status == 201
    assert policies.config_map("labelled", metadata={"labels": {"a": "b"}}).status == 422


@pytest.mark.parametrize(("failure", "status"), [("Fail", 422), ("Ignore", 201)])
def test_what_cannot_be_judged_follows_the_failure_policy(policies, failure, status) -> None:
    policies.validating("object.data.nope == ''", failurePolicy=failure)
    answer = policies.config_map(data={})
    assert answer.status == status
    if status == 422:
        assert answer.message.endswith(
            "expression 'object.data.nope == ''' resulted in error: no such key: data"
        )


def test_a_hostile_expression_is_cut_short(policies) -> None:
    policies.validating("lists.range(1000).all(x, lists.range(1000).all(y, x + y >= 0))")
    refused = policies.config_map()
    assert refused.message.endswith(
        "validation failed due to running out of cost budget, no further validation rules will be run"
    )


def test_a_binding_narrows_its_policy(policies, api) -> None:
    api.post("/api/v1/namespaces", {"metadata": {"name": "prod", "labels": {"env": "prod"}}})
    match = {"namespaceSelector": {"matchLabels": {"env": "prod"}}}
    policies.validating("false", binding={"matchResources": match})
    assert policies.config_map().status == 201
    assert policies.config_map(namespace="prod").status == 422


def test_rules_may_exclude(policies) -> None:
    exclude = [{**CONFIG_MAPS, "resourceNames": ["spared"]}]
    match = {"resourceRules": [CONFIG_MAPS], "excludeResourceRules": exclude}
    policies.validating("false", matchConstraints=match)
    assert policies.config_map("spared").status == 201
    assert policies.config_map("other").status == 422


PARAMS = {"apiVersion": "v1", "kind": "ConfigMap"}


def test_parameters_are_named(policies, api) -> None:
    api.config_map("limits")
    ref = {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"}
    policies.validating(
        "object.spec.replicas <= int(params.data.max)", rule=DEPLOYMENTS, paramKind=PARAMS, binding={"paramRef": ref}
    )  # fmt: skip
    api.patch("/api/v1/namespaces/default/configmaps/limits", {"data": {"max": "2"}})
    assert policies.deployment("two", 2).status == 201
    assert policies.deployment("three", 3).status == 422


def test_parameters_are_selected_and_each_must_hold(policies, api) -> None:
    for name, most in (("one", "9"), ("two", "3")):
        api.config_map(name, labels={"limits": "yes"})
        api.patch(f"/api/v1/namespaces/default/configmaps/{name}", {"data": {"max": most}})
    ref = {"selector": {"matchLabels": {"limits": "yes"}}, "parameterNotFoundAction": "Deny"}
    policies.validating(
        "object.spec.replicas <= int(params.data.max)", rule=DEPLOYMENTS, paramKind=PARAMS, binding={"paramRef": ref}
    )  # fmt: skip
    assert policies.deployment("three", 3).status == 201
    assert policies.deployment("four", 4).status == 422


@pytest.mark.parametrize(("action", "status"), [("Deny", 422), ("Allow", 201)])
def test_a_parameter_that_is_not_there(policies, action, status) -> None:
    ref = {"name": "nope", "namespace": "default", "parameterNotFoundAction": action}
    policies.validating("false", rule=DEPLOYMENTS, paramKind=PARAMS, binding={"paramRef": ref})
    answer = policies.deployment()
    assert answer.status == status
    if status == 422:
        assert answer.message.endswith(
            "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
        )


def test_a_kind_of_parameters_that_is_not_served(policies) -> None:
    policies.validating(
        "true", rule=DEPLOYMENTS, paramKind={"apiVersion": "rules.example.com/v1", "kind": "Limit"}
    )
    assert policies.deployment().message.endswith(
        "ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: failed to find resource referenced "
        "by paramKind: 'rules.example.com/v1, Kind=Limit'"
    )


def test_policies_do_not_judge_policies(policies, api) -> None:
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}
    policies.validating("false", rule=rule)
    assert api.delete(f"{GROUP}/validatingadmissionpolicybindings/p-b").status == 200
    assert policies.config_map().status == 201


def test_a_policy_without_a_binding_does_nothing(policies, api) -> None:
    policies.validating("false")
    api.delete(f"{GROUP}/validatingadmissionpolicybindings/p-b")
    assert policies.config_map().status == 201


def test_a_changed_policy_counts_at_once(policies, api) -> None:
    policies.validating("false")
    assert policies.config_map().status == 422
    api.patch(f"{GROUP}/validatingadmissionpolicies/p", {"spec": {"validations": [{"expression": "true"}]}})
    assert policies.config_map().status == 201
