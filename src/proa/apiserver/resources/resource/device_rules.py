"""Say what is wrong with a device of a ResourceSlice (pkg/apis/resource/validation validateDevice)."""

from __future__ import annotations

import re
from typing import Any

from proa.apiserver.resources.core.scheduling_rules import validate_node_selector
from proa.apiserver.resources.resource.capacity_rules import validate_capacity
from proa.apiserver.resources.resource.claim_rules import EFFECTS
from proa.apiserver.resources.resource.names import (
    MAX_QUALIFIED,
    validate_key,
    validate_label_name,
    validate_qualified,
)
from proa.apiserver.resources.resource.shapes import anything, validate_list, validate_map, validate_set
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import (
    Verbatim,
    all_invalid,
    dns_subdomain,
    duplicate,
    invalid,
    label_value,
    not_supported,
    required,
    too_long,
)

MAX_ATTRIBUTES = 32
MAX_TAINTS, MAX_CONSUMED, MAX_COUNTERS, MAX_BINDING = 16, 2, 32, 4
MAX_VALUE = 64
MAX_LABEL = 63
_NUMBER = r"(0|[1-9]\d*)"
_BEFORE = r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
VERSION = rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_BEFORE}(\.{_BEFORE})*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?"
VALUES = ("bool", "int", "string", "version")
PLACES = ("nodeName", "nodeSelector", "allNodes")
ONE_PLACE = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to "
    "true in the ResourceSlice spec"
)
NO_PLACE = (
    "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the "
    "ResourceSlice spec"
)


def validate_device(device: Object, path: str, *, has_place: bool) -> list[Cause]:
    """Check a device; `has_place`: each says for itself on which nodes it is."""
    attributes, capacity = device.get("attributes") or {}, device.get("capacity") or {}
    is_shared = bool(device.get("allowMultipleAllocations"))
    causes = validate_label_name(device.get("name", ""), f"{path}.name")
    count = len(attributes) + len(capacity)
    if count > MAX_ATTRIBUTES:
        why = f"the total number of attributes and capacities must not exceed {MAX_ATTRIBUTES}"
        causes.append(invalid(path, count, why))
    causes += validate_map(
        attributes, -1, MAX_QUALIFIED, validate_qualified, _validate_attribute, f"{path}.attributes"
    )
    causes += validate_map(
        capacity,
        -1,
        MAX_QUALIFIED,
        validate_qualified,
        lambda amount, field: validate_capacity(amount, field, is_shared=is_shared),
        f"{path}.capacity",
    )
    causes += validate_list(device.get("taints") or (), MAX_TAINTS, _validate_taint, f"{path}.taints")
    causes += validate_set(
        device.get("consumesCounters") or (),
        MAX_CONSUMED,
        _validate_consumption,
        lambda consumed: consumed.get("counterSet", ""),
        f"{path}.consumesCounters",
    )
    if has_place:
        causes += _validate_place(device, path)
    elif any(device.get(key) is not None for key in PLACES):
        causes.append(invalid(path, None, NO_PLACE))
    return causes + validate_binding_conditions(device, path)


def _validate_attribute(attribute: Object, path: str) -> list[Cause]:
    given = [key for key in VALUES if attribute.get(key) is not None]
    causes: list[Cause] = []
    for key in given:
        text = attribute[key]
        if key == "version" and not re.fullmatch(VERSION, text, re.ASCII):
            why = "must be a string compatible with semver.org spec 2.0.0"
            causes.append(invalid(f"{path}.version", text, why))
        if key in ("string", "version") and len(text.encode()) > MAX_VALUE:
            causes.append(too_long(f"{path}.{key}", MAX_VALUE))
    if len(given) != 1:
        shown: Any = attribute if given else ""
        causes.append(invalid(path, shown, "exactly one value must be specified"))
    return causes


def _validate_taint(taint: Object, path: str) -> list[Cause]:
    value, effect = taint.get("value", ""), taint.get("effect", "")
    causes = validate_key(taint.get("key", ""), f"{path}.key")
    causes += all_invalid(f"{path}.value", value, label_value(value))
    if not effect:
        causes.append(required(f"{path}.effect"))
    elif effect not in EFFECTS:
        causes.append(not_supported(f"{path}.effect", effect, EFFECTS))
    return causes


def _validate_consumption(consumed: Object, path: str) -> list[Cause]:
    return validate_counters(consumed, "counterSet", path)


def validate_counters(obj: Object, key: str, path: str) -> list[Cause]:
    """Check counters, and the name of their set, which is `key` of the object."""
    name, counters = obj.get(key, ""), obj.get("counters") or {}
    causes = validate_label_name(name, f"{path}.{key}") if name else [required(f"{path}.{key}")]
    if not counters:
        return [*causes, required(f"{path}.counters")]
    return causes + validate_map(
        counters, MAX_COUNTERS, MAX_LABEL, validate_label_name, anything, f"{path}.counters"
    )


def _validate_place(device: Object, path: str) -> list[Cause]:
    node, selector, everywhere = (device.get(key) for key in PLACES)
    causes: list[Cause] = []
    if node == "":
        causes.append(invalid(f"{path}.nodeName", "", "must not be empty"))
    elif node is not None:
        causes += all_invalid(f"{path}.nodeName", node, dns_subdomain(node))
    if selector is not None:
        causes += validate_node_selector(selector, f"{path}.nodeSelector")
    if everywhere is False:
        causes.append(invalid(f"{path}.allNodes", False, "must be either unset or set to true"))
    given = [key for key, value in zip(PLACES, (node, selector, everywhere), strict=True) if value]
    if not given:
        causes.append(required(path, ONE_PLACE))
    elif len(given) > 1:
        causes.append(invalid(path, f"{{{', '.join(f'`{key}`' for key in given)}}}", ONE_PLACE))
    return causes


def validate_binding_conditions(obj: Object, path: str) -> list[Cause]:
    """Check conditions that a device waits for, and those that end the wait."""
    ready, failed = obj.get("bindingConditions") or [], obj.get("bindingFailureConditions") or []
    ready_field, failed_field = f"{path}.bindingConditions", f"{path}.bindingFailureConditions"
    causes = validate_list(ready, MAX_BINDING, validate_key, ready_field)
    causes += validate_list(failed, MAX_BINDING, validate_key, failed_field)
    for items, field in ((ready, ready_field), (failed, failed_field)):
        for index, condition in enumerate(items):
            if condition in items[:index]:
                causes.append(duplicate(f"{field}[{index}]", condition))
            if field is failed_field and condition in ready:
                why = "bindingFailureConditions must not overlap with bindingConditions"
                causes.append(invalid(f"{field}[{index}]", condition, why))
    if failed and not ready:
        why = "bindingConditions are required to use bindingFailureConditions"
        causes.append(invalid(ready_field, Verbatim("null"), why))
    if ready and not failed:
        why = "bindingFailureConditions are required to use bindingConditions"
        causes.append(invalid(failed_field, Verbatim("null"), why))
    return causes
