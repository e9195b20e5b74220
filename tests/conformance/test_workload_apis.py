"""What upstream's conformance suite asks of the APIs of workloads, without their controllers."""

from __future__ import annotations

from typing import Any

import pytest

APPS = "/apis/apps/v1/namespaces/default"
CORE = "/api/v1/namespaces/default"
BATCH = "/apis/batch/v1/namespaces/default"
POLICY = "/apis/policy/v1/namespaces/default"
AUTOSCALING = "/apis/autoscaling"
LABELS = {"app": "e2e"}
SELECTED = "labelSelector=app%3De2e"


def template(labels: Any = None, **spec: Any) -> Any:
    containers = [{"name": "c", "image": "registry.example/app:1"}]
    return {
        "metadata": {"labels": LABELS if labels is None else labels},
        "spec": {"containers": containers, **spec},
    }


def workload(name: str, **spec: Any) -> Any:
    return {
        "metadata": {"name": name, "labels": LABELS},
        "spec": {"selector": {"matchLabels": LABELS}, "template": template(), **spec},
    }


class TestStatefulSets:
    PATH = f"{APPS}/statefulsets"

    def test_list_patch_and_delete_a_collection(self, api: Any) -> None:
        """[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic]
        should list, patch and delete a collection of StatefulSets [Conformance]"""
        api.post(self.PATH, workload("test-ss", serviceName="test", replicas=1))
        api.patch(
            f"{self.PATH}/test-ss", {"metadata": {"labels": {"test-ss": "patched"}}, "spec": {"replicas": 2}}
        )
        (found,) = api.get("/apis/apps/v1/statefulsets?labelSelector=test-ss%3Dpatched")["items"]
        assert (found["spec"]["replicas"], found["metadata"]["generation"]) == (2, 2)
        api.delete(f"{self.PATH}?labelSelector=test-ss%3Dpatched")
        assert api.names(self.PATH) == []

    def test_scale(self, api: Any) -> None:
        """[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic]
        should have a working scale subresource [Conformance]"""
        api.post(self.PATH, workload("ss", serviceName="test", replicas=1))
        scale = api.get(f"{self.PATH}/ss/scale")
        assert (scale["kind"], scale["spec"]["replicas"]) == ("Scale", 1)
        scale["spec"]["replicas"] = 2
        assert api.put(f"{self.PATH}/ss/scale", scale)["spec"]["replicas"] == 2
        api.patch(f"{self.PATH}/ss/scale", {"spec": {"replicas": 4}}, "merge")
        assert api.get(f"{self.PATH}/ss")["spec"]["replicas"] == 4

    def test_status(self, api: Any) -> None:
        """[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic]
        should validate Statefulset Status endpoints [Conformance]"""
        check_status(api, self.PATH, api.post(self.PATH, workload("ss", serviceName="test")))


def check_status(api: Any, path: str, made: Any) -> None:
    """Update, patch and watch conditions through the status subresource; the spec stays."""
    where = f"{path}/{made['metadata']['name']}/status"
    status = api.get(where)["status"]
    condition = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
    updated = api.put(where, {**made, "status": {**status, "conditions": [condition]}, "spec": made["spec"]})
    assert updated["status"]["conditions"][0]["reason"] == "E2E"
    patched = api.patch(where, {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}})
    assert "StatusPatched" in [c["type"] for c in patched["status"]["conditions"]]
    assert patched["spec"] == made["spec"]
    assert patched["metadata"]["generation"] == made["metadata"]["generation"]
    name = made["metadata"]["name"]
    assert api.history(path, made, 2) == [("MODIFIED", name), ("MODIFIED", name)]


