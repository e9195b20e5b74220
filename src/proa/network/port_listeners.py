"""Keep exactly the listeners open that the services need, each relaying to its service's endpoints of now.

The userspace data path and the host's NodePorts are both this, with other addresses. A service port without endpoints
has no listener, so that a client is refused at once, as upstream's REJECT rule does.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from random import Random
from typing import NamedTuple

from proa.network.balancer import Balancer
from proa.network.data_path import Endpoint, ServiceKey, ServicePort
from proa.network.protocol import NodeNetwork
from proa.network.relay import TcpRelay, UdpRelay
from proa.network.sockets import SocketPool
from proa.objects.quick_dataclass import dataclass

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5.0


class Place(NamedTuple):
    """Where a listener is."""

    protocol: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Wish:
    """A listener that a service needs. `sources` are the networks that may use it, none for all."""

    place: Place
    service: ServiceKey
    endpoints: tuple[Endpoint, ...]
    affinity_seconds: int = 0
    sources: tuple[str, ...] = ()


Relay = TcpRelay | UdpRelay
OpenListener = Callable[[Place], Awaitable[socket.socket]]
OnBlocked = Callable[[Wish, str], None]


class _Listener(NamedTuple):
    balancer: Balancer
    relay: Relay


class PortListeners:
    """The listeners for `wishes_of(port)` of every service port; `on_blocked` hears, once, of one that cannot be."""

    def __init__(
        self,
        node_network: NodeNetwork,
        wishes_of: Callable[[ServicePort], Iterable[Wish]],
        open_listener: OpenListener,
        on_blocked: OnBlocked,
        random: Random | None = None,
    ) -> None:
        self._wishes_of = wishes_of
        self._open_listener = open_listener
        self._on_blocked = on_blocked
        self._random = random or Random()  # noqa: S311 (load balancing, no secret)
        self._sockets = {
            "TCP": SocketPool(node_network, "tcp"),
            "UDP": SocketPool(node_network, "udp"),
        }
        self._wishes: dict[ServiceKey, dict[Place, Wish]] = {}
        self._listeners: dict[Place, _Listener] = {}
        self._draining: set[Relay] = set()
        self._blocked: dict[Place, Wish] = {}
        self._retry: asyncio.Task[None] | None = None

    @property
    def places(self) -> set[Place]:
        """Return where listeners are open."""
        return {*self._listeners}

    async def start(self) -> None:
        """Nothing outlives a process that had listeners: there is nothing to clear."""

    async def apply(self, changes: Mapping[ServiceKey, tuple[ServicePort, ...]]) -> None:
        """Open, update and close listeners."""
        wanted: dict[Place, Wish] = {}
        unwanted: set[Place] = set()
        for service, ports in changes.items():
            wishes: dict[Place, Wish] = {}
            for wish in (wish for port in ports for wish in self._wishes_of(port)):
                if wish.endpoints:
                    wishes.setdefault(wish.place, wish)  # of two families that share a place the first one
            unwanted |= self._wishes.get(service, {}).keys()
            wanted |= wishes
            if wishes:
                self._wishes[service] = wishes
            else:
                self._wishes.pop(service, None)
        for place in unwanted - wanted.keys():
            self._blocked.pop(place, None)
            self._close(place)
        for wish in wanted.values():
            await self._offer(wish)
        self._draining = {relay for relay in self._draining if not relay.is_idle}

    async def _offer(self, wish: Wish) -> None:
        if listener := self._listeners.get(wish.place):
            listener.balancer.update(wish.endpoints, wish.affinity_seconds, wish.sources)
            if isinstance(listener.relay, UdpRelay):
                listener.relay.keep_endpoints(wish.endpoints)
            return
        balancer = Balancer(self._random, time.monotonic)
        balancer.update(wish.endpoints, wish.affinity_seconds, wish.sources)
        sockets = self._sockets[wish.place.protocol]
        relay = TcpRelay(balancer, sockets) if wish.place.protocol == "TCP" else UdpRelay(balancer, sockets)
        try:
            sock = await self._open_listener(wish.place)
        except Exception as error:  # noded reports a taken port in words of its own
            self._block(wish, getattr(error, "strerror", None) or str(error))
            return
        self._blocked.pop(wish.place, None)
        self._listeners[wish.place] = _Listener(balancer, relay)
        await relay.start(sock)

    def _block(self, wish: Wish, why: str) -> None:
        if wish.place not in self._blocked:
            self._on_blocked(wish, why)
        self._blocked[wish.place] = wish
        if self._retry is None or self._retry.done():
            self._retry = asyncio.ensure_future(self._retry_blocked())

    async def _retry_blocked(self) -> None:
        while self._blocked:
            await asyncio.sleep(RETRY_SECONDS)
            for wish in [*self._blocked.values()]:
                await self._offer(wish)

    def _close(self, place: Place) -> None:
        if listener := self._listeners.pop(place, None):
            listener.relay.stop_accepting()
            if not listener.relay.is_idle:
                self._draining.add(listener.relay)

    async def stop(self) -> None:
        """Close every listener and connection."""
        if self._retry is not None:
            self._retry.cancel()
            await asyncio.gather(self._retry, return_exceptions=True)
        relays = [listener.relay for listener in self._listeners.values()]
        for relay in (*relays, *self._draining):
            await relay.stop()
        self._listeners.clear()
        self._draining.clear()
        self._wishes.clear()
        self._blocked.clear()
        for pool in self._sockets.values():
            await pool.close()
