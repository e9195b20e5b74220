"""A ResourceSlice says which devices a driver has in a pool; its driver, pool and node never change.

Follows pkg/apis/resource/v1/defaults.go, pkg/apis/resource/validation, pkg/registry/resource/resourceslice and
printResourceSlice. Fields whose feature is off by default (lists in attributes, nodeAllocatableResourceMappings) go.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition
from proa.apiserver.resources.core.driver_names import validate_driver_name
from proa.apiserver.resources.core.scheduling_rules import validate_node_selector
from proa.apiserver.resources.printing import AGE, NAME, age, doc
from proa.apiserver.resources.resource.names import validate_pool_name
from proa.apiserver.resources.resource.shapes import validate_set
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.meta import format_time
from proa.objects.resource import RESOURCE_SLICES
from proa.objects.validation import all_invalid, dns_subdomain, invalid, required, validate_immutable

MAX_DEVICES, MAX_ADVANCED_DEVICES, MAX_COUNTER_SETS = 128, 64, 8
LISTS = ("bools", "ints", "strings", "versions")
ONE_PLACE = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"


def default(resource_slice: Object) -> None:
    """Taints are there since now; what is off by default goes."""
    spec = resource_slice.setdefault("spec", {})
    spec.setdefault("driver", "")
    pool = spec.setdefault("pool", {})
    for key, value in (("name", ""), ("generation", 0), ("resourceSliceCount", 0)):
        pool.setdefault(key, value)
    for device in spec.get("devices") or ():
        device.pop("nodeAllocatableResourceMappings", None)
        for attribute in (device.get("attributes") or {}).values():
            for key in LISTS:
                attribute.pop(key, None)
        for taint in device.get("taints") or ():
            if taint.get("timeAdded") is None:
                taint["timeAdded"] = format_time(time.time())


def validate(resource_slice: Object) -> list[Cause]:
    """Check driver, pool, place, devices and counters."""
    from proa.apiserver.resources.resource.device_rules import validate_counters, validate_device

    spec = resource_slice["spec"]
    driver, devices, counters = spec["driver"], spec.get("devices") or [], spec.get("sharedCounters") or []
    causes = validate_driver_name(driver, "spec.driver")
    causes += _validate_pool(spec["pool"], "spec.pool")
    causes += _validate_place(spec, "spec")
    if devices and counters:
        causes.append(invalid("spec", "", "only one of `sharedCounters` or `devices` is allowed"))
    is_advanced = any(device.get("taints") or device.get("consumesCounters") for device in devices)
    has_place = bool(spec.get("perDeviceNodeSelection"))
    causes += validate_set(
        devices,
        MAX_ADVANCED_DEVICES if is_advanced else MAX_DEVICES,
        lambda device, path: validate_device(device, path, has_place=has_place),
        lambda device: device.get("name", ""),
        "spec.devices",
    )
    return causes + validate_set(
        counters,
        MAX_COUNTER_SETS,
        lambda counter_set, path: validate_counters(counter_set, "name", path),
        lambda counter_set: counter_set.get("name", ""),
        "spec.sharedCounters",
    )


def _validate_pool(pool: Object, path: str) -> list[Cause]:
    causes = validate_pool_name(pool["name"], f"{path}.name")
    if pool["resourceSliceCount"] <= 0:
        count = pool["resourceSliceCount"]
        causes.append(invalid(f"{path}.resourceSliceCount", count, "must be greater than zero"))
    if pool["generation"] < 0:
        why = "must be greater than or equal to zero"
        causes.append(invalid(f"{path}.generation", pool["generation"], why))
    return causes


def _validate_place(spec: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    node, selector = spec.get("nodeName"), spec.get("nodeSelector")
    if node == "":
        why = "must be either unset or set to a non-empty string"
        causes.append(invalid(f"{path}.nodeName", node, why))
    elif node is not None:
        causes += all_invalid(f"{path}.nodeName", node, dns_subdomain(node))
    if selector is not None:
        terms = selector.get("nodeSelectorTerms") or []
        causes += validate_node_selector(selector, f"{path}.nodeSelector")
        if len(terms) != 1:
            field = f"{path}.nodeSelector.nodeSelectorTerms"
            causes.append(invalid(field, terms, "must have exactly one node selector term"))
    for key in ("allNodes", "perDeviceNodeSelection"):
        if spec.get(key) is False:
            causes.append(invalid(f"{path}.{key}", False, "must be either unset or set to true"))
    given = [
        key
        for key in ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
        if spec.get(key) or (key == "nodeSelector" and selector is not None)
    ]
    if not given:
        causes.append(required(path, ONE_PLACE))
    elif len(given) > 1:
        shown = f"{{{', '.join(f'`{key}`' for key in given)}}}"
        causes.append(invalid(path, shown, f"{ONE_PLACE}, but multiple fields are set"))
    return causes


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that pool, driver and node are the same."""
    mine, theirs = new["spec"], old["spec"]
    return [
        *validate_immutable(mine["pool"]["name"], theirs["pool"]["name"], "spec.pool.name"),
        *validate_immutable(mine["driver"], theirs["driver"], "spec.driver"),
        *validate_immutable(mine.get("nodeName"), theirs.get("nodeName"), "spec.nodeName"),
    ]


def warnings(resource_slice: Object, old: Object | None) -> list[str]:
    """Warn of a driver's name that is not in lower case."""
    driver = resource_slice["spec"]["driver"]
    if driver == driver.lower():
        return []
    return [f'spec.driver: driver names should be lowercase; "{driver}" contains uppercase characters']


def cells(resource_slice: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    spec = resource_slice["spec"]
    return (
        resource_slice["metadata"]["name"],
        spec.get("nodeName"),
        spec.get("driver", ""),
        (spec.get("pool") or {}).get("name", ""),
        age(resource_slice, now),
    )


def _node_name(resource_slice: Object) -> str:
    return str((resource_slice.get("spec") or {}).get("nodeName") or "")


def _driver(resource_slice: Object) -> str:
    return str((resource_slice.get("spec") or {}).get("driver") or "")


DEFINITION = ResourceDefinition(
    resource=RESOURCE_SLICES,
    singular="resourceslice",
    schema="io.k8s.api.resource.v1.ResourceSlice",
    default=default,
    validate=validate,
    validate_update=validate_update,
    warnings=warnings,
    columns=(
        NAME,
        Column("Node", description=doc("resource.v1.ResourceSliceSpec.nodeName")),
        Column("Driver", description=doc("resource.v1.ResourceSliceSpec.driver")),
        Column("Pool", description=doc("resource.v1.ResourcePool.name")),
        AGE,
    ),
    cells=cells,
    field_selectors={"spec.nodeName": _node_name, "spec.driver": _driver},
    tracks_generation=True,
    returns_deleted=True,
)
