"""Give each Service of type LoadBalancer an address of this machine's own, and relay what comes there to its endpoints.

The address is one of 127.96.0.0/16: all of 127.0.0.0/8 is this machine already, so the host stays as it is, and every
service can have its ports. It follows from the Service's uid and is kept in its status, with ipMode Proxy: from inside
of the cluster nothing leads there (a pod's 127.0.0.0/8 is its own), that is what the ClusterIP is for. Serves those of
no class and of `proa.local/loopback`. A port that this process may not bind is offered 8000 higher; that, and what is
taken by another program, is told in `status.loadBalancer.ingress[].ports` and in Events. Writes services' status.
Follows staging/src/k8s.io/cloud-provider/controllers/service/controller.go.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from proa.client.protocol import MERGE_PATCH, Client, Object
from proa.network.data_path import ServiceKey, ServicePort
from proa.network.hostports import open_on_host
from proa.network.port_listeners import Place, PortListeners, Wish
from proa.network.protocol import NodeNetwork
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.resource import SERVICES
from proa.reconcile.protocol import EventRecorder

ACCOUNT = "service-controller"
CLASS = "proa.local/loopback"
RANGE = ipaddress.IPv4Network("127.96.0.0/16")
HIGHER = 8000
"""How much higher a port is offered that may not be bound."""
NOT_PERMITTED, UNAVAILABLE = "proa.local/PortNotPermitted", "proa.local/PortUnavailable"
_CAP_NET_BIND_SERVICE = 10
_UNPRIVILEGED_START = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


class Problem(NamedTuple):
    """A port that is not where it should be: why (as a status says it), and in words."""

    error: str
    words: str


def is_ours(service: Object | None) -> bool:
    """Tell whether the service is to get an address here."""
    spec = (service or {}).get("spec") or {}
    return bool(spec.get("type") == "LoadBalancer") and spec.get("loadBalancerClass") in (None, "", CLASS)


def choose_address(service: Object, taken: Collection[str]) -> str:
    """Return the service's address: the one it has, the one it asks for, or the next free one of its own."""
    has = [entry.get("ip", "") for entry in _ingress(service)]
    for wanted in (*has, service["spec"].get("loadBalancerIP") or ""):
        if wanted not in taken and _is_loopback(wanted):
            return str(wanted)
    number = int.from_bytes(hashlib.sha256(meta.uid(service).encode()).digest()[:8], "big")
    for step in range(RANGE.num_addresses):
        address = str(RANGE[1 + (number + step) % (RANGE.num_addresses - 2)])
        if address not in taken:
            return address
    raise AssertionError("there are more services than addresses")


def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.IPv4Address(address)
    except ValueError:
        return False
    return found.is_loopback and str(found) != "127.0.0.1"


def port_on_host(port: int, others: Collection[int], lowest: int) -> int:
    """Return where a port is offered, given the service's other ports and the lowest that may be bound."""
    if port >= lowest:
        return port
    return next(number for number in range(port + HIGHER, 65536, 1000) if number not in others)


def lowest_port() -> int:
    """Return the lowest port that this process may listen on."""
    try:
        status = Path("/proc/self/status").read_text()
        capabilities = next(line for line in status.splitlines() if line.startswith("CapEff:"))
        if int(capabilities.split()[1], 16) >> _CAP_NET_BIND_SERVICE & 1:
            return 1
        return int(_UNPRIVILEGED_START.read_text())
    except (OSError, StopIteration, ValueError):
        return 1 if os.geteuid() == 0 else 1024


def make_status(address: str, ports: Iterable[tuple[int, str, int, Problem | None]]) -> Object:
    """Return status.loadBalancer; each port is (number, protocol, where it is offered, what is wrong)."""
    entries: list[Object] = []
    for number, protocol, offered, problem in ports:
        entry = {"port": number, "protocol": protocol}
        entries.append({**entry, "error": problem.error} if problem else entry)
        if offered != number:
            entries.append({"port": offered, "protocol": protocol})
    ingress: Object = {"ip": address, "ipMode": "Proxy"}
    if any("error" in entry for entry in entries):
        ingress["ports"] = entries
    return {"ingress": [ingress]}


def _ingress(service: Object) -> list[Object]:
    return ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []


