"""Decide where a backend's requests go: the ready endpoints of its port, else those that end but still serve. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from proa.client.protocol import Object
from proa.network.data_path import Endpoint
from proa.network.gateway.model import BackendKey

FAMILIES = ("IPv4", "IPv6")


def endpoints_of(
    backend: BackendKey, service: Object | None, slices: Iterable[Object]
) -> tuple[Endpoint, ...]:
    """Return the endpoints of a Service's port, of one address family, in order."""
    ports = ((service or {}).get("spec") or {}).get("ports") or ()
    name = next((port.get("name") or "" for port in ports if port["port"] == backend.port), None)
    if name is None:
        return ()
    ready: dict[str, set[Endpoint]] = {}
    ending: dict[str, set[Endpoint]] = {}
    for slice_ in slices:
        number = _port(slice_, name)
        for endpoint in slice_.get("endpoints") or () if number else ():
            conditions = endpoint.get("conditions") or {}
            found = Endpoint(endpoint["addresses"][0], number)
            if conditions.get("ready") is not False:
                ready.setdefault(slice_["addressType"], set()).add(found)
            elif conditions.get("serving"):
                ending.setdefault(slice_["addressType"], set()).add(found)
    for family in FAMILIES:
        if found_here := ready.get(family) or (ending.get(family) if not ready else None):
            return tuple(sorted(found_here))
    return ()


def _port(slice_: Object, name: str) -> int:
    for port in slice_.get("ports") or ():
        if (port.get("name") or "") == name and (port.get("protocol") or "TCP") == "TCP":
            return port.get("port") or 0
    return 0
