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
from proa.objects.cel.budget import DEFAULT_COST, Budget
from proa.objects.cel.environment import Environment
from proa.objects.cel.errors import CelError
from proa.objects.cel.library.quantities import read_quantity
from proa.objects.cel.library.semvers import read_semver
from proa.objects.cel.program import compile_expression
from proa.objects.cel.values import OpenMap
from proa.scheduler.plugins.dynamic_resources_effort import Effort, SelectorError
from proa.scheduler.plugins.dynamic_resources_pools import Device

COST_OF_DEVICE = 50
"""What it costs to show a device to an expression."""
_ATTRIBUTES = t.map_of(t.STRING, t.map_of(t.STRING, t.DYN))
_CAPACITY = t.map_of(t.STRING, t.map_of(t.STRING, t.QUANTITY))


@cache
def environment() -> Environment:
    """Return what an expression may name."""
    fields = {
        "driver": t.STRING,
        "attributes": _ATTRIBUTES,
        "capacity": _CAPACITY,
        "allowMultipleAllocations": t.BOOL,
    }
    return Environment({"device": t.object_of("kubernetes.DRADevice", fields)}, has_bindings=True)


def matches(expression: str, device: Device, effort: Effort) -> bool:
    """Tell whether a device is selected; raise SelectorError, TimedOut."""
    try:
        program = compile_expression(expression, environment(), t.BOOL)
    except CelError as error:
        raise SelectorError(f"CEL compile error: {error}") from None
    effort.check_cost()
    budget = Budget(min(effort.cost, DEFAULT_COST))
    allowed = budget.left
    try:
        found = program.evaluate({"device": seen_by_expressions(device)}, budget)
    except CelError as error:
        raise SelectorError(f"CEL runtime error: {error}") from None
    finally:
        effort.cost -= allowed - max(budget.left, 0) + COST_OF_DEVICE
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
