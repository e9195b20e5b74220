"""A HorizontalPodAutoscaler says between which bounds, and by which metrics, the scale of something is set.

Follows pkg/apis/autoscaling/v2/defaults.go, pkg/registry/autoscaling/horizontalpodautoscaler/strategy.go and
printHorizontalPodAutoscaler.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.resources.autoscaling.hpa_printing import metrics_cell
from proa.apiserver.resources.autoscaling.hpa_rules import (
    validate_create,
    validate_status_update,
    validate_update,
)
from proa.apiserver.resources.printing import AGE, NAME, UNSET, age, doc
from proa.client.protocol import Object
from proa.objects.resource import HORIZONTAL_POD_AUTOSCALERS

CPU_PERCENT = 80
SCALE_UP_POLICIES = (
    {"type": "Pods", "value": 4, "periodSeconds": 15},
    {"type": "Percent", "value": 100, "periodSeconds": 15},
)
SCALE_DOWN_POLICIES = ({"type": "Percent", "value": 100, "periodSeconds": 15},)


def default(autoscaler: Object) -> None:
    """Fill in at least one pod, 80% of cpu, and how fast to scale where anything is said of it."""
    spec = autoscaler.setdefault("spec", {})
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": CPU_PERCENT}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if behavior is not None:
        up = behavior.setdefault("scaleUp", {})
        up.setdefault("stabilizationWindowSeconds", 0)
        _default_rules(up, SCALE_UP_POLICIES)
        _default_rules(behavior.setdefault("scaleDown", {}), SCALE_DOWN_POLICIES)


def _default_rules(rules: Object, policies: Sequence[Object]) -> None:
    rules["selectPolicy"] = rules.get("selectPolicy") or "Max"
    if rules.get("policies") is None:
        rules["policies"] = [dict(policy) for policy in policies]


def prepare_create(autoscaler: Object) -> None:
    """Start with nothing measured; upstream always writes these two."""
    autoscaler["status"] = {"desiredReplicas": 0, "currentMetrics": None}


def cells(autoscaler: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    spec, status = autoscaler["spec"], autoscaler.get("status") or {}
    target = spec.get("scaleTargetRef") or {}
    return (
        autoscaler["metadata"]["name"],
        f"{target.get('kind', '')}/{target.get('name', '')}",
        metrics_cell(spec.get("metrics") or [], status.get("currentMetrics") or []),
        str(spec["minReplicas"]) if "minReplicas" in spec else UNSET,
        spec.get("maxReplicas", 0),
        status.get("currentReplicas", 0),
        age(autoscaler, now),
    )


DEFINITION = ResourceDefinition(
    resource=HORIZONTAL_POD_AUTOSCALERS,
    singular="horizontalpodautoscaler",
    schema="io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    short_names=("hpa",),
    categories=("all",),
    subresources=(Subresource("status", "HorizontalPodAutoscaler", ("get", "patch", "update")),),
    default=default,
    prepare_create=prepare_create,
    validate_create=validate_create,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    columns=(
        NAME,
        Column("Reference", description=doc("autoscaling.v2.HorizontalPodAutoscalerSpec.scaleTargetRef")),
        Column("Targets", description=doc("autoscaling.v2.HorizontalPodAutoscalerSpec.metrics")),
        Column("MinPods", description=doc("autoscaling.v2.HorizontalPodAutoscalerSpec.minReplicas")),
        Column("MaxPods", description=doc("autoscaling.v2.HorizontalPodAutoscalerSpec.maxReplicas")),
        Column("Replicas", description=doc("autoscaling.v2.HorizontalPodAutoscalerStatus.currentReplicas")),
        AGE,
    ),
    cells=cells,
)
