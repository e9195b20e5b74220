"""A PodDisruptionBudget says how many of some pods must stay while others are evicted.

Follows pkg/apis/policy/validation ValidatePodDisruptionBudget, pkg/registry/policy/poddisruptionbudget/strategy.go
and printPodDisruptionBudget. Its status is a controller's; handlers/eviction.py honours it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.resources.apps.rolling_rules import validate_at_most_all, validate_count_or_percent
from proa.apiserver.resources.printing import AGE, NAME, age
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import POD_DISRUPTION_BUDGETS
from proa.objects.validation import invalid, not_supported, validate_non_negative
from proa.objects.validation_conditions import validate_conditions
from proa.objects.validation_selectors import validate_label_selector

COUNTS = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
UNHEALTHY_POLICIES = ("AlwaysAllow", "IfHealthyBudget")


def prepare_create(budget: Object) -> None:
    """Start with nothing counted; upstream always writes these counts."""
    budget.setdefault("spec", {})
    budget["status"] = dict.fromkeys(COUNTS, 0)


def validate(budget: Object) -> list[Cause]:
    """Check the counts, of which there is one, and the selector."""
    spec = budget.get("spec") or {}
    causes: list[Cause] = []
    if "minAvailable" in spec and "maxUnavailable" in spec:
        shown = {  # upstream's internal type, whose fields have Go's names
            "MinAvailable": spec["minAvailable"],
            "Selector": spec.get("selector"),
            "MaxUnavailable": spec["maxUnavailable"],
            "UnhealthyPodEvictionPolicy": spec.get("unhealthyPodEvictionPolicy"),
        }
        causes.append(invalid("spec", shown, "minAvailable and maxUnavailable cannot be both set"))
    for key in ("minAvailable", "maxUnavailable"):
        if key in spec:
            causes += validate_count_or_percent(spec[key], f"spec.{key}")
            causes += validate_at_most_all(spec[key], f"spec.{key}")
    causes += validate_label_selector(spec.get("selector"), "spec.selector")
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in UNHEALTHY_POLICIES:
        causes.append(not_supported("spec.unhealthyPodEvictionPolicy", policy, UNHEALTHY_POLICIES))
    return causes


def validate_status_update(new: Object, _old: Object) -> list[Cause]:
    """Check conditions, and that no count is negative."""
    status = new.get("status") or {}
    causes = validate_conditions(status.get("conditions"), "status.conditions")
    return causes + [c for key in COUNTS for c in validate_non_negative(status.get(key, 0), f"status.{key}")]


def cells(budget: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    spec, status = budget.get("spec") or {}, budget.get("status") or {}
    return (
        budget["metadata"]["name"],
        str(spec.get("minAvailable", "N/A")),
        str(spec.get("maxUnavailable", "N/A")),
        status.get("disruptionsAllowed", 0),
        age(budget, now),
    )


DEFINITION = ResourceDefinition(
    resource=POD_DISRUPTION_BUDGETS,
    singular="poddisruptionbudget",
    schema="io.k8s.api.policy.v1.PodDisruptionBudget",
    short_names=("pdb",),
    subresources=(Subresource("status", "PodDisruptionBudget", ("get", "patch", "update")),),
    prepare_create=prepare_create,
    validate=validate,
    validate_status_update=validate_status_update,
    columns=(
        NAME,
        Column("Min Available", description="The minimum number of pods that must be available."),
        Column("Max Unavailable", description="The maximum number of pods that may be unavailable."),
        Column(
            "Allowed Disruptions",
            "integer",
            description="Calculated number of pods that may be disrupted at this time.",
        ),
        AGE,
    ),
    cells=cells,
    tracks_generation=True,
    unconditional_update=False,
)
