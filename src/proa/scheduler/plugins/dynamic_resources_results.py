"""Write down what a claim got: devices, their configuration, and the nodes that reach them.

Follows staging/src/k8s.io/dynamic-resource-allocation/structured/internal/stable/allocator_stable.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from proa.client.protocol import Object
from proa.objects import meta
from proa.scheduler.plugins.dynamic_resources_pools import Device

if TYPE_CHECKING:
    from proa.scheduler.plugins.dynamic_resources_allocator import Asked


def make_allocation(claim: Object, chosen: Sequence[tuple[Asked, Device]], picked: Sequence[Asked]) -> Object:
    """Return status.allocation of a claim; `picked` is the alternative of each request."""
    devices: Object = {"results": [_result(asked, device) for asked, device in chosen]}
    config = [*_class_configs(picked), *_claim_configs(claim, picked)]
    if config:
        devices["config"] = [_for_all(each, len(picked)) for each in config]
    allocation: Object = {"devices": devices}
    selector = _node_selector([device for _, device in chosen])
    if selector is not None:
        allocation["nodeSelector"] = selector
    return allocation


def _result(asked: Asked, device: Device) -> Object:
    result: Object = {"request": asked.name, **device.id._asdict()}
    if asked.is_admin:
        result["adminAccess"] = True
    if asked.spec.get("tolerations"):
        result["tolerations"] = asked.spec["tolerations"]
    return result


def _class_configs(picked: Sequence[Asked]) -> list[Object]:
    """Return each class's configuration once, with the requests that it is for."""
    requests: dict[str, list[str]] = {}
    classes = {meta.name(asked.device_class): asked.device_class for asked in picked}
    for asked in picked:
        requests.setdefault(meta.name(asked.device_class), []).append(asked.name)
    return [
        {**config, "source": "FromClass", "requests": requests[name]}
        for name, device_class in classes.items()
        for config in device_class["spec"].get("config") or ()
    ]


def _claim_configs(claim: Object, picked: Sequence[Asked]) -> list[Object]:
    names = {name for asked in picked for name in (asked.name, asked.parent)}
    return [
        {**config, "source": "FromClaim"}
        for config in (claim["spec"].get("devices") or {}).get("config") or ()
        if not config.get("requests") or names.intersection(config["requests"])
    ]


def _for_all(config: Object, requests: int) -> Object:
    """Leave out the requests where they are all of them: that is what none means."""
    if len(config.get("requests") or ()) != requests:
        return config
    return {key: value for key, value in config.items() if key != "requests"}


def _node_selector(devices: Sequence[Device]) -> Object | None:
    """Return which nodes reach all devices; None: all do."""
    term: dict[str, list[Object]] = {}
    for device in devices:
        if name := device.place.get("nodeName"):
            field = {"key": "metadata.name", "operator": "In", "values": [name]}
            return {"nodeSelectorTerms": [{"matchFields": [field]}]}
        for each in (device.place.get("nodeSelector") or {}).get("nodeSelectorTerms") or ():
            for part in ("matchFields", "matchExpressions"):
                for requirement in each.get(part) or ():
                    if requirement not in term.setdefault(part, []):
                        term[part].append(requirement)
    term = {part: requirements for part, requirements in term.items() if requirements}
    return {"nodeSelectorTerms": [term]} if term else None
