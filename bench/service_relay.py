"""What does the userspace data path cost? Requests through a relay against the same requests made directly.

One process, one loop, loopback: the server, the client and (where there is one) the relay share a core, so that the
difference of the CPU times is the relay's.
"""

from __future__ import annotations

import asyncio
import socket
import time
from random import Random
from typing import Any

from proa.network.balancer import Balancer
from proa.network.data_path import Endpoint
from proa.network.relay import TcpRelay

CONNECTIONS = 2000
REQUESTS = 10000
BODY = b"x" * 512


class LocalSockets:
    """Sockets of this namespace, where a node's would come from noded."""

    async def take(self, address: str = "") -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        return sock


class Echo(asyncio.Protocol):
    """The service."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[attr-defined]


class Ask(asyncio.Protocol):
    """A client that asks again as soon as it has its answer."""

    def __init__(self, requests: int) -> None:
        self._left = requests
        self._received = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.write(BODY)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received < len(BODY):
            return
        self._received = 0
        self._left -= 1
        if self._left:
            self.transport.write(BODY)  # type: ignore[attr-defined]
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.done.set_result(None)


async def measure(port: int, connections: int, requests: int) -> float:
    """Return CPU microseconds a request over `connections` with `requests` each, one after another."""
    loop = asyncio.get_running_loop()
    began = time.process_time()
    for _ in range(connections):
        _, client = await loop.create_connection(lambda: Ask(requests), "127.0.0.1", port)
        await client.done
    return (time.process_time() - began) / (connections * requests) * 1e6


async def compare(connections: int, requests: int) -> list[dict[str, Any]]:
    """Measure both ways, with a new connection for each request and with one that is kept."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    direct = server.sockets[0].getsockname()[1]
    balancer = Balancer(Random(1), time.monotonic)
    balancer.update((Endpoint("127.0.0.1", direct),), 0)
    relay = TcpRelay(balancer, LocalSockets())  # type: ignore[arg-type]
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setblocking(False)
    relayed = listener.getsockname()[1]
    await relay.start(listener)
    rows = []
    for name, counts in (("a new connection each", (connections, 1)), ("kept alive", (1, requests))):
        baseline = await measure(direct, *counts)
        cost = await measure(relayed, *counts)
        rows.append(
            {
                "name": f"request through a userspace service, {name}",
                "value": cost,
                "unit": "us CPU",
                "baseline": "the same without it",
                "baseline_value": baseline,
                "ratio": baseline / cost,
            }
        )
    await relay.stop()
    server.close()
    await asyncio.sleep(0)
    return rows


def run(quick: bool) -> list[dict[str, Any]]:
    """Return the rows."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(compare(*((500, 2000) if quick else (CONNECTIONS, REQUESTS))))
