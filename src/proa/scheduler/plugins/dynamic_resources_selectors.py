"""Decide by CEL whether a device is one that a class or a request asks for.

An expression sees `device.driver`, `device.attributes` and `device.capacity`, both by domain and name; names without a
domain are in the driver's. A domain that the device says nothing about is an empty map. Follows
staging/src/k8s.io/dynamic-resource-allocation/cel/compile.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from proa.client.protocol import Object
from proa.objects.cel import types as t
from proa.objects.cel.environment import Environment
from proa.objects.cel.errors import CelError
from proa.objects.cel.library.quantities import read_quantity
from proa.objects.cel.library.semvers import read_semver
from proa.objects.cel.program import compile_expression
from proa.objects.cel.values import OpenMap
from proa.scheduler.plugins.dynamic_resources_pools import Device

_ATTRIBUTES = t.map_of(t.STRING, t.map_of(t.STRING, t.DYN))
_CAPACITY = t.map_of(t.STRING, t.map_of(t.STRING, t.QUANTITY))


class SelectorError(Exception):
    """An expression is wrong, or fails for a device; the message says which."""


@cache
def environment() -> Environment:
    """Return what an expression may name."""
    fields = {
        "driver": t.STRING,
        "attributes": _ATTRIBUTES,
        "capacity": _CAPACITY,
        "allowMultipleAllocations": t.BOOL,
    }
    return Environment({"device": t.object_of("kubernetes.DRADevice", fields)})


def matches(expression: str, device: Device) -> bool:
    """Tell whether a device is selected; raise SelectorError."""
    try:
        program = compile_expression(expression, environment(), t.BOOL)
    except CelError as error:
        raise SelectorError(f"CEL compile error: {error}") from None
    try:
        found = program.evaluate({"device": seen_by_expressions(device)})
    except CelError as error:
        raise SelectorError(f"CEL runtime error: {error}") from None
    if type(found) is not bool:
        raise SelectorError(f"CEL runtime error: CEL result of type {type(found).__name__} is no bool")
    return found


def seen_by_expressions(device: Device) -> Object:
    """Return a device as the variable `device`."""
    return {
        "driver": device.id.driver,
        "attributes": _by_domain(device, "attributes", _attribute),
        "capacity": _by_domain(device, "capacity", lambda capacity: read_quantity(str(capacity["value"]))),
        "allowMultipleAllocations": bool(device.spec.get("allowMultipleAllocations")),
    }


def _by_domain(device: Device, field: str, read: Callable[[Mapping[str, Any]], Any]) -> OpenMap:
    found = OpenMap()
    for name, value in (device.spec.get(field) or {}).items():
        domain, _, short = name.rpartition("/")
        found.setdefault(domain or device.id.driver, {})[short] = read(value)
    return found


def _attribute(attribute: Mapping[str, Any]) -> Any:
    if "version" in attribute:
        return read_semver(attribute["version"])
    return next((attribute[kind] for kind in ("int", "bool", "string") if kind in attribute), None)


def attribute_of(device: Device, name: str) -> tuple[str, Any] | None:
    """Return a device's attribute by its full name, as its kind and value; None where it has none."""
    attributes = device.spec.get("attributes") or {}
    found = attributes.get(name)
    domain, _, short = name.rpartition("/")
    if found is None and domain == device.id.driver:
        found = attributes.get(short)
    return next(iter(found.items()), None) if found else None
