"""A LimitRange bounds what one pod, container or claim of a namespace may ask for, and says what they get by default.

Follows pkg/apis/core/v1/defaults.go (SetDefaults_LimitRangeItem), pkg/apis/core/validation ValidateLimitRange and
pkg/registry/core/limitrange/strategy.go. The rules are carried out by the admission plugin LimitRanger.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition
from proa.apiserver.registry.metadata import new_uid
from proa.apiserver.resources.core.resource_rules import (
    is_overcommitable,
    validate_container_resource_name,
    validate_resource_name,
)
from proa.apiserver.resources.printing import NAME, doc
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.quantity import canonicalize, parse_quantity
from proa.objects.resource import LIMIT_RANGES
from proa.objects.validation import all_invalid, duplicate, forbidden, invalid, qualified_name, required

TYPES = ("Pod", "Container", "PersistentVolumeClaim")
COMPARED = (
    # (the larger, the smaller, field at fault, value shown, words)
    ("max", "min", "min", "min", "min value {min} is greater than max value {max}"),
    ("defaultRequest", "min", "defaultRequest", "defaultRequest",
     "min value {min} is greater than default request value {defaultRequest}"),
    ("max", "defaultRequest", "defaultRequest", "defaultRequest",
     "default request value {defaultRequest} is greater than max value {max}"),
    ("default", "defaultRequest", "defaultRequest", "defaultRequest",
     "default request value {defaultRequest} is greater than default limit value {default}"),
    ("default", "min", "default", "min", "min value {min} is greater than default value {default}"),
    ("max", "default", "default", "max", "default value {default} is greater than max value {max}"),
)  # fmt: skip


def default(limit_range: Object) -> None:
    """A container's default limit is its maximum, its default request that limit or else the minimum."""
    for item in limit_range.setdefault("spec", {}).setdefault("limits", []) or ():
        if item.get("type") != "Container":
            continue
        limits = {**(item.get("max") or {}), **(item.get("default") or {})}
        requests = {**(item.get("min") or {}), **limits, **(item.get("defaultRequest") or {})}
        for key, amounts in (("default", limits), ("defaultRequest", requests)):
            if amounts:
                item[key] = amounts


def prepare_create(limit_range: Object) -> None:
    """Give one without a name a name of its own."""
    metadata = limit_range["metadata"]
    if not metadata.get("name"):
        metadata["name"] = new_uid()


def validate(limit_range: Object) -> list[Cause]:
    """Check types, names and that the bounds go together."""
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, item in enumerate(limit_range["spec"].get("limits") or ()):
        path, kind = f"spec.limits[{index}]", item.get("type", "")
        causes += _validate_type(kind, f"{path}.type")
        if kind in seen:
            causes.append(duplicate(f"{path}.type", kind))
        seen.add(kind)
        causes += _validate_item(item, kind, path)
    return causes


def _validate_type(kind: str, field: str) -> list[Cause]:
    if problems := qualified_name(kind):
        return all_invalid(field, kind, problems)
    if "/" not in kind and kind not in TYPES:
        return [invalid(field, kind, "must be a standard limit type or fully qualified")]
    return []


def _validate_item(item: Object, kind: str, path: str) -> list[Cause]:
    is_for_pods = kind in ("Pod", "Container")
    validate_name = validate_container_resource_name if is_for_pods else validate_resource_name
    bounds: dict[str, dict[str, str]] = {}
    causes: list[Cause] = []
    for key in ("max", "min", "default", "defaultRequest"):
        amounts = item.get(key) or {}
        if kind == "Pod" and key.startswith("default"):
            if amounts:
                causes.append(forbidden(f"{path}.{key}", "may not be specified when `type` is 'Pod'"))
            continue
        bounds[key] = amounts
        for name in amounts:
            causes += validate_name(name, f"{path}.{key}[{name}]")
    if kind == "PersistentVolumeClaim" and not any("storage" in bounds[key] for key in ("min", "max")):
        detail = "either minimum or maximum storage value is required, but neither was provided"
        causes.append(required(f"{path}.limits", detail))
    bounds["maxLimitRequestRatio"] = item.get("maxLimitRequestRatio") or {}
    for name in bounds["maxLimitRequestRatio"]:
        causes += validate_name(name, f"{path}.maxLimitRequestRatio[{name}]")
    for name in dict.fromkeys(name for amounts in bounds.values() for name in amounts):
        causes += _validate_amounts(name, {k: v[name] for k, v in bounds.items() if name in v}, path)
    return causes


def _validate_amounts(name: str, amounts: dict[str, str], path: str) -> list[Cause]:
    shown = {key: canonicalize(amount) for key, amount in amounts.items()}
    values = {key: parse_quantity(amount) for key, amount in amounts.items()}
    causes = [
        invalid(f"{path}.{field}[{name}]", shown[value], words.format(**shown))
        for larger, smaller, field, value, words in COMPARED
        if larger in values and smaller in values and values[smaller] > values[larger]
    ]
    causes += _validate_ratio(name, values, shown, path)
    both = "default" in values and "defaultRequest" in values
    if both and not is_overcommitable(name) and values["default"] != values["defaultRequest"]:
        detail = f"default value {shown['default']} must equal to defaultRequest value {shown['defaultRequest']} in"
        causes.append(invalid(f"{path}.defaultRequest[{name}]", shown["defaultRequest"], f"{detail} {name}"))
    return causes


def _validate_ratio(name: str, values: dict[str, Decimal], shown: dict[str, str], path: str) -> list[Cause]:
    ratio = values.get("maxLimitRequestRatio")
    if ratio is None:
        return []
    field, text = f"{path}.maxLimitRequestRatio[{name}]", shown["maxLimitRequestRatio"]
    causes = [invalid(field, text, f"ratio {text} is less than 1")] if ratio < 1 else []
    if "min" in values and "max" in values:
        most = values["max"] / values["min"] if values["min"] else Decimal("Infinity")
        if ratio > most:
            causes.append(invalid(field, text, f"ratio {text} is greater than max/min = {most:.6f}"))
    return causes


def cells(limit_range: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`, which upstream has no printer for."""
    return limit_range["metadata"]["name"], limit_range["metadata"].get("creationTimestamp", "")


DEFINITION = ResourceDefinition(
    resource=LIMIT_RANGES,
    singular="limitrange",
    schema="io.k8s.api.core.v1.LimitRange",
    short_names=("limits",),
    default=default,
    prepare_create=prepare_create,
    validate=validate,
    columns=(NAME, Column("Created At", "date", description=doc("meta.v1.ObjectMeta.creationTimestamp"))),
    cells=cells,
    created_by_update=True,
)
