"""A PriorityClass gives a name to the number by which pods are scheduled; neither number nor policy ever changes.

Follows pkg/apis/scheduling/v1/{defaults,helpers}.go, pkg/apis/scheduling/validation ValidatePriorityClass,
pkg/registry/scheduling/priorityclass/strategy.go and printPriorityClass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition
from proa.apiserver.resources.printing import AGE, NAME, age, doc
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import PRIORITY_CLASSES
from proa.objects.validation import forbidden, not_supported, validate_immutable

SYSTEM_PREFIX = "system-"
HIGHEST_OF_USERS = 1_000_000_000
POLICIES = ("PreemptLowerPriority", "Never")
SYSTEM_CLASSES: tuple[Object, ...] = (
    {
        "metadata": {"name": "system-node-critical"},
        "value": 2_000_001_000,
        "description": "Used for system critical pods that must not be moved from their current node.",
    },
    {
        "metadata": {"name": "system-cluster-critical"},
        "value": 2_000_000_000,
        "description": "Used for system critical pods that must run in the cluster, but can be moved to another "
        "node if necessary.",
    },
)
"""Those that every cluster has; bootstrap.py makes them."""


def default(priority_class: Object) -> None:
    """Pods of higher priority may take the place of others; upstream always writes the number."""
    priority_class["preemptionPolicy"] = priority_class.get("preemptionPolicy") or "PreemptLowerPriority"
    priority_class.setdefault("value", 0)


def prepare_create(priority_class: Object) -> None:
    """Say generation 1, which never rises."""
    priority_class["metadata"]["generation"] = 1


def validate(priority_class: Object) -> list[Cause]:
    """Check the name against the system's, the number and the policy."""
    name, value = priority_class["metadata"].get("name") or "", priority_class.get("value", 0)
    causes: list[Cause] = []
    if name.startswith(SYSTEM_PREFIX):
        why = _why_not_system(name, value, bool(priority_class.get("globalDefault")))
        if why:
            detail = f"priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only."
            causes.append(forbidden("metadata.name", f"{detail} error: {why}"))
    elif value > HIGHEST_OF_USERS:
        detail = f"maximum allowed value of a user defined priority is {HIGHEST_OF_USERS}"
        causes.append(forbidden("value", detail))
    policy = priority_class.get("preemptionPolicy", "")
    if policy not in POLICIES:
        causes.append(not_supported("preemptionPolicy", policy, POLICIES))
    return causes


def _why_not_system(name: str, value: int, is_default: bool) -> str:
    known = next((c for c in SYSTEM_CLASSES if c["metadata"]["name"] == name), None)
    if known is None:
        return f"{name} is not a known system priority class"
    if known["value"] != value:
        return f"value of {name} PriorityClass must be {known['value']}"
    return f"globalDefault of {name} PriorityClass must be false" if is_default else ""


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that number and policy are the same."""
    causes: list[Cause] = []
    if new.get("value", 0) != old.get("value", 0):
        causes.append(forbidden("value", "may not be changed in an update."))
    field = "preemptionPolicy"
    return causes + validate_immutable(new.get(field), old.get(field), field)


def cells(priority_class: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    return (
        priority_class["metadata"]["name"],
        priority_class.get("value", 0),
        bool(priority_class.get("globalDefault")),
        age(priority_class, now),
        priority_class.get("preemptionPolicy", ""),
    )


DEFINITION = ResourceDefinition(
    resource=PRIORITY_CLASSES,
    singular="priorityclass",
    schema="io.k8s.api.scheduling.v1.PriorityClass",
    short_names=("pc",),
    default=default,
    prepare_create=prepare_create,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column("Value", "integer", description=doc("scheduling.v1.PriorityClass.value")),
        Column("Global-Default", "boolean", description=doc("scheduling.v1.PriorityClass.globalDefault")),
        AGE,
        Column("PreemptionPolicy", description=doc("scheduling.v1.PriorityClass.preemptionPolicy")),
    ),
    cells=cells,
)
