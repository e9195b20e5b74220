"""An autoscaler is the same object in autoscaling/v1 and autoscaling/v2."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest

from proa.apiserver.resources.autoscaling.hpa_conversion import ANNOTATIONS, BEHAVIOR, METRICS, to_v1, to_v2

Object = dict[str, Any]
V1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"
V2 = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
CPU = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
}
OTHERS: list[Object] = [
    {
        "type": "Pods",
        "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "10"}},
    },
    {
        "type": "External",
        "external": {
            "metric": {"name": "q", "selector": {"matchLabels": {"a": "b"}}},
            "target": {"type": "Value", "value": "5"},
        },
    },
    {
        "type": "Object",
        "object": {
            "metric": {"name": "q"},
            "describedObject": {"kind": "Service", "name": "s", "apiVersion": "v1"},
            "target": {"type": "AverageValue", "averageValue": "7"},
        },
    },
    {
        "type": "ContainerResource",
        "containerResource": {
            "name": "memory",
            "container": "c",
            "target": {"type": "AverageValue", "averageValue": "7Mi"},
        },
    },
    {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "1"}},
    },
]


def autoscaler(*metrics: Object, **spec: Any) -> Object:
    made = {"maxReplicas": 3, "scaleTargetRef": TARGET, "metrics": list(metrics), **spec}
    return {"metadata": {"name": "x"}, "spec": made, "status": {"desiredReplicas": 0, "currentMetrics": None}}


@pytest.mark.parametrize("metric", OTHERS, ids=lambda m: m["type"])
def test_every_metric_survives_the_way_through_v1(metric: Object) -> None:
    there = to_v1(autoscaler(metric))
    assert list(there["metadata"]["annotations"]) == [METRICS]
    assert to_v2(there)["spec"]["metrics"] == [metric]


def test_the_percentage_of_cpu_is_a_field_of_v1() -> None:
    there = to_v1(autoscaler(CPU))
    assert there["spec"] == {"maxReplicas": 3, "scaleTargetRef": TARGET, "targetCPUUtilizationPercentage": 50}
    assert there["status"] == {"currentReplicas": 0, "desiredReplicas": 0}
    assert "annotations" not in there["metadata"]
    assert to_v2(there) == autoscaler(CPU) | {
        "status": {"currentReplicas": 0, "desiredReplicas": 0, "currentMetrics": None}
    }


def test_without_a_metric_v1_means_eighty_percent_of_cpu() -> None:
    made = to_v2({"metadata": {}, "spec": {"maxReplicas": 3, "scaleTargetRef": TARGET}})
    assert made["spec"]["metrics"][0]["resource"]["target"] == {
        "type": "Utilization",
        "averageUtilization": 80,
    }


def test_the_behavior_is_kept_in_an_annotation() -> None:
    rules = {"selectPolicy": "Min", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}
    there = to_v1(autoscaler(CPU, behavior={"scaleDown": rules}))
    assert orjson.loads(there["metadata"]["annotations"][BEHAVIOR]) == {
        "ScaleUp": None,
        "ScaleDown": {
            "StabilizationWindowSeconds": None,
            "SelectPolicy": "Min",
            "Policies": [{"Type": "Pods", "Value": 1, "PeriodSeconds": 60}],
            "Tolerance": None,
        },
    }
    assert to_v2(there)["spec"]["behavior"] == {"scaleDown": rules}


def test_what_was_measured_is_kept() -> None:
    obj = autoscaler(CPU)
    obj["status"] = {
        "currentReplicas": 2,
        "desiredReplicas": 3,
        "currentMetrics": [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "current": {"averageUtilization": 40, "averageValue": "4m"}},
            }
        ],
        "conditions": [
            {"type": "AbleToScale", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z"}
        ],
    }
    there = to_v1(copy.deepcopy(obj))
    assert there["status"]["currentCPUUtilizationPercentage"] == 40
    assert to_v2(there)["status"] == obj["status"]


@pytest.mark.parametrize(
    "text", ["nonsense", "7", "[7]", '[{"type":"Pods","pods":{"targetAverageValue":"x"}}]', "null"]
)
@pytest.mark.parametrize("annotation", ANNOTATIONS)
def test_annotations_that_say_nothing_readable_are_dropped(annotation: str, text: str) -> None:
    obj = to_v1(autoscaler(CPU))
    obj["metadata"]["annotations"] = {annotation: text, "mine": "kept"}
    made = to_v2(obj)
    assert made["metadata"]["annotations"] == {"mine": "kept"}
    assert CPU in made["spec"]["metrics"]


def test_both_versions_serve_one_object(api: Any) -> None:
    body = {"metadata": {"name": "x"}, "spec": {"maxReplicas": 3, "scaleTargetRef": TARGET}}
    assert api.post(V1, body).json["spec"]["targetCPUUtilizationPercentage"] == 80
    found = api.get(f"{V2}/x").json
    assert found["apiVersion"] == "autoscaling/v2"
    found["spec"]["metrics"] = OTHERS[:1]
    assert api.put(f"{V2}/x", found).status == 200
    seen = api.get(f"{V1}/x").json
    assert "targetCPUUtilizationPercentage" not in seen["spec"]
    assert list(seen["metadata"]["annotations"]) == [METRICS]
    changed = api.patch(f"{V1}/x", {"spec": {"maxReplicas": 5}}).json
    assert (changed["apiVersion"], changed["spec"]["maxReplicas"]) == ("autoscaling/v1", 5)
    assert api.get(f"{V2}/x").json["spec"]["metrics"] == OTHERS[:1]
    refused = api.patch(f"{V1}/x", {"spec": {"maxReplicas": 0}})
    assert "spec.maxReplicas: Invalid value: 0: must be greater than 0" in refused.message
