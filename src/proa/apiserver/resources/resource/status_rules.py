"""Say what is wrong with the status of a claim: what it got, who uses it, what drivers say of the devices.

Follows pkg/apis/resource/validation validateResourceClaimStatusUpdate and registry/resource/resourceclaim.
"""

from __future__ import annotations

from proa.apiserver.resources.core.driver_names import validate_driver_name
from proa.apiserver.resources.core.scheduling_rules import validate_node_selector
from proa.apiserver.resources.resource.claim_rules import (
    MAX_CONFIGS,
    MAX_TOLERATIONS,
    validate_request_config,
    validate_toleration,
)
from proa.apiserver.resources.resource.device_rules import validate_binding_conditions
from proa.apiserver.resources.resource.names import (
    RequestNames,
    request_names,
    validate_key,
    validate_label_name,
    validate_pool_name,
    validate_request_reference,
    validate_uid,
)
from proa.apiserver.resources.resource.shapes import validate_list, validate_parameters, validate_set
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import (
    Verbatim,
    all_invalid,
    forbidden,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
    validate_immutable,
)
from proa.objects.validation_addresses import interface_address

MAX_CONSUMERS, MAX_RESULTS, MAX_CONDITIONS, MAX_IPS = 256, 32, 8, 16
MAX_DATA, MAX_INTERFACE, MAX_HARDWARE = 10 * 1024, 256, 128
SOURCES = ("FromClaim", "FromClass")
NO_NEW = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
DeviceId = tuple[str, str, str, str]
"""Driver, pool, device, share."""


def device_id(device: Object) -> DeviceId:
    """Return what a result or a device's status is about."""
    return (
        device.get("driver", ""),
        device.get("pool", ""),
        device.get("device", ""),
        device.get("shareID") or "",
    )


def allocated_devices(claim: Object) -> list[Object]:
    """Return the results of the allocation."""
    allocation = (claim.get("status") or {}).get("allocation") or {}
    results: list[Object] = (allocation.get("devices") or {}).get("results") or []
    return results


def drop_deallocated(new: Object, old: Object) -> None:
    """Forget what drivers said of devices that the claim has no longer."""
    kept = {device_id(result)[:3] for result in allocated_devices(new)}
    gone = {device_id(result)[:3] for result in allocated_devices(old)} - kept
    status = new["status"]
    devices = [d for d in status.get("devices") or () if device_id(d)[:3] not in gone]
    if devices:
        status["devices"] = devices
    else:
        status.pop("devices", None)


def validate_status(new: Object, old: Object) -> list[Cause]:
    """Check a new status."""
    status, before = new.get("status") or {}, old.get("status") or {}
    names = request_names((new.get("spec") or {}).get("devices") or {})
    consumers, allocation = status.get("reservedFor") or [], status.get("allocation")
    allocated = {device_id(result) for result in allocated_devices(new)}
    causes = validate_set(
        consumers, MAX_CONSUMERS, _validate_consumer, lambda c: c.get("uid", ""), "status.reservedFor"
    )
    causes += validate_set(
        status.get("devices") or (),
        -1,
        lambda device, field: _validate_device(device, allocated, field),
        device_id,
        "status.devices",
    )
    causes += _validate_consumers_change(new, consumers, before.get("reservedFor") or [], allocation)
    if allocation is None:
        return causes
    if before.get("allocation") is not None:
        return causes + validate_immutable(allocation, before["allocation"], "status.allocation")
    return causes + _validate_allocation(allocation, names, "status.allocation")


def _validate_consumer(consumer: Object, path: str) -> list[Cause]:
    return [required(f"{path}.{key}") for key in ("resource", "name", "uid") if not consumer.get(key)]


def _validate_consumers_change(
    claim: Object, consumers: list[Object], before: list[Object], allocation: Object | None
) -> list[Cause]:
    field = "status.reservedFor"
    if not consumers:
        return []
    if allocation is None:
        return [forbidden(field, "may not be specified when `allocated` is not set")]
    is_going = bool(claim["metadata"].get("deletionTimestamp"))
    added = [consumer for consumer in consumers if consumer not in before]
    return [forbidden(field, NO_NEW)] if is_going and added else []


