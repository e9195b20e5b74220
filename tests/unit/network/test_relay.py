"""A relayed connection loses no byte, on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random

import pytest
import uvloop

from proa.network.balancer import Balancer
from proa.network.data_path import Endpoint
from proa.network.relay import TcpRelay


class SlowSockets:
    """Sockets that take a moment, as those that noded hands over do: the client is faster."""

    async def take(self, address: str = "") -> socket.socket:
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


@contextlib.asynccontextmanager
async def relayed(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[tuple[TcpRelay, int]]:
    """A relay to a server that answers so, and its port."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    balancer = Balancer(Random(1), time.monotonic)
    balancer.update((Endpoint("127.0.0.1", server.sockets[0].getsockname()[1]),), 0)
    relay = TcpRelay(balancer, SlowSockets())  # type: ignore[arg-type]
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    port = listener.getsockname()[1]
    await relay.start(listener)
    try:
        yield relay, port
    finally:
        await relay.stop()
        server.close()
        await asyncio.sleep(0)


def test_what_a_client_says_before_the_endpoint_is_connected_arrives(
    run: Callable[[Awaitable[None]], None],
) -> None:
    async def main() -> None:
        async with relayed(answer_in_capitals) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello" * 1000)
            writer.write_eof()
            answer = await asyncio.wait_for(reader.read(), 60)
            writer.close()
            assert answer == b"HELLO" * 1000

    run(main())


def test_a_connection_that_both_sides_have_ended_is_let_go(run: Callable[[Awaitable[None]], None]) -> None:
    async def main() -> None:
        async with relayed(answer_in_capitals) as (relay, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello")
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 60)
            async with asyncio.timeout(60):
                while not relay.is_idle:  # the client has not closed: the ends alone must do it
                    await asyncio.sleep(0.001)
            writer.close()

    run(main())


def test_a_slow_reader_slows_the_writer_down_and_gets_every_byte(
    run: Callable[[Awaitable[None]], None],
) -> None:
    sent = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        for _ in range(400):
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536
        writer.close()

    async def main() -> None:
        async with relayed(pour) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            while len(reader._buffer) < 65536:  # type: ignore[attr-defined]
                await asyncio.sleep(0.001)
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.05)
            assert sent < 400 * 65536
            received = await asyncio.wait_for(reader.read(), 60)
            writer.close()
            assert len(received) == 400 * 65536

    run(main())


def test_a_reset_by_the_endpoint_reaches_the_client_as_a_reset(
    run: Callable[[Awaitable[None]], None],
) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.close()

    async def main() -> None:
        async with relayed(reset) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello")
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 60)
            writer.close()

    run(main())
