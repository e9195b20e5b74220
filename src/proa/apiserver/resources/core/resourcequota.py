"""A ResourceQuota bounds what all objects of a namespace may ask for together; its scopes never change.

Follows pkg/apis/core/validation ValidateResourceQuota, pkg/registry/core/resourcequota/strategy.go and
printResourceQuota. The admission plugin ResourceQuota carries it out, a controller counts into the status.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.resources.core.quota_rules import validate_scope_selector, validate_scopes
from proa.apiserver.resources.core.resource_rules import validate_amount, validate_quota_resource_name
from proa.apiserver.resources.printing import AGE, NAME, age
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import RESOURCE_QUOTAS
from proa.objects.validation import invalid


def prepare_create(quota: Object) -> None:
    """Start with nothing counted."""
    quota.setdefault("spec", {})
    quota["status"] = {}


def validate(quota: Object) -> list[Cause]:
    """Check names, amounts and scopes."""
    spec = quota.get("spec") or {}
    causes = _validate_amounts(spec.get("hard"), "spec.hard")
    return causes + validate_scopes(spec, "spec.scopes") + validate_scope_selector(spec, "spec.scopeSelector")


def _validate_amounts(amounts: Any, field: str) -> list[Cause]:
    causes: list[Cause] = []
    for name, amount in (amounts or {}).items():
        path = f"{field}[{name}]"
        causes += validate_quota_resource_name(name, path) + validate_amount(name, amount, path)
    return causes


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that the scopes are the same."""
    mine, theirs = ((quota.get("spec") or {}).get("scopes") or [] for quota in (new, old))
    if set(mine) == set(theirs):
        return []
    return [invalid("spec.scopes", mine or None, "field is immutable")]


def validate_status_update(new: Object, _old: Object) -> list[Cause]:
    """Check what the counting writes."""
    status = new.get("status") or {}
    return [c for key in ("hard", "used") for c in _validate_amounts(status.get(key), f"status.{key}")]


def cells(quota: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`: what is used of what, for requests and counts, and for limits."""
    status = quota.get("status") or {}
    used, columns = status.get("used") or {}, {False: [], True: []}  # type: dict[str, str], dict[bool, list[str]]
    for name, hard in sorted((status.get("hard") or {}).items()):
        columns[name.startswith("limits")].append(f"{name}: {used.get(name, '0')}/{hard}")
    return quota["metadata"]["name"], ", ".join(columns[False]), ", ".join(columns[True]), age(quota, now)


DEFINITION = ResourceDefinition(
    resource=RESOURCE_QUOTAS,
    singular="resourcequota",
    schema="io.k8s.api.core.v1.ResourceQuota",
    short_names=("quota",),
    subresources=(Subresource("status", "ResourceQuota", ("get", "patch", "update")),),
    prepare_create=prepare_create,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    columns=(
        NAME,
        Column(
            "Request",
            description="Request represents a minimum amount of cpu/memory that a container may consume.",
        ),
        Column(
            "Limit",
            description="Limits control the maximum amount of cpu/memory that a container may use independent of "
            "contention on the node.",
        ),
        AGE,
    ),
    cells=cells,
)