def _validate_device(device: Object, allocated: set[DeviceId], path: str) -> list[Cause]:
    causes = _validate_device_names(device, path)
    if device_id(device) not in allocated:
        shown = Verbatim("/".join(part for part in device_id(device) if part))
        causes.append(invalid(path, shown, "must be an allocated device in the claim"))
    conditions, field = device.get("conditions") or [], f"{path}.conditions"
    if len(conditions) > MAX_CONDITIONS:
        causes.append(too_many(field, len(conditions), MAX_CONDITIONS))
    causes += validate_set(conditions, -1, _validate_condition, lambda c: c.get("type", ""), field)
    if device.get("data") is not None:
        causes += validate_parameters(device["data"], f"{path}.data", MAX_DATA)
    return causes + _validate_network(device.get("networkData") or {}, f"{path}.networkData")


def _validate_device_names(device: Object, path: str) -> list[Cause]:
    causes = validate_driver_name(device.get("driver", ""), f"{path}.driver")
    causes += validate_pool_name(device.get("pool", ""), f"{path}.pool")
    causes += validate_label_name(device.get("device", ""), f"{path}.device")
    share = device.get("shareID")
    return causes if share is None else causes + validate_uid(share, f"{path}.shareID")


def _validate_condition(condition: Object, path: str) -> list[Cause]:
    kind, status = condition.get("type", ""), condition.get("status", "")
    causes = validate_key(kind, f"{path}.type") if kind else [required(f"{path}.type", "is required")]
    if not status:
        causes.append(required(f"{path}.status"))
    elif status not in ("False", "True", "Unknown"):
        causes.append(not_supported(f"{path}.status", status, ("False", "True", "Unknown")))
    causes += [
        required(f"{path}.{key}") for key in ("lastTransitionTime", "reason") if not condition.get(key)
    ]
    return causes


def _validate_network(data: Object, path: str) -> list[Cause]:
    causes = [
        too_long(f"{path}.{key}", most)
        for key, most in (("interfaceName", MAX_INTERFACE), ("hardwareAddress", MAX_HARDWARE))
        if len(data.get(key, "").encode()) > most
    ]
    return causes + validate_set(
        data.get("ips") or (),
        MAX_IPS,
        lambda address, field: all_invalid(field, address, interface_address(address)),
        lambda address: address,
        f"{path}.ips",
    )


def _validate_allocation(allocation: Object, names: RequestNames, path: str) -> list[Cause]:
    devices = allocation.get("devices") or {}
    causes = validate_list(
        devices.get("results") or (),
        MAX_RESULTS,
        lambda result, field: _validate_result(result, names, field),
        f"{path}.devices.results",
    )
    causes += validate_list(
        devices.get("config") or (),
        2 * MAX_CONFIGS,
        lambda config, field: _validate_result_config(config, names, field),
        f"{path}.devices.config",
    )
    selector = allocation.get("nodeSelector")
    return causes if selector is None else causes + validate_node_selector(selector, f"{path}.nodeSelector")


def _validate_result(result: Object, names: RequestNames, path: str) -> list[Cause]:
    causes = validate_request_reference(result.get("request", ""), names, f"{path}.request")
    causes += _validate_device_names(result, path)
    causes += validate_binding_conditions(result, path)
    return causes + validate_list(
        result.get("tolerations") or (), MAX_TOLERATIONS, validate_toleration, f"{path}.tolerations"
    )


def _validate_result_config(config: Object, names: RequestNames, path: str) -> list[Cause]:
    source, field = config.get("source", ""), f"{path}.source"
    causes = [] if source else [required(field)]
    if source and source not in SOURCES:
        causes.append(not_supported(field, source, SOURCES))
    return causes + validate_request_config(config, names, path)