class TestDaemonSets:
    PATH = f"{APPS}/daemonsets"

    def test_list_and_delete_a_collection(self, api: Any) -> None:
        """[sig-apps] Daemon set should list and delete a collection of DaemonSets [Conformance] [Serial]"""
        api.post(self.PATH, workload("daemon-set"))
        assert api.names(f"/apis/apps/v1/daemonsets?{SELECTED}") == ["daemon-set"]
        api.delete(f"{self.PATH}?{SELECTED}")
        assert api.names(self.PATH) == []

    def test_status(self, api: Any) -> None:
        """[sig-apps] Daemon set should verify changes to a daemon set status [Conformance] [Serial]"""
        check_status(api, self.PATH, api.post(self.PATH, workload("daemon-set")))


class TestControllerRevisions:
    PATH = f"{APPS}/controllerrevisions"

    def test_lifecycle(self, api: Any) -> None:
        """[sig-apps] ControllerRevision should manage the lifecycle of a ControllerRevision [Conformance] [Serial]"""
        first = {"metadata": {"name": "first", "labels": LABELS}, "data": {"spec": {"a": 1}}, "revision": 1}
        made = api.post(self.PATH, first)
        assert (
            api.patch(f"{self.PATH}/first", {"metadata": {"labels": {"first": "patched"}}})["revision"] == 1
        )
        api.post(self.PATH, {**first, "metadata": {"name": "second", "labels": LABELS}, "revision": 3})
        second = api.get(f"{self.PATH}/second")
        second["metadata"]["labels"]["second"] = "updated"
        assert api.put(f"{self.PATH}/second", second)["data"] == made["data"]
        api.delete(f"{self.PATH}/first")
        assert api.names(f"{self.PATH}?{SELECTED}") == ["second"]
        api.delete(f"{self.PATH}?labelSelector=second%3Dupdated")
        assert api.names("/apis/apps/v1/controllerrevisions") == []


class TestReplicationControllers:
    PATH = f"{CORE}/replicationcontrollers"

    def test_scale(self, api: Any) -> None:
        """[sig-apps] ReplicationController should get and update a ReplicationController scale [Conformance]"""
        body = {
            "metadata": {"name": "rc"},
            "spec": {"replicas": 1, "selector": LABELS, "template": template()},
        }
        api.post(self.PATH, body)
        scale = api.get(f"{self.PATH}/rc/scale")
        assert scale["status"] == {"replicas": 0, "selector": "app=e2e"}
        scale["spec"]["replicas"] = 2
        api.put(f"{self.PATH}/rc/scale", scale)
        assert api.get(f"{self.PATH}/rc")["spec"]["replicas"] == 2

    def test_lifecycle(self, api: Any) -> None:
        """[sig-apps] ReplicationController should test the lifecycle of a ReplicationController [Conformance]"""
        body = {"metadata": {"name": "rc", "labels": LABELS}, "spec": {"replicas": 1, "template": template()}}
        made = api.post(self.PATH, body)
        api.patch(f"{self.PATH}/rc", {"metadata": {"labels": {"rc": "patched"}}})
        api.patch(f"{self.PATH}/rc/status", {"status": {"replicas": 1, "readyReplicas": 1}})
        assert api.get(f"{self.PATH}/rc/status")["status"]["readyReplicas"] == 1
        api.patch(f"{self.PATH}/rc/scale", {"spec": {"replicas": 2}}, "merge")
        found = api.get("/api/v1/replicationcontrollers?labelSelector=rc%3Dpatched")["items"]
        assert [item["spec"]["replicas"] for item in found] == [2]
        changed = api.get(f"{self.PATH}/rc")
        changed["spec"]["replicas"] = 3
        api.put(f"{self.PATH}/rc", changed)
        api.delete(f"{self.PATH}?labelSelector=rc%3Dpatched&propagationPolicy=Background")
        expected = [("MODIFIED", "rc")] * 4 + [("DELETED", "rc")]
        assert api.history(self.PATH, made, 5) == expected


