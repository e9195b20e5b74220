"""gRPC probes: what servers of the health protocol, and others, make of one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from proa.node.probes.prober import ProbeResult, Target, run_probe
from proa.node.runtimes.fake import FakeRuntime
from support.grpc_health import HealthServer
from support.virtual_time import run_unhurried

TARGET = Target("c1", {"name": "app"}, "10.244.1.2")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def probe(serve: Serve | None, timeout_seconds: float = 5, **action: Any) -> ProbeResult:
    async def main() -> ProbeResult:
        runtime = FakeRuntime(lambda: 0.0)
        if serve is None:
            return await run_probe(runtime, {"grpc": {"port": 2333}}, TARGET)
        served = asyncio.Event()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await serve(reader, writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            served.set()

        async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
            runtime.addresses["10.244.1.2", 2333] = server.sockets[0].getsockname()
            wanted = {"grpc": {"port": 2333, **action}, "timeoutSeconds": timeout_seconds}
            found = await run_probe(runtime, wanted, TARGET)
            await served.wait()
            return found

    return run_unhurried(main())


def test_a_healthy_server_passes() -> None:
    server = HealthServer()

    assert probe(server.serve, service="") == ProbeResult(True, "service healthy")
    assert server.user_agents == ["kube-probe/1.36"]


def test_a_server_that_is_not_well_fails() -> None:
    server = HealthServer(healthy_until=0)

    assert probe(server.serve) == ProbeResult(False, 'service unhealthy (responded with "NOT_SERVING")')


def test_an_unknown_service_fails() -> None:
    found = probe(HealthServer().serve, service="liveness" * 20)

    words = "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service"
    assert found == ProbeResult(False, words)


def test_nobody_there_fails() -> None:
    why = "dial tcp 10.244.1.2:2333: connect: connection refused"
    words = f'connection error: desc = "transport: Error while dialing: {why}"'
    assert probe(None).message == f'error: failed to connect service at "10.244.1.2:2333": {words}'


async def answer_http1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()
    writer.close()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


@pytest.mark.parametrize("serve", [answer_http1, hang_up], ids=["HTTP/1.1", "hangs up"])
def test_who_does_not_speak_the_protocol_fails(serve: Serve) -> None:
    found = probe(serve)

    assert not found.ok
    assert found.message.startswith("error: health rpc probe failed: rpc error: code = Unavailable desc = ")


def test_a_server_that_says_nothing_takes_too_long() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    found = probe(say_nothing, timeout_seconds=0.05)

    assert found == ProbeResult(False, "timeout: health rpc did not complete within 0.05s")