class LoadBalancers:
    """A DataPathBackend for the host. `find` returns a Service as it is now."""

    def __init__(
        self,
        node_network: NodeNetwork,
        find: Callable[[ServiceKey], Object | None],
        client: Client,
        events: EventRecorder,
        lowest: int,
    ) -> None:
        self._find = find
        self._client = client
        self._events = events
        self._lowest = lowest
        self._addresses: dict[ServiceKey, str] = {}
        self._taken: set[str] = set()
        self._ports: dict[ServiceKey, tuple[ServicePort, ...]] = {}
        self._listeners = PortListeners(node_network, self._wishes_of, open_on_host, self._blocked)
        self._blocks: dict[Place, Problem] = {}

    async def start(self) -> None:
        """See DataPathBackend; addresses are those of before."""

    async def apply(self, changes: Mapping[ServiceKey, tuple[ServicePort, ...]]) -> None:
        """See DataPathBackend."""
        services = {key: self._find(key) for key in changes}
        mine = {key: found for key, found in services.items() if found is not None and is_ours(found)}
        lost = {key: self._addresses[key] for key in changes if key in self._addresses and key not in mine}
        for key in lost:
            self._taken.discard(self._addresses.pop(key))
        for key, service in sorted(
            mine.items(), key=lambda pair: not _ingress(pair[1])
        ):  # who has one keeps it
            if key not in self._addresses:
                self._addresses[key] = choose_address(service, self._taken)
                self._taken.add(self._addresses[key])
        for key, ports in changes.items():
            self._ports[key] = ports if key in mine else ()
            for place in [place for place in self._blocks if place.address == self._addresses.get(key)]:
                del self._blocks[place]
        await self._listeners.apply({key: self._ports[key] for key in changes})
        await asyncio.gather(*(self._tell(key, service) for key, service in mine.items()))
        await asyncio.gather(*(self._take_back(key, services[key], address) for key, address in lost.items()))
        for key in lost:
            self._ports.pop(key, None)

    async def stop(self) -> None:
        """See DataPathBackend; what statuses say stays."""
        await self._listeners.stop()
        self._blocks.clear()

    def _wishes_of(self, port: ServicePort) -> Iterable[Wish]:
        place = self._place_of(port)
        yield Wish(place, port.service, port.node_port_endpoints, port.affinity_seconds, port.source_ranges)

    def _place_of(self, port: ServicePort) -> Place:
        others = {
            other.port for other in self._ports.get(port.service, ()) if other.protocol == port.protocol
        }
        number = port_on_host(port.port, others, self._lowest)
        return Place(port.protocol, self._addresses[port.service], number)

    def _blocked(self, wish: Wish, why: str) -> None:
        place = wish.place
        words = f"cannot offer {place.address}:{place.port}/{place.protocol} on the host: {why}; trying again"
        self._blocks[place] = Problem(UNAVAILABLE, words)
        if (service := self._find(wish.service)) is not None:
            self._events.event(service, "Warning", "HostPortUnavailable", words)

    async def _tell(self, key: ServiceKey, service: Object) -> None:
        """Bring the status to what is so."""
        status = make_status(self._addresses[key], self._described(key))
        if (service.get("status") or {}).get("loadBalancer") == status:
            return
        await self._write(key, {"loadBalancer": status})
        for number, _, offered, problem in self._described(key):
            if problem is not None and offered != number:
                self._events.event(service, "Warning", "LoadBalancerPortMoved", problem.words)
        if not _ingress(service):
            self._events.event(service, "Normal", "EnsuredLoadBalancer", "Ensured load balancer")

    def _described(self, key: ServiceKey) -> list[tuple[int, str, int, Problem | None]]:
        found = {}
        for port in self._ports[key]:
            place = self._place_of(port)
            problem = self._blocks.get(place)
            if place.port != port.port:
                problem = problem or _not_permitted(place, port.port)
            found[port.port, port.protocol] = (port.port, port.protocol, place.port, problem)
        return list(found.values())

    async def _take_back(self, key: ServiceKey, service: Object | None, address: str) -> None:
        """A service that is of another type now has no balancer any more."""
        if service is not None and [entry.get("ip") for entry in _ingress(service)] == [address]:
            await self._write(key, {"loadBalancer": None})

    async def _write(self, key: ServiceKey, status: Object) -> None:
        try:
            await self._client.patch(
                SERVICES,
                key.name,
                {"status": status},
                key.namespace,
                patch_type=MERGE_PATCH,
                subresource="status",
            )
        except NotFound:
            return


def _not_permitted(place: Place, port: int) -> Problem:
    return Problem(
        NOT_PERMITTED,
        f"{place.address}:{port} is for privileged users here, so it is offered at {place.address}:{place.port}: "
        f"`sudo sysctl -w net.ipv4.ip_unprivileged_port_start={port}` and then `proa down`, `proa up` change that",
    )
