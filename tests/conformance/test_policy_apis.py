"""What upstream's conformance suite asks of the APIs of quotas, limits and priorities, without their controllers."""

from __future__ import annotations

from typing import Any

CORE = "/api/v1/namespaces/default"
QUOTAS, RANGES = f"{CORE}/resourcequotas", f"{CORE}/limitranges"
CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"


class TestResourceQuotas:
    def make(self, name: str, **hard: str) -> Any:
        return {"metadata": {"name": name}, "spec": {"hard": hard or {"cpu": "1", "memory": "500Mi"}}}

    def test_lifecycle(self, api: Any) -> None:
        """[sig-api-machinery] ResourceQuota should manage the lifecycle of a ResourceQuota [Conformance]"""
        api.post(QUOTAS, self.make("quota"))
        assert api.names("/api/v1/resourcequotas") == ["quota"]
        patch = {"metadata": {"labels": {"quota": "patched"}}, "spec": {"hard": {"memory": "750Mi"}}}
        assert api.patch(f"{QUOTAS}/quota", patch)["spec"]["hard"] == {"cpu": "1", "memory": "750Mi"}
        api.delete(f"{QUOTAS}?labelSelector=quota%3Dpatched")
        assert api.names("/api/v1/resourcequotas?labelSelector=quota%3Dpatched") == []

    def test_update_and_delete(self, api: Any) -> None:
        """[sig-api-machinery] ResourceQuota should be able to update and delete ResourceQuota. [Conformance]"""
        made = api.post(QUOTAS, self.make("quota"))
        made["spec"]["hard"] = {"cpu": "2", "memory": "1Gi"}
        assert api.put(f"{QUOTAS}/quota", made)["spec"]["hard"] == {"cpu": "2", "memory": "1Gi"}
        api.delete(f"{QUOTAS}/quota")
        assert api.send("GET", f"{QUOTAS}/quota")[0] == 404

    def test_status(self, api: Any) -> None:
        """[sig-api-machinery] ResourceQuota should apply changes to a resourcequota status [Conformance]"""
        made = api.post(QUOTAS, self.make("quota"))
        made["status"] = {"hard": {"cpu": "1", "memory": "500Mi"}}
        assert api.put(f"{QUOTAS}/quota/status", made)["status"]["hard"]["cpu"] == "1"
        patched = api.patch(f"{QUOTAS}/quota/status", {"status": {"hard": {"memory": "750Mi"}}})
        assert (patched["status"]["hard"]["memory"], patched["spec"]) == ("750Mi", made["spec"])
        assert api.history(QUOTAS, made, 2) == [("MODIFIED", "quota"), ("MODIFIED", "quota")]


class TestLimitRanges:
    def make(self, name: str) -> Any:
        item = {
            "type": "Container",
            "min": {"cpu": "50m", "memory": "100Mi"},
            "max": {"cpu": "500m", "memory": "500Mi"},
            "defaultRequest": {"cpu": "100m", "memory": "200Mi"},
            "default": {"cpu": "500m", "memory": "500Mi"},
        }
        return {"metadata": {"name": name, "labels": {"range": name}}, "spec": {"limits": [item]}}

    def test_create_with_defaults(self, api: Any) -> None:
        """[sig-scheduling] LimitRange should create a LimitRange with defaults and ensure pod has those defaults
        applied. [Conformance], the LimitRange's part"""
        made = api.post(RANGES, self.make("limits"))
        assert api.names(f"{RANGES}?labelSelector=range%3Dlimits") == ["limits"]
        made["spec"]["limits"][0]["min"] = {"cpu": "9m", "memory": "0"}
        changed = api.put(f"{RANGES}/limits", made)
        assert changed["spec"]["limits"][0]["min"] == {"cpu": "9m", "memory": "0"}
        api.delete(f"{RANGES}/limits")
        assert api.history(RANGES, made, 2) == [("MODIFIED", "limits"), ("DELETED", "limits")]

    def test_list_patch_and_delete_by_collection(self, api: Any) -> None:
        """[sig-scheduling] LimitRange should list, patch and delete a LimitRange by collection [Conformance]"""
        api.post(RANGES, self.make("one"))
        patch = {"metadata": {"labels": {"one": "patched"}}, "spec": {"limits": [{"type": "Container"}]}}
        assert api.patch(f"{RANGES}/one", patch)["metadata"]["labels"]["one"] == "patched"
        api.post(RANGES, self.make("two"))
        api.delete(f"{RANGES}?labelSelector=one%3Dpatched")
        assert api.names("/api/v1/limitranges") == ["two"]


def test_priority_class_endpoints(api: Any) -> None:
    """[sig-scheduling] SchedulerPreemption PriorityClass endpoints
    verify PriorityClass endpoints can be operated with different HTTP methods [Conformance] [Serial]"""
    for name, value in (("p1", 1), ("p2", 2)):
        made = api.post(CLASSES, {"metadata": {"name": name}, "value": value, "preemptionPolicy": "Never"})
        assert (made["value"], made["preemptionPolicy"]) == (value, "Never")
        made["description"] = "updated"
        assert api.put(f"{CLASSES}/{name}", made)["description"] == "updated"
        patched = api.patch(f"{CLASSES}/{name}", {"description": "patched"}, "merge")
        assert patched["description"] == "patched"
        for change in ({"value": value + 10}, {"preemptionPolicy": "PreemptLowerPriority"}):
            code, refusal = api.send(
                "PATCH", f"{CLASSES}/{name}", change, content_type="application/merge-patch+json"
            )
            assert (code, refusal["reason"]) == (422, "Invalid")
    assert api.names(CLASSES) == ["p1", "p2"]
    api.delete(CLASSES)
    assert api.names(CLASSES) == []
