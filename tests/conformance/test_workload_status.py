"""What upstream's conformance suite asks of the status and scale of workloads, and of their collections.

Follows test/e2e/apps/{deployment,replica_set,job}.go. What their controllers do is in test_controllers.py.
"""

from __future__ import annotations

from typing import Any

import pytest

APPS, BATCH = "/apis/apps/v1/namespaces/default", "/apis/batch/v1/namespaces/default"
LABELS = {"app": "e2e"}
CONDITION = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}


def workload(name: str, **spec: Any) -> Any:
    containers = [{"name": "c", "image": "registry.example/app:1"}]
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": containers, **spec}}
    return {"metadata": {"name": name, "labels": LABELS}, "spec": {"template": template}}


def selecting(name: str, replicas: int = 1) -> Any:
    body = workload(name)
    body["spec"] |= {"replicas": replicas, "selector": {"matchLabels": LABELS}}
    return body


@pytest.mark.parametrize("kind", ["deployments", "replicasets"])
def test_scale(api: Any, kind: str) -> None:
    """[sig-apps] Deployment Deployment should have a working scale subresource [Conformance]
    [sig-apps] ReplicaSet Replicaset should have a working scale subresource [Conformance]"""
    path = f"{APPS}/{kind}/x"
    api.post(f"{APPS}/{kind}", selecting("x"))
    scale = api.get(f"{path}/scale")
    assert (scale["kind"], scale["spec"]["replicas"]) == ("Scale", 1)
    scale["spec"]["replicas"] = 2
    assert api.put(f"{path}/scale", scale)["spec"]["replicas"] == 2
    assert api.get(path)["spec"]["replicas"] == 2
    api.patch(f"{path}/scale", {"spec": {"replicas": 4}}, "merge")
    assert api.get(path)["spec"]["replicas"] == 4


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{APPS}/deployments", selecting("x")),
        (f"{APPS}/replicasets", selecting("x")),
        (f"{BATCH}/jobs", workload("x", restartPolicy="Never")),
    ],
    ids=("deployment", "replicaset", "job"),
)
def test_status(api: Any, path: str, body: Any) -> None:
    """[sig-apps] Deployment should validate Deployment Status endpoints [Conformance]
    [sig-apps] ReplicaSet should validate Replicaset Status endpoints [Conformance]
    [sig-apps] Job should apply changes to a job status [Conformance]"""
    made = api.post(path, body)
    found = api.get(f"{path}/x/status")
    status = {**found["status"], "conditions": [CONDITION]}
    updated = api.put(f"{path}/x/status", {**found, "status": status})
    assert updated["status"]["conditions"][0].items() >= CONDITION.items()
    patch = {
        "metadata": {"annotations": {"patched": "true"}},
        "status": {"conditions": [{**CONDITION, "type": "P"}]},
    }
    patched = api.patch(f"{path}/x/status", patch, "merge")
    assert [c["type"] for c in patched["status"]["conditions"]] == ["P"]
    assert (patched["spec"], patched["metadata"]["generation"]) == (made["spec"], 1)
    assert [kind for kind, _ in api.history(path, made, 2)] == ["MODIFIED", "MODIFIED"]


class TestReplicaSets:
    PATH = f"{APPS}/replicasets"

    def test_a_collection(self, api: Any) -> None:
        """[sig-apps] ReplicaSet should list and delete a collection of ReplicaSets [Conformance]"""
        api.post(self.PATH, selecting("x", 3))
        assert api.names("/apis/apps/v1/replicasets?labelSelector=app%3De2e") == ["x"]
        api.delete(f"{self.PATH}?labelSelector=app%3De2e")
        assert api.names("/apis/apps/v1/replicasets?labelSelector=app%3De2e") == []

    def test_replace_and_patch(self, api: Any) -> None:
        """[sig-apps] ReplicaSet Replace and Patch tests [Conformance], the API server's part"""
        api.post(self.PATH, selecting("x"))
        scale = api.get(f"{self.PATH}/x/scale")
        api.put(f"{self.PATH}/x/scale", {**scale, "spec": {"replicas": 2}})
        containers = [{"name": "c", "image": "registry.example/app:2"}]
        template = {"spec": {"terminationGracePeriodSeconds": 0, "containers": containers}}
        patch = {"metadata": {"labels": {"x": "patched"}}, "spec": {"replicas": 3, "template": template}}
        found = api.patch(f"{self.PATH}/x", patch)
        assert (found["spec"]["replicas"], found["metadata"]["labels"]["x"]) == (3, "patched")
        assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example/app:2"


class TestDeployments:
    PATH = f"{APPS}/deployments"

    def test_lifecycle(self, api: Any) -> None:
        """[sig-apps] Deployment should run the lifecycle of a Deployment [Conformance], the API server's part"""
        made = api.post(self.PATH, selecting("x"))
        containers = [{"name": "c", "image": "registry.example/app:2"}]
        template = {"spec": {"terminationGracePeriodSeconds": 0, "containers": containers}}
        patch = {"metadata": {"labels": {"x": "patched"}}, "spec": {"replicas": 2, "template": template}}
        assert api.patch(f"{self.PATH}/x", patch)["metadata"]["generation"] == 2
        assert api.names("/apis/apps/v1/deployments?labelSelector=x%3Dpatched") == ["x"]
        read = api.patch(f"{self.PATH}/x/status", {"status": {"readyReplicas": 2, "replicas": 2}}, "merge")
        read["status"]["readyReplicas"] = 0
        updated = api.put(f"{self.PATH}/x/status", read)
        assert updated["status"].get("readyReplicas", 0) == 0
        api.delete(f"{self.PATH}?labelSelector=x%3Dpatched")
        kinds = [kind for kind, _ in api.history(self.PATH, made, 4)]
        assert kinds == ["MODIFIED", "MODIFIED", "MODIFIED", "DELETED"]


class TestJobs:
    PATH = f"{BATCH}/jobs"

    def test_lifecycle(self, api: Any) -> None:
        """[sig-apps] Job should manage the lifecycle of a job [Conformance], the API server's part"""
        body = workload("x", restartPolicy="Never")
        body["spec"] |= {"suspend": True}
        api.post(self.PATH, body)
        assert (
            api.patch(f"{self.PATH}/x", {"metadata": {"labels": {"x": "patched"}}})["spec"]["suspend"] is True
        )
        found = api.get(f"{self.PATH}/x")
        found["metadata"].setdefault("annotations", {})["updated"] = "true"
        found["spec"]["suspend"] = False
        assert api.put(f"{self.PATH}/x", found)["metadata"]["annotations"]["updated"] == "true"
        assert api.names("/apis/batch/v1/jobs?labelSelector=x%3Dpatched") == ["x"]
        api.expect(
            200, "DELETE", f"{self.PATH}?labelSelector=x%3Dpatched", {"propagationPolicy": "Background"}
        )
        assert api.names("/apis/batch/v1/jobs?labelSelector=x%3Dpatched") == []
