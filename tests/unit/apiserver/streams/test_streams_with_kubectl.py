"""Unmodified kubectl (the newest, and an older one where installed) uses exec, attach, logs and port-forward."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from types import SimpleNamespace

import pytest

SPDY_ONLY = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}
WEBSOCKETS = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "true", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "true"}
transports = pytest.mark.parametrize("environment", [WEBSOCKETS, SPDY_ONLY], ids=["websocket", "spdy"])


def stub_of(streams: SimpleNamespace, **kubelet: object) -> SimpleNamespace:
    return streams.StubServer(streams.FakeKubelet(**kubelet), {("pods", "web"): streams.POD})


def for_each_kubectl(streams: SimpleNamespace) -> list:
    if not streams.kubectls:
        pytest.skip("not on this machine: kubectl is not installed")
    return streams.kubectls


@transports
def test_exec_returns_output_and_exit_code(streams: SimpleNamespace, environment: dict[str, str]) -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"

    async def scenario() -> None:
        async with streams.serving(stub_of(streams)) as stub:
            for program in for_each_kubectl(streams):
                command = ("exec", "web", "--", sys.executable, "-c", code)
                done = await streams.kubectl(program, stub, *command, **environment)
                assert (done.code, done.out) == (7, b"out\n"), done
                assert done.err.startswith("err\n")
                assert "command terminated with exit code 7" in done.err
            assert stub.upgrades == {"SPDY/3.1" if environment is SPDY_ONLY else "websocket"}

    asyncio.run(scenario())


@transports
def test_exec_passes_megabytes_of_stdin_through_and_ends_it(
    streams: SimpleNamespace, environment: dict[str, str]
) -> None:
    payload = b"0123456789abcdef" * 200_000

    async def scenario() -> None:
        async with streams.serving(stub_of(streams)) as stub:
            for program in for_each_kubectl(streams):
                done = await streams.kubectl(
                    program, stub, "exec", "-i", "web", "--", "cat", stdin=payload, **environment
                )
                assert done.code == 0, done.err
                assert done.out == payload

    asyncio.run(scenario())


@transports
def test_exec_that_cannot_start_says_why(streams: SimpleNamespace, environment: dict[str, str]) -> None:
    async def scenario() -> None:
        stub = stub_of(streams, refuse=streams.BadRequest('container not found ("app")'))
        async with streams.serving(stub):
            for program in for_each_kubectl(streams):
                done = await streams.kubectl(program, stub, "exec", "web", "--", "true", **environment)
                assert done.code == 1
                assert 'container not found ("app")' in done.err

    asyncio.run(scenario())


@transports
def test_attach_joins_the_main_process_and_ends_in_success(
    streams: SimpleNamespace, environment: dict[str, str]
) -> None:
    async def scenario() -> None:
        async with streams.serving(stub_of(streams)) as stub:
            for program in for_each_kubectl(streams):
                done = await streams.kubectl(program, stub, "attach", "web", **environment)
                assert (done.code, done.out) == (0, b"attached\n"), done

    asyncio.run(scenario())


def test_logs_stream_with_the_options_asked_for(streams: SimpleNamespace) -> None:
    async def scenario() -> None:
        async with streams.serving(stub_of(streams, log=[b"one\n", b"two\n"])) as stub:
            for program in for_each_kubectl(streams):
                done = await streams.kubectl(program, stub, "logs", "-f", "web", "--tail=5", "--timestamps")
                assert (done.code, done.out) == (0, b"one\ntwo\n"), done
                options = stub.kubelet.log_options
                assert (options.container, options.follow, options.tail_lines, options.timestamps) == (
                    "app", True, 5, True,
                )  # fmt: skip

    asyncio.run(scenario())


@transports
def test_port_forward_carries_many_connections_and_reports_refusals(
    streams: SimpleNamespace, environment: dict[str, str]
) -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        await writer.drain()

    async def forwarded(port: int, data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(data)
            writer.write_eof()
            return await reader.read()
        finally:
            writer.close()

    async def refused(port: int) -> None:
        # kubectl closes its side at the refusal: with an end if it had read all by then, with a reset if not
        with contextlib.suppress(OSError):
            assert await forwarded(port, b"x") == b""

    async def scenario() -> None:
        async with streams.listening(shout) as backend:
            stub = stub_of(streams, ports={8080: backend})
            async with streams.serving(stub):
                for program in for_each_kubectl(streams):
                    async with port_forward(streams, program, stub, environment) as (process, ports):
                        payloads = [bytes((97 + i,)) * 300_000 for i in range(8)]
                        answers = await asyncio.gather(*(forwarded(ports[8080], p) for p in payloads))
                        assert answers == [p.upper() for p in payloads]
                        await refused(ports[81])
                        refusal = await read_until(process.stderr, b"refused")
                        assert b"error forwarding port 81 to pod web_default, uid u-1" in refusal

    asyncio.run(scenario())


@contextlib.asynccontextmanager
async def port_forward(streams, program, stub, environment):
    import os

    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        str(program), f"--server=http://127.0.0.1:{stub.port}", "port-forward", "web", ":8080", ":81",
        stdout=pipe, stderr=pipe, env={**os.environ, "KUBECONFIG": "/dev/null", "HOME": "/proc", **environment},
    )  # fmt: skip
    try:
        ports: dict[int, int] = {}
        while len(ports) < 2:
            async with asyncio.timeout(60):
                line = (await process.stdout.readline()).decode()
            match = re.match(r"Forwarding from 127.0.0.1:(\d+) -> (\d+)", line)
            assert match or "[::1]" in line, line or (await process.stderr.read()).decode()
            if match:
                ports[int(match[2])] = int(match[1])
        yield process, ports
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def read_until(reader: asyncio.StreamReader, word: bytes) -> bytes:
    seen = b""
    async with asyncio.timeout(60):
        while word not in seen:
            line = await reader.readline()
            assert line, seen
            seen += line
    return seen