class TestPodTemplates:
    PATH = f"{CORE}/podtemplates"

    def make(self, name: str) -> Any:
        return {"metadata": {"name": name, "labels": LABELS}, "template": template()}

    def test_lifecycle(self, api: Any) -> None:
        """[sig-node] PodTemplates should run the lifecycle of PodTemplates [Conformance]"""
        api.post(self.PATH, self.make("one"))
        api.patch(f"{self.PATH}/one", {"metadata": {"labels": {"one": "patched"}}})
        assert api.get(f"{self.PATH}/one")["metadata"]["labels"]["one"] == "patched"
        api.delete(f"{self.PATH}/one")
        assert api.names(f"/api/v1/podtemplates?{SELECTED}") == []

    def test_delete_a_collection(self, api: Any) -> None:
        """[sig-node] PodTemplates should delete a collection of pod templates [Conformance]"""
        for name in ("one", "two", "three"):
            api.post(self.PATH, self.make(name))
        assert sorted(api.names(f"{self.PATH}?{SELECTED}")) == ["one", "three", "two"]
        api.delete(f"{self.PATH}?{SELECTED}")
        assert api.names(self.PATH) == []

    def test_replace(self, api: Any) -> None:
        """[sig-node] PodTemplates should replace a pod template [Conformance]"""
        made = api.post(self.PATH, self.make("one"))
        made["metadata"]["annotations"] = {"updated": "true"}
        assert api.put(f"{self.PATH}/one", made)["metadata"]["annotations"] == {"updated": "true"}


def check_api_operations(api: Any, everywhere: str, path: str, make: Any) -> None:
    """Create, read, list, watch, patch, update, status and delete, as upstream's tests of `API operations` do."""
    first = api.post(path, make("one"))
    api.post(path, make("two"))
    assert api.get(f"{path}/one")["metadata"]["uid"] == first["metadata"]["uid"]
    assert api.names(path) == api.names(everywhere) == ["one", "two"]
    patched = api.patch(f"{path}/one", {"metadata": {"annotations": {"patched": "true"}}}, "merge")
    patched["metadata"]["annotations"]["updated"] = "true"
    assert api.put(f"{path}/one", patched)["metadata"]["annotations"] == {
        "patched": "true",
        "updated": "true",
    }
    expected = [("ADDED", "two"), ("MODIFIED", "one"), ("MODIFIED", "one")]
    assert api.history(path, first, 3) == expected
    api.delete(f"{path}/one")
    assert api.send("GET", f"{path}/one")[0] == 404
    api.delete(f"{path}?{SELECTED}")
    assert api.names(path) == []


def test_cron_job_api_operations(api: Any) -> None:
    """[sig-apps] CronJob should support CronJob API operations [Conformance]"""
    job = {"spec": {"template": template(restartPolicy="OnFailure")}}

    def make(name: str) -> Any:
        spec = {"schedule": "* */1 * * ?", "concurrencyPolicy": "Allow", "jobTemplate": job}
        return {"metadata": {"name": name, "labels": LABELS}, "spec": spec}

    path = f"{BATCH}/cronjobs"
    check_api_operations(api, "/apis/batch/v1/cronjobs", path, make)
    api.post(path, make("three"))
    patch = {
        "metadata": {"annotations": {"patchedstatus": "true"}},
        "status": {"lastScheduleTime": "2026-01-02T03:04:05Z"},
    }
    patched = api.patch(f"{path}/three/status", patch, "merge")
    assert patched["status"]["lastScheduleTime"] == "2026-01-02T03:04:05Z"
    assert patched["metadata"]["annotations"] == {"patchedstatus": "true"}


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_autoscaler_api_operations(api: Any, version: str) -> None:
    """[sig-autoscaling] HorizontalPodAutoscaler API operations, in both versions."""

    def make(name: str) -> Any:
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
        return {
            "metadata": {"name": name, "labels": LABELS},
            "spec": {"scaleTargetRef": target, "maxReplicas": 3},
        }

    group = f"{AUTOSCALING}/{version}"
    everywhere = f"{group}/horizontalpodautoscalers"
    check_api_operations(api, everywhere, f"{group}/namespaces/default/horizontalpodautoscalers", make)


