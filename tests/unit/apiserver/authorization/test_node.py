"""A node reads what its own pods name, as long as they do, and writes what is its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proa.client.protocol import User

CORE, IN_DEFAULT = "/api/v1", "/api/v1/namespaces/default"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
STORAGE, DEVICES = "/apis/storage.k8s.io/v1", "/apis/resource.k8s.io/v1"
N1, N2 = (User(f"system:node:{name}", ("system:nodes", "system:authenticated")) for name in ("n1", "n2"))


def ask(api: Any, user: User, method: str, path: str, body: Any = None, **headers: str) -> Any:
    return asyncio.run(api.ask(method, path, body, user=user, **headers))


def expect(api: Any, code: int, user: User, method: str, path: str, body: Any = None, **headers: str) -> Any:
    answer = ask(api, user, method, path, body, **headers)
    assert answer.status == code, answer.raw
    return answer


def make(api: Any, path: str, body: Any) -> Any:
    answer = api.post(path, body)
    assert answer.status == 201, answer.raw
    return answer.json


@pytest.fixture
def api(secured_api: Any) -> Any:
    """A cluster with two nodes; the pod `mine` of n1 names one object of each kind, `theirs` of n2 names none."""
    api = secured_api
    make(api, f"{CORE}/namespaces", {"metadata": {"name": "kube-node-lease"}})
    for name in ("n1", "n2"):
        make(api, f"{CORE}/nodes", {"metadata": {"name": name}})
    for name in ("default", "runner"):
        make(api, f"{IN_DEFAULT}/serviceaccounts", {"metadata": {"name": name}})
    for name in ("named", "pulled", "other", "of-volume"):
        make(api, f"{IN_DEFAULT}/secrets", {"metadata": {"name": name}})
        make(api, f"{IN_DEFAULT}/configmaps", {"metadata": {"name": name}})
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    for name in ("claimed", "unused"):
        make(api, f"{IN_DEFAULT}/persistentvolumeclaims", {"metadata": {"name": name}, "spec": claim})
        csi = {"driver": "d.example.com", "volumeHandle": name}
        secret = {"name": "of-volume", "namespace": "default"}
        spec = {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "claimRef": {"namespace": "default", "name": name},
            "csi": {**csi, **({"nodeStageSecretRef": secret} if name == "claimed" else {})},
        }
        make(api, f"{CORE}/persistentvolumes", {"metadata": {"name": f"pv-{name}"}, "spec": spec})
    sources = [{"configMapRef": {"name": "named"}}, {"secretRef": {"name": "named"}}]
    api.pod(
        "mine",
        nodeName="n1",
        serviceAccountName="runner",
        imagePullSecrets=[{"name": "pulled"}],
        containers=[{"name": "c", "image": "x:1", "envFrom": sources}],
        volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "claimed"}}],
    )
    api.pod("theirs", nodeName="n2")
    return api


READABLE = (
    f"{IN_DEFAULT}/secrets/named",
    f"{IN_DEFAULT}/secrets/pulled",
    f"{IN_DEFAULT}/secrets/of-volume",
    f"{IN_DEFAULT}/configmaps/named",
    f"{IN_DEFAULT}/configmaps?fieldSelector=metadata.name=named",
    f"{IN_DEFAULT}/persistentvolumeclaims/claimed",
    f"{CORE}/persistentvolumes/pv-claimed",
    f"{IN_DEFAULT}/serviceaccounts/runner",
    f"{IN_DEFAULT}/pods/mine",
    f"{CORE}/pods?fieldSelector=spec.nodeName=n1",
)


@pytest.mark.parametrize("path", READABLE)
def test_a_node_reads_what_its_pods_name_and_another_node_does_not(api: Any, path: str) -> None:
    expect(api, 200, N1, "GET", path)
    expect(api, 403, N2, "GET", path)
    assert api.delete(f"{IN_DEFAULT}/pods/mine", {"gracePeriodSeconds": 0}).status == 200
    if "spec.nodeName" not in path:
        expect(api, 403, N1, "GET", path)


@pytest.mark.parametrize(
    ("method", "path", "why"),
    [
        ("GET", f"{IN_DEFAULT}/secrets/other", "no relationship found between node 'n1' and this object"),
        ("GET", f"{CORE}/secrets", "can only read namespaced object of this type"),
        ("GET", f"{IN_DEFAULT}/secrets", "No Object name found"),
        ("DELETE", f"{IN_DEFAULT}/secrets/named", "can only read resources of this type"),
        ("GET", f"{CORE}/persistentvolumes", "can only get individual resources of this type"),
        ("GET", f"{CORE}/pods", "can only list/watch pods with spec.nodeName field selector"),
        (
            "GET",
            f"{CORE}/pods?fieldSelector=spec.nodeName=n2",
            "can only list/watch pods with spec.nodeName field selector",
        ),
        ("GET", f"{CORE}/nodes", "node 'n1' cannot read all nodes, only its own Node object"),
        ("GET", f"{CORE}/nodes/n2", "node 'n1' cannot read 'n2', only its own Node object"),
        (
            "POST",
            f"{IN_DEFAULT}/serviceaccounts/default/token",
            "no relationship found between node 'n1' and this object",
        ),
        (
            "GET",
            "/apis/coordination.k8s.io/v1/namespaces/default/leases/n1",
            'can only access leases in the "kube-node-lease" system namespace',
        ),
        ("GET", f"{LEASES}/n2", "can only access node lease with the same name as the requesting node"),
        (
            "GET",
            f"{STORAGE}/csinodes/n2",
            "can only access CSINode with the same name as the requesting node",
        ),
        (
            "GET",
            f"{DEVICES}/resourceslices",
            "can only list/watch/deletecollection resourceslices with nodeName field selector",
        ),
        ("DELETE", f"{CORE}/nodes/n1", ""),
        ("GET", "/apis/apps/v1/deployments", ""),
    ],
)
def test_what_a_node_may_not_do_is_refused_in_upstreams_words(
    api: Any, method: str, path: str, why: str
) -> None:
    body = {"spec": {}} if method == "POST" else None
    message = expect(api, 403, N1, method, path, body).message
    assert message.endswith(f": {why}" if why else "at the cluster scope"), message


def test_a_node_without_a_name_or_group_is_none(api: Any) -> None:
    nameless = User("system:node:", ("system:nodes",))
    message = expect(api, 403, nameless, "GET", f"{CORE}/nodes").message
    assert message.endswith('unknown node for user "system:node:"')
    outsider = User("system:node:n1", ("system:authenticated",))
    expect(api, 403, outsider, "GET", f"{IN_DEFAULT}/secrets/named")


def test_access_reviews_judge_by_field_selectors_and_cannot_list_a_nodes_rules(api: Any) -> None:
    def review(value: str) -> bool:
        term = {"key": "spec.nodeName", "operator": "In", "values": [value]}
        asked = {"verb": "list", "resource": "pods", "fieldSelector": {"requirements": [term]}}
        spec = {"user": N1.name, "groups": list(N1.groups), "resourceAttributes": asked}
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        return bool(make(api, path, {"spec": spec})["status"]["allowed"])

    assert review("n1")
    assert not review("n2")
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    status = expect(api, 201, N1, "POST", path, {"spec": {"namespace": "default"}}).json["status"]
    assert status["incomplete"]
    assert status["evaluationError"] == "node authorizer does not support user rule resolution"


# --- what only the objects tell ---------------------------------------------------------------------------------


def mirror(api: Any, **spec: Any) -> Any:
    uid = api.get(f"{CORE}/nodes/n1").json["metadata"]["uid"]
    owner = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": uid, "controller": True}
    metadata = {
        "name": "static-n1",
        "annotations": {"kubernetes.io/config.mirror": "hash"},
        "ownerReferences": [owner],
    }
    containers = [{"name": "c", "image": "x:1"}]
    return {"metadata": metadata, "spec": {"nodeName": "n1", "containers": containers, **spec}}


def test_a_node_makes_and_deletes_its_own_mirror_pods(api: Any) -> None:
    expect(api, 201, N1, "POST", f"{IN_DEFAULT}/pods", mirror(api))
    expect(api, 403, N2, "DELETE", f"{IN_DEFAULT}/pods/static-n1", {"gracePeriodSeconds": 0})
    expect(api, 200, N1, "DELETE", f"{IN_DEFAULT}/pods/static-n1", {"gracePeriodSeconds": 0})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda pod: pod["metadata"].pop("annotations"),
            'pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods',
        ),
        (
            lambda pod: pod["spec"].update(nodeName="n2"),
            'node "n1" can only create pods with spec.nodeName set to itself',
        ),
        (
            lambda pod: pod["metadata"].pop("ownerReferences"),
            'node "n1" can only create pods with an owner reference set to itself',
        ),
        (
            lambda pod: pod["metadata"]["ownerReferences"][0].pop("controller"),
            'node "n1" can only create pods with a controller owner reference set to itself',
        ),
        (
            lambda pod: pod["metadata"]["ownerReferences"][0].update(blockOwnerDeletion=True),
            'node "n1" must not set blockOwnerDeletion on an owner reference',
        ),
        (
            lambda pod: pod["spec"].update(serviceAccountName="default"),
            'node "n1" can not create pods that reference a service account',
        ),
        (
            lambda pod: pod["spec"].update(imagePullSecrets=[{"name": "other"}]),
            'node "n1" can not create pods that reference secrets',
        ),
        (
            lambda pod: pod["spec"].update(volumes=[{"name": "v", "configMap": {"name": "other"}}]),
            'node "n1" can not create pods that reference configmaps',
        ),
        (
            lambda pod: pod["spec"].update(
                volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "unused"}}]
            ),
            'node "n1" can not create pods that reference persistentvolumeclaims',
        ),
    ],
)
def test_a_node_makes_no_other_pods(api: Any, change: Any, why: str) -> None:
    pod = mirror(api)
    change(pod)
    message = expect(api, 403, N1, "POST", f"{IN_DEFAULT}/pods", pod).message
    assert message == f'pods "static-n1" is forbidden: {why}'


STATUS = {"status": {"phase": "Running"}}
MERGE = {"content_type": "application/merge-patch+json"}


def test_a_node_writes_the_status_of_its_own_pods_and_evicts_them(api: Any) -> None:
    expect(api, 200, N1, "PATCH", f"{IN_DEFAULT}/pods/mine/status", STATUS, **MERGE)
    message = expect(api, 403, N2, "PATCH", f"{IN_DEFAULT}/pods/mine/status", STATUS, **MERGE).message
    assert message.endswith('node "n2" can only update pod status for pods with spec.nodeName set to itself')
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "mine"}}
    message = expect(api, 403, N2, "POST", f"{IN_DEFAULT}/pods/mine/eviction", eviction).message
    assert message.endswith("node n2 can only evict pods with spec.nodeName set to itself")
    expect(api, 201, N1, "POST", f"{IN_DEFAULT}/pods/mine/eviction", eviction)


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        ({"kubernetes.io/hostname": "n1", "mine": "yes", "node.kubernetes.io/x": "y"}, ""),
        ({"node-restriction.kubernetes.io/zone": "a"}, "node-restriction.kubernetes.io/zone"),
        (
            {"a.node-restriction.kubernetes.io/b": "a", "node-role.kubernetes.io/x": ""},
            "a.node-restriction.kubernetes.io/b, node-role.kubernetes.io/x",
        ),
    ],
)
def test_a_node_sets_no_labels_by_which_others_choose_it(api: Any, labels: dict[str, str], why: str) -> None:
    change = {"metadata": {"labels": labels}}
    answer = ask(api, N1, "PATCH", f"{CORE}/nodes/n1", change, **MERGE)
    if not why:
        assert answer.status == 200, answer.raw
        return
    assert answer.message == f'nodes "n1" is forbidden: is not allowed to modify labels: {why}'
    api.delete(f"{CORE}/nodes/n1")
    made = {"metadata": {"name": "n1", "labels": labels}}
    message = expect(api, 403, N1, "POST", f"{CORE}/nodes", made).message
    assert message.endswith(f'node "n1" is not allowed to set the following labels: {why}')


def test_a_node_changes_no_taints_and_no_other_node(api: Any) -> None:
    taints = {"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}
    message = expect(api, 403, N1, "PATCH", f"{CORE}/nodes/n1", taints, **MERGE).message
    assert message == 'nodes "n1" is forbidden: node "n1" is not allowed to modify taints'
    change = {"metadata": {"labels": {"a": "b"}}}
    message = expect(api, 403, N2, "PATCH", f"{CORE}/nodes/n1", change, **MERGE).message
    assert message == 'nodes "n1" is forbidden: node "n2" is not allowed to modify node "n1"'


def test_a_node_makes_its_own_lease_and_csi_node(api: Any) -> None:
    for path, body in ((LEASES, {"spec": {}}), (f"{STORAGE}/csinodes", {"spec": {"drivers": []}})):
        expect(api, 403, N1, "POST", path, {"metadata": {"name": "n2"}, **body})
        expect(api, 201, N1, "POST", path, {"metadata": {"name": "n1"}, **body})
        expect(api, 200, N1, "GET", f"{path}/n1")


def token_request(api: Any, pod: str, *audiences: str) -> Any:
    uid = api.get(f"{IN_DEFAULT}/pods/{pod}").json["metadata"]["uid"]
    ref = {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}
    return {"spec": {"audiences": list(audiences), "boundObjectRef": ref}}


def test_a_node_asks_for_tokens_bound_to_its_pods_alone_and_for_audiences_that_they_name(api: Any) -> None:
    path = f"{IN_DEFAULT}/serviceaccounts/runner/token"
    unbound = expect(api, 403, N1, "POST", path, {"spec": {}}).message
    assert unbound.endswith("node requested token not bound to a pod")
    theirs = expect(api, 403, N1, "POST", path, token_request(api, "theirs")).message
    assert theirs.endswith("node requested token bound to a pod scheduled on a different node")
    foreign = expect(api, 403, N1, "POST", path, token_request(api, "mine", "vault")).message
    assert foreign.endswith(
        'audience "vault" not found in pod spec volume, system:node:n1 is not authorized to request tokens for this '
        "audience"
    )
    allowed = ask(api, N1, "POST", path, token_request(api, "mine"))
    assert allowed.status != 403, allowed.raw
