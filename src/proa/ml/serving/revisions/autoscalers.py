"""Make the HorizontalPodAutoscaler of a component that is scaled by what its pods use: cpu, memory. Pure.

Source: pkg/controller/v1beta1/inferenceservice/reconcilers/hpa/hpa_reconciler.go of KServe.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proa.client.protocol import Object
from proa.objects.resource import DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS

DEFAULT_UTILIZATION = 80


def make_autoscaler(name: str, deployment: str, component: Object, min_replicas: int | None = None) -> Object:
    """Return what scales a Deployment as the component says; `min_replicas` in place of the component's own."""
    least = component.get("minReplicas") if min_replicas is None else min_replicas
    least = max(1, 1 if least is None else least)
    spec: Object = {
        "scaleTargetRef": {
            "apiVersion": DEPLOYMENTS.api_version,
            "kind": DEPLOYMENTS.kind,
            "name": deployment,
        },
        "minReplicas": least,
        "maxReplicas": max(least, component.get("maxReplicas") or 0),
        "metrics": [*_metrics(component)],
    }
    if behavior := (component.get("autoScaling") or {}).get("behavior"):
        spec["behavior"] = behavior
    return {
        "apiVersion": HORIZONTAL_POD_AUTOSCALERS.api_version,
        "kind": HORIZONTAL_POD_AUTOSCALERS.kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def _metrics(component: Object) -> Iterator[Object]:
    if component.get("autoScaling"):
        for metric in component["autoScaling"].get("metrics") or ():
            if resource := metric.get("resource"):
                yield _metric(resource["name"], _target(resource))
        return
    name, target = component.get("scaleMetric") or "cpu", component.get("scaleTarget")
    if name == "cpu":
        yield _metric(name, _utilization(DEFAULT_UTILIZATION if target is None else target))
    elif name == "memory" and target is not None:
        yield _metric(name, _utilization(target))


def _target(resource: Object) -> Object:
    target = resource.get("target") or {}
    if resource["name"] == "memory" and target.get("type") == "AverageValue":
        return {"type": "AverageValue", "averageValue": target.get("averageValue")}
    return _utilization(target.get("averageUtilization") or DEFAULT_UTILIZATION)


def _utilization(percent: int) -> Object:
    return {"type": "Utilization", "averageUtilization": percent}


def _metric(name: str, target: Any) -> Object:
    return {"type": "Resource", "resource": {"name": name, "target": target}}