class TestDisruptionBudgets:
    PATH = f"{POLICY}/poddisruptionbudgets"

    def make(self, name: str, **spec: Any) -> Any:
        wanted = {"selector": {"matchLabels": LABELS}, "minAvailable": 1, **spec}
        return {"metadata": {"name": name, "labels": LABELS}, "spec": wanted}

    def test_create(self, api: Any) -> None:
        """[sig-apps] DisruptionController should create a PodDisruptionBudget [Conformance]"""
        made = api.post(self.PATH, self.make("foo"))
        made["spec"]["minAvailable"] = 2
        assert api.put(f"{self.PATH}/foo", made)["metadata"]["generation"] == 2
        patched = api.patch(f"{self.PATH}/foo", {"spec": {"minAvailable": "50%"}})
        assert patched["spec"]["minAvailable"] == "50%"
        api.delete(f"{self.PATH}/foo")

    def test_list_and_delete_a_collection(self, api: Any) -> None:
        """[sig-apps] DisruptionController Listing PodDisruptionBudgets for all namespaces
        should list and delete a collection of PodDisruptionBudgets [Conformance]"""
        for name in ("foo", "foo2"):
            api.post(self.PATH, self.make(name))
        assert api.names("/apis/policy/v1/poddisruptionbudgets") == ["foo", "foo2"]
        api.delete(f"{self.PATH}?{SELECTED}")
        assert api.names(self.PATH) == []

    def test_status(self, api: Any) -> None:
        """[sig-apps] DisruptionController should update/patch PodDisruptionBudget status [Conformance]"""
        made = api.post(self.PATH, self.make("foo"))
        made["status"] = {**made["status"], "disruptedPods": {"p": "2026-01-02T03:04:05Z"}}
        assert list(api.put(f"{self.PATH}/foo/status", made)["status"]["disruptedPods"]) == ["p"]
        patched = api.patch(f"{self.PATH}/foo/status", {"status": {"disruptedPods": {"p": None}}}, "merge")
        assert "disruptedPods" not in patched["status"]

    def test_an_eviction_waits_for_its_budget(self, api: Any) -> None:
        """[sig-apps] DisruptionController should block an eviction until the PDB is updated to allow it
        [Conformance]"""
        pod = {"metadata": {"name": "p", "labels": LABELS}, "spec": {**template()["spec"], "nodeName": "n"}}
        api.post(f"{CORE}/pods", pod)
        running = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
        api.patch(f"{CORE}/pods/p/status", running)
        api.post(self.PATH, self.make("foo"))
        counts = {"observedGeneration": 1, "currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": 0}
        api.patch(f"{self.PATH}/foo/status", {"status": counts}, "merge")
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
        code, refusal = api.send("POST", f"{CORE}/pods/p/eviction", eviction)
        assert (code, refusal["details"]["causes"][0]["reason"]) == (429, "DisruptionBudget")
        api.patch(f"{self.PATH}/foo", {"spec": {"minAvailable": 0}}, "merge")
        counts = {"observedGeneration": 2, "desiredHealthy": 0, "disruptionsAllowed": 1}
        api.patch(f"{self.PATH}/foo/status", {"status": counts}, "merge")
        api.post(f"{CORE}/pods/p/eviction", eviction)
        assert api.get(f"{CORE}/pods/p")["metadata"]["deletionTimestamp"]


def test_ephemeral_containers_are_updated_in_an_existing_pod(api: Any) -> None:
    """[sig-node] Ephemeral Containers should update the ephemeral containers in an existing pod [Conformance]
    [NodeConformance], without the kubelet"""
    path = f"{CORE}/pods/p/ephemeralcontainers"
    api.post(f"{CORE}/pods", {"metadata": {"name": "p"}, "spec": template()["spec"]})
    api.patch(path, {"spec": {"ephemeralContainers": [{"name": "debugger", "image": "x"}]}})
    pod = api.get(path)
    pod["spec"]["ephemeralContainers"].append({"name": "debugger2", "image": "x"})
    assert [c["name"] for c in api.put(path, pod)["spec"]["ephemeralContainers"]] == ["debugger", "debugger2"]
