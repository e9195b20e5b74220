"""The official Python client's stream module execs and forwards ports (WebSocket v4 channels)."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from types import SimpleNamespace
from typing import Any

import pytest

kubernetes = pytest.importorskip(
    "kubernetes", reason="not on this machine: the Python client is not installed"
)


def api_of(stub: Any) -> Any:
    configuration = kubernetes.client.Configuration()
    configuration.host = f"http://127.0.0.1:{stub.port}"
    return kubernetes.client.CoreV1Api(kubernetes.client.ApiClient(configuration))


def stub_of(streams: SimpleNamespace, **kubelet: Any) -> Any:
    return streams.StubServer(streams.FakeKubelet(**kubelet), {("pods", "web"): streams.POD})


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_exec_with_input_and_exit_code(streams: SimpleNamespace) -> None:
    from kubernetes.stream import stream

    code = "import sys; name = input(); print('hello', name); print('oops', file=sys.stderr); sys.exit(4)"

    def use(stub: Any) -> tuple[str, str, int]:
        session = stream(
            api_of(stub).connect_get_namespaced_pod_exec, "web", "default",
            command=[sys.executable, "-c", code], stdin=True, stdout=True, stderr=True, tty=False,
            _preload_content=False,
        )  # fmt: skip
        session.write_stdin("proa\n")
        session.run_forever(timeout=60)
        return session.read_stdout(), session.read_stderr(), session.returncode

    async def scenario() -> None:
        async with streams.serving(stub_of(streams)) as stub:
            assert await asyncio.to_thread(use, stub) == ("hello proa\n", "oops\n", 4)

    asyncio.run(scenario())
    gc.collect()  # the client closes its sockets only so


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_port_forward_gives_a_socket(streams: SimpleNamespace) -> None:
    from kubernetes.stream import portforward

    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readexactly(5)).upper())
        await writer.drain()

    def use(stub: Any) -> tuple[bytes, Any]:
        forward = portforward(
            api_of(stub).connect_get_namespaced_pod_portforward, "web", "default", ports="8080,81"
        )
        connection: socket.socket = forward.socket(8080)
        connection.settimeout(20)
        connection.sendall(b"hello")
        answer = b""
        while data := connection.recv(100):
            answer += data
        connection.close()
        return answer, forward.error(81)

    async def scenario() -> None:
        async with streams.listening(shout) as backend:
            async with streams.serving(stub_of(streams, ports={8080: backend})) as stub:
                answer, error = await asyncio.to_thread(use, stub)
        assert answer == b"HELLO"
        assert "error forwarding port 81 to pod web_default" in str(error)

    asyncio.run(scenario())
    gc.collect()  # the client closes its sockets only so
