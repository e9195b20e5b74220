"""What does a route through Envoy cost, and how quick are changes? The same backend directly, in the same run.

No cluster: the proxy as the gateway's controller has it, on loopback, with a backend and a client in this process.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proa.network.data_path import Endpoint
from proa.network.gateway.model import (
    BackendKey,
    Door,
    DoorKey,
    ObjectKey,
    PathMatch,
    Route,
    Target,
    make_order,
)
from proa.network.gateway.proxy import Proxy, Snapshot

REQUESTS = 3000
SERVICES = 1000
CHANGES = 20
PORT = 18080
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx-backend: %d\r\n\r\nok"


class HostPlace:
    """Envoy on the host's own network."""

    address = "127.0.0.1"
    namespaces: Sequence[str] = ()
    can_change_user = False
    supervisor = 0

    async def open_listener(self, address: str, port: int) -> socket.socket:
        """Return a socket."""
        listener = socket.create_server((address, port))
        listener.setblocking(False)
        return listener


class Backend(asyncio.Protocol):
    """Answers each request, which comes in one piece."""

    def __init__(self, number: int) -> None:
        self._answer = HEAD % number

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._answer * data.count(b"\r\n\r\n"))  # type: ignore[attr-defined]


class Client:
    """One connection that is kept."""

    async def open(self, port: int) -> Client:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        return self

    async def ask(self, host: str = "s0.io") -> bytes:
        """Return an answer's head."""
        self._writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        if b"ok" not in await self._reader.readexactly(2 if b" 200 " in head else 0) + b"ok":
            raise AssertionError(head)
        return head

    def close(self) -> None:
        """Let go."""
        self._writer.close()


def backend_of(number: int) -> BackendKey:
    """Return a Service's port."""
    return BackendKey(ObjectKey("bench", f"s{number}"), 80)


def snapshot(count: int, endpoint: Endpoint) -> Snapshot:
    """Return as many hosts, each with a Service of its own."""
    path = PathMatch("prefix", "/")
    order = make_order(path, owner="", created="", rule=0, match=0)
    sites = {
        f"s{number}.io": (Route(f"s{number}", order, path, (Target(backend_of(number)),)),)
        for number in range(count)
    }
    endpoints = {backend_of(number): (endpoint,) for number in range(count)}
    return Snapshot((Door(DoorKey(PORT, "HTTP"), sites),), endpoints, {})


async def latency(port: int, requests: int) -> float:
    """Return the median microseconds of a request on one kept connection."""
    client = await Client().open(port)
    for _ in range(100):
        await client.ask()
    took = []
    for _ in range(requests):
        began = time.perf_counter()
        await client.ask()
        took.append(time.perf_counter() - began)
    client.close()
    return statistics.median(took) * 1e6


async def endpoint_change(proxy: Proxy, port: int, ports: tuple[int, int]) -> float:
    """Return the median milliseconds until requests go where a Service leads to now."""
    client = await Client().open(port)
    took = []
    for number in range(CHANGES):
        wanted = ports[number % 2]
        began = time.perf_counter()
        proxy.write_endpoints(backend_of(7), [Endpoint("127.0.0.1", wanted)])
        while f"x-backend: {number % 2}".encode() not in await client.ask("s7.io"):
            continue
        took.append(time.perf_counter() - began)
    client.close()
    return statistics.median(took) * 1e3


async def new_route(proxy: Proxy, endpoint: Endpoint, counts: range) -> float:
    """Return the median milliseconds until a further host is served."""
    took = []
    for count in counts:
        wanted = snapshot(count, endpoint)
        began = time.perf_counter()
        await proxy.apply(wanted)
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e3


async def measure(folder: Path, services: int, requests: int) -> list[dict[str, Any]]:
    """Return the rows."""
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(lambda n=n: Backend(n), "127.0.0.1", 0) for n in (1, 0)]  # type: ignore[misc]
    ports = tuple(server.sockets[0].getsockname()[1] for server in reversed(servers))
    endpoint = Endpoint("127.0.0.1", ports[0])
    proxy = Proxy(folder, HostPlace(), "127.0.0.1")
    try:
        began = time.perf_counter()
        await proxy.start(snapshot(services, endpoint))
        start = time.perf_counter() - began
        port = proxy.ports.public[PORT]
        direct = await latency(ports[0], requests)
        routed = await latency(port, requests)
        change = await endpoint_change(proxy, port, (ports[0], ports[1]))
        route = await new_route(proxy, endpoint, range(services + 1, services + 4))
    finally:
        await proxy.stop()
        for server in servers:
            server.close()
    known = f"{services} Services"
    return [
        row("request by a route, p50 on a kept connection", routed, "us", "directly", direct),
        row(f"Envoy started, {known}", start * 1e3, "ms", "the aim", 1000.0),
        row(f"endpoints changed, {known}", change, "ms", "the aim", 1000.0),
        row(f"a further host served, {known}", route, "ms", "the aim", 1000.0),
    ]


def row(name: str, value: float, unit: str, baseline: str, baseline_value: float) -> dict[str, Any]:
    """Return one figure."""
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "baseline": baseline,
        "baseline_value": baseline_value,
        "ratio": baseline_value / value,
    }


def run(quick: bool) -> list[dict[str, Any]]:
    """Return the rows."""
    with tempfile.TemporaryDirectory() as folder:
        services, requests = (200, 500) if quick else (SERVICES, REQUESTS)
        return asyncio.run(measure(Path(folder), services, requests))
