"""Choose the endpoint of each new connection: at random, or the one that this client had (ClientIP affinity)."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Sequence
from random import Random

from proa.network.data_path import Endpoint

MAX_REMEMBERED_CLIENTS = 65536


class Balancer:
    """The endpoints of one service port. `random` and `now` (seconds, monotonic) are passed in."""

    def __init__(self, random: Random, now: Callable[[], float]) -> None:
        self._random = random
        self._now = now
        self._endpoints: tuple[Endpoint, ...] = ()
        self._affinity_seconds = 0
        self._sources: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        self._clients: OrderedDict[str, tuple[Endpoint, float]] = OrderedDict()

    def update(
        self, endpoints: tuple[Endpoint, ...], affinity_seconds: int, sources: Sequence[str] = ()
    ) -> None:
        """Offer these from now on, to clients of these networks; those of an endpoint that is gone will get another."""
        self._endpoints = endpoints
        self._sources = [ipaddress.ip_network(cidr, strict=False) for cidr in sources]
        self._affinity_seconds = affinity_seconds
        if not affinity_seconds:
            self._clients.clear()

    def candidates(self, client: str) -> list[Endpoint]:
        """Return the endpoints to try, in this order; none for a client that may not use them."""
        if self._sources and not any(ipaddress.ip_address(client) in network for network in self._sources):
            return []
        order = self._random.sample(self._endpoints, len(self._endpoints))
        if self._affinity_seconds and (preferred := self._find_remembered(client)):
            order.remove(preferred)
            order.insert(0, preferred)
        return order

    def connected(self, client: str, endpoint: Endpoint) -> None:
        """Note which endpoint a client got: with affinity, the one it gets next time."""
        if not self._affinity_seconds:
            return
        self._clients[client] = (endpoint, self._now() + self._affinity_seconds)
        self._clients.move_to_end(client)
        while len(self._clients) > MAX_REMEMBERED_CLIENTS:
            self._clients.popitem(last=False)

    def _find_remembered(self, client: str) -> Endpoint | None:
        endpoint, expires_at = self._clients.get(client, (None, 0.0))
        if endpoint is None or expires_at <= self._now() or endpoint not in self._endpoints:
            self._clients.pop(client, None)
            return None
        return endpoint
