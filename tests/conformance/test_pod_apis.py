"""What upstream's conformance suite asks of the APIs of pods, namespaces and volumes, without what runs them.

Follows test/e2e: common/node/pods.go, node/pods.go, apimachinery/namespace.go, storage/persistent_volumes.go.
"""

from __future__ import annotations

from typing import Any

import pytest

CORE = "/api/v1/namespaces/default"
PODS, CLAIMS = f"{CORE}/pods", f"{CORE}/persistentvolumeclaims"
NAMESPACES, VOLUMES = "/api/v1/namespaces", "/api/v1/persistentvolumes"
STATIC = "labelSelector=static%3Dtrue"
CONDITION = {
    "type": "StatusUpdate",
    "status": "True",
    "reason": "E2E",
    "message": "Set from e2e test",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


def pod(name: str = "p", resources: Any = None, **spec: Any) -> Any:
    container = {"name": "c", "image": "registry.example/app:1", "resources": resources or {}}
    return {
        "metadata": {"name": name, "labels": {"static": "true"}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1, **spec},
    }


class TestPods:
    @pytest.mark.parametrize(
        ("resources", "expected"),
        [
            (
                {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
                "Guaranteed",
            ),
            ({"requests": {"cpu": "1"}}, "Burstable"),
            ({}, "BestEffort"),
        ],
    )
    def test_quality_of_service(self, api: Any, resources: Any, expected: str) -> None:
        """[sig-node] Pods Extended Pods Set QOS Class should be set on Pods with matching resource requests and limits
        for memory and cpu [Conformance]"""
        assert api.post(PODS, pod(resources=resources))["status"]["qosClass"] == expected

    def test_generation(self, api: Any) -> None:
        """[sig-node] Pods Extended (pod generation) Pod Generation pod generation should start at 1 and increment per
        update [MinimumKubeletVersion:1.34] [Conformance]"""
        assert api.post(PODS, pod())["metadata"]["generation"] == 1
        toleration = {"key": "foo", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}
        changes = [
            ({"spec": {"containers": [{"name": "c", "image": "registry.example/app:2"}]}}, 2),
            ({"spec": {"activeDeadlineSeconds": 30}}, 3),
            ({"spec": {"tolerations": [toleration]}}, 4),
            ({"metadata": {"labels": {"a": "b"}}}, 4),
            ({"metadata": {"annotations": {"a": "b"}}}, 4),
        ]
        for change, generation in changes:
            assert api.patch(f"{PODS}/p", change)["metadata"]["generation"] == generation, change

    def test_a_generation_of_ones_own(self, api: Any) -> None:
        """[sig-node] Pods Extended (pod generation) Pod Generation custom-set generation on new pods and graceful
        delete [Conformance]"""
        body = pod(nodeName="node", terminationGracePeriodSeconds=30)
        body["metadata"]["generation"] = 100
        assert api.post(PODS, body)["metadata"]["generation"] == 1
        api.delete(f"{PODS}/p")
        found = api.get(f"{PODS}/p")["metadata"]
        assert (found["generation"], "deletionTimestamp" in found) == (2, True)

    def test_many_updates(self, api: Any) -> None:
        """[sig-node] Pods Extended (pod generation) Pod Generation issue 500 podspec updates and verify generation and
        observedGeneration eventually converge [MinimumKubeletVersion:1.34] [Conformance], the API server's part"""
        api.post(PODS, pod())
        for count in range(500):
            image = {"spec": {"containers": [{"name": "c", "image": f"registry.example/app:{count + 2}"}]}}
            found = api.patch(f"{PODS}/p", image)
        assert found["metadata"]["generation"] == 501
        observed = api.patch(f"{PODS}/p/status", {"status": {"observedGeneration": 501}})
        assert (observed["status"]["observedGeneration"], observed["metadata"]["generation"]) == (501, 501)

    def test_update(self, api: Any) -> None:
        """[sig-node] Pods should be updated [Conformance] [NodeConformance], the API server's part"""
        made = api.post(PODS, pod())
        made["metadata"]["labels"]["time"] = "later"
        api.put(f"{PODS}/p", made)
        assert api.names(f"{PODS}?labelSelector=time%3Dlater") == ["p"]

    def test_deadline(self, api: Any) -> None:
        """[sig-node] Pods should allow activeDeadlineSeconds to be updated [Conformance] [NodeConformance], the API
        server's part"""
        made = api.post(PODS, pod())
        made["spec"]["activeDeadlineSeconds"] = 5
        found = api.put(f"{PODS}/p", made)
        assert found["spec"]["activeDeadlineSeconds"] == 5
        later = {**found, "spec": {**found["spec"], "activeDeadlineSeconds": 6}}
        api.expect(422, "PUT", f"{PODS}/p", later)

    def test_submitted_and_removed(self, api: Any) -> None:
        """[sig-node] Pods should be submitted and removed [Conformance] [NodeConformance], the API server's part"""
        assert api.names(f"{PODS}?{STATIC}") == []
        made = api.post(PODS, pod(nodeName="node"))
        assert api.names(f"{PODS}?{STATIC}") == ["p"]
        api.delete(f"{PODS}/p")
        leaving = api.get(f"{PODS}/p")["metadata"]
        assert leaving["deletionGracePeriodSeconds"] == 1
        api.expect(200, "DELETE", f"{PODS}/p", {"gracePeriodSeconds": 0})
        assert api.history(PODS, made, 2) == [("MODIFIED", "p"), ("DELETED", "p")]
        assert api.names(f"{PODS}?{STATIC}") == []

    def test_a_collection(self, api: Any) -> None:
        """[sig-node] Pods should delete a collection of pods [Conformance]"""
        for name in ("p1", "p2", "p3"):
            api.post(PODS, pod(name))
        assert api.names(f"{PODS}?{STATIC}") == ["p1", "p2", "p3"]
        api.expect(200, "DELETE", f"{PODS}?{STATIC}", {"gracePeriodSeconds": 1})
        assert api.names(f"{PODS}?{STATIC}") == []

    def test_patch_of_status(self, api: Any) -> None:
        """[sig-node] Pods should patch a pod status [Conformance]"""
        api.post(PODS, pod())
        patch = {
            "metadata": {"annotations": {"patchedstatus": "true"}},
            "status": {"message": "Patched by e2e"},
        }
        found = api.patch(f"{PODS}/p/status", patch, "merge")
        assert (found["status"]["message"], found["metadata"]["annotations"]["patchedstatus"]) == (
            "Patched by e2e",
            "true",
        )

    def test_lifecycle(self, api: Any) -> None:
        """[sig-node] Pods should run through the lifecycle of Pods and PodStatus [Conformance]"""
        made = api.post(PODS, pod())
        containers = [{"name": "c", "image": "registry.example/app:2"}]
        patch = {"metadata": {"labels": {"test-pod": "patched"}}, "spec": {"containers": containers}}
        patched = api.patch(f"{PODS}/p", patch)
        assert patched["spec"]["containers"][0]["image"] == "registry.example/app:2"
        found = api.get(f"{PODS}/p/status")
        ready = {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        status = {**found["status"], "conditions": [ready]}
        updated = api.put(f"{PODS}/p/status", {**found, "status": status})
        assert updated["status"]["conditions"][0]["status"] == "False"
        assert api.names(f"/api/v1/pods?{STATIC}") == ["p"]
        api.expect(200, "DELETE", f"{PODS}?{STATIC}", {"gracePeriodSeconds": 0})
        assert [kind for kind, _ in api.history(PODS, made, 3)] == ["MODIFIED", "MODIFIED", "DELETED"]


class TestNamespaces:
    def test_patch(self, api: Any) -> None:
        """[sig-api-machinery] Namespaces should patch a Namespace [Conformance] [Serial]"""
        api.post(NAMESPACES, {"metadata": {"name": "patched"}})
        api.patch(f"{NAMESPACES}/patched", {"metadata": {"labels": {"testLabel": "testValue"}}})
        assert api.get(f"{NAMESPACES}/patched")["metadata"]["labels"]["testLabel"] == "testValue"

    def test_update(self, api: Any) -> None:
        """[sig-api-machinery] Namespaces should apply an update to a Namespace [Conformance] [Serial]"""
        made = api.post(NAMESPACES, {"metadata": {"name": "updated"}})
        made["metadata"]["labels"]["updated"] = "true"
        assert api.put(f"{NAMESPACES}/updated", made)["metadata"]["labels"]["updated"] == "true"

    def test_status(self, api: Any) -> None:
        """[sig-api-machinery] Namespaces should apply changes to a namespace status [Conformance] [Serial]"""
        api.post(NAMESPACES, {"metadata": {"name": "n"}})
        found = api.get(f"{NAMESPACES}/n/status")
        assert found["status"]["phase"] == "Active"
        condition = {**CONDITION, "type": "StatusPatch"}
        patched = api.patch(f"{NAMESPACES}/n/status", {"status": {"conditions": [condition]}}, "merge")
        assert patched["status"]["conditions"] == [condition]
        status = {**patched["status"], "conditions": [condition, CONDITION]}
        updated = api.put(f"{NAMESPACES}/n/status", {**patched, "status": status})
        assert [c["type"] for c in updated["status"]["conditions"]] == ["StatusPatch", "StatusUpdate"]

    def test_finalizer(self, api: Any) -> None:
        """[sig-api-machinery] Namespaces should apply a finalizer to a Namespace [Conformance] [Serial]"""
        made = api.post(NAMESPACES, {"metadata": {"name": "n"}})
        fake = "e2e.example.com/fakeFinalizer"
        made["spec"]["finalizers"] = [*made["spec"]["finalizers"], fake]
        found = api.put(f"{NAMESPACES}/n/finalize", made)
        assert found["spec"]["finalizers"] == ["kubernetes", fake]
        found["spec"]["finalizers"] = ["kubernetes"]
        assert api.put(f"{NAMESPACES}/n/finalize", found)["spec"]["finalizers"] == ["kubernetes"]


class TestVolumes:
    def volume(self, name: str) -> Any:
        return {
            "metadata": {"name": name, "labels": {"static": "true"}},
            "spec": {
                "storageClassName": "e2e",
                "accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": "1Gi"},
                "persistentVolumeReclaimPolicy": "Retain",
                "csi": {"driver": "e2e.example.com", "volumeHandle": name},
            },
        }

    def claim(self, name: str) -> Any:
        return {
            "metadata": {"name": name, "labels": {"static": "true"}},
            "spec": {
                "storageClassName": "e2e",
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }

    @pytest.mark.parametrize("kind", ["pv", "pvc"])
    def test_lifecycle(self, api: Any, kind: str) -> None:
        """[sig-storage] PersistentVolumes CSI Conformance should run through the lifecycle of a PV and a PVC
        [Conformance]"""
        path, make = (VOLUMES, self.volume) if kind == "pv" else (CLAIMS, self.claim)
        api.post(path, make("one"))
        assert api.names(f"/api/v1/{path.rpartition('/')[2]}?{STATIC}") == ["one"]
        patched = api.patch(f"{path}/one", {"metadata": {"labels": {"one": "patched"}}})
        assert patched["metadata"]["labels"]["one"] == "patched"
        assert api.get(f"{path}/one")["spec"] == patched["spec"]
        patched["metadata"]["labels"]["one"] = "updated"
        assert api.put(f"{path}/one", patched)["metadata"]["labels"]["one"] == "updated"
        api.patch(f"{path}/one", {"metadata": {"finalizers": None}})
        api.delete(f"{path}?labelSelector=one%3Dupdated")
        assert api.names(f"{path}?{STATIC}") == []

    @pytest.mark.parametrize("kind", ["pv", "pvc"])
    def test_status(self, api: Any, kind: str) -> None:
        """[sig-storage] PersistentVolumes CSI Conformance should apply changes to a pv/pvc status [Conformance]"""
        path, make = (VOLUMES, self.volume) if kind == "pv" else (CLAIMS, self.claim)
        api.post(path, make("one"))
        found = api.get(f"{path}/one/status")
        assert found["status"]["phase"] == "Pending"
        change = (
            {"message": "StatusPatched", "reason": "E2E patchStatus"}
            if kind == "pv"
            else {"conditions": [{**CONDITION, "type": "StatusPatched"}]}
        )
        patched = api.patch(f"{path}/one/status", {"status": change}, "merge")
        assert change.items() <= patched["status"].items()
        change = (
            {"message": "StatusUpdated", "reason": "E2E updateStatus"}
            if kind == "pv"
            else {"conditions": [*change["conditions"], CONDITION]}  # type: ignore[misc, list-item]
        )
        body = {**patched, "status": {**patched["status"], **change}}
        assert change.items() <= api.put(f"{path}/one/status", body)["status"].items()
        assert api.get(f"{path}/one")["spec"] == found["spec"]
