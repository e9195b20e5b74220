"""A relayed connection loses no byte, on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from random import Random

import pytest
import uvloop

from proa.network.balancer import Balancer
from proa.network.data_path import Endpoint
from proa.network.relay import TcpRelay


class SlowSockets:
    """Sockets that take a moment, as those that noded hands over do: the client is faster."""

    async def take(self) -> socket.socket:
        await asyncio.sleep(0.01)
        sock = socket.socket()
        sock.setblocking(False)
        return sock


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[None]], None]:
    """Return `asyncio.run` on each kind of loop."""

    def run(main: Awaitable[None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(main)  # type: ignore[arg-type]

    return run


async def answer_in_capitals(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read to the end, then answer."""
    said = await reader.read()
    writer.write(said.upper())
    await writer.drain()
    writer.close()


def test_what_a_client_says_before_the_endpoint_is_connected_arrives(
    run: Callable[[Awaitable[None]], None],
) -> None:
    async def main() -> None:
        server = await asyncio.start_server(answer_in_capitals, "127.0.0.1", 0)
        balancer = Balancer(Random(1), time.monotonic)
        balancer.update((Endpoint("127.0.0.1", server.sockets[0].getsockname()[1]),), 0)
        relay = TcpRelay(balancer, SlowSockets())  # type: ignore[arg-type]
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        port = listener.getsockname()[1]
        await relay.start(listener)

        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello" * 1000)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        await relay.stop()
        server.close()
        assert answer == b"HELLO" * 1000

    run(main())
