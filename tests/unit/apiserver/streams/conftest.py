"""A kubelet in memory, and an HTTP server just good enough for real clients to reach the streaming subresources."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from proa.apiserver.streams.context import StreamContext
from proa.apiserver.streams.routes import SUBRESOURCE_HANDLERS
from proa.client.kubelet_api import ExecOptions, LogOptions, PodRef
from proa.client.protocol import Object, Request, Response
from proa.objects.errors import ApiError, BadRequest, NotFound, ServiceUnavailable
from proa.objects.resource import Resource

POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "default", "uid": "u-1"},
    "spec": {
        "nodeName": "proa-1",
        "containers": [{"name": "app", "image": "x", "ports": [{"containerPort": 80}]}],
    },
    "status": {"phase": "Running", "podIP": "10.244.1.5", "podIPs": [{"ip": "10.244.1.5"}]},
}


@dataclass
class ProcessSession:
    """An ExecSession with a real process, without a terminal."""

    process: asyncio.subprocess.Process
    sizes: list[tuple[int, int]] = field(default_factory=list)
    closed: bool = False

    async def write(self, data: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(data)
        await self.process.stdin.drain()

    async def close_stdin(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()

    async def resize(self, width: int, height: int) -> None:
        self.sizes.append((width, height))

    async def output(self) -> AsyncIterator[tuple[Any, bytes]]:
        queue: asyncio.Queue[tuple[str, bytes] | None] = asyncio.Queue(maxsize=4)

        async def pump(name: str, reader: asyncio.StreamReader) -> None:
            while data := await reader.read(65536):
                await queue.put((name, data))
            await queue.put(None)

        assert self.process.stdout
        assert self.process.stderr
        tasks = [
            asyncio.ensure_future(pump("stdout", self.process.stdout)),
            asyncio.ensure_future(pump("stderr", self.process.stderr)),
        ]
        for _ in tasks:
            while (item := await queue.get()) is not None:
                yield item

    async def wait(self) -> int:
        return await self.process.wait()

    async def close(self) -> None:
        self.closed = True
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()


class SocketStream:
    """A ByteStream over asyncio streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def read(self, limit: int = 65536) -> bytes:
        return await self.reader.read(limit)

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def close_write(self) -> None:
        if self.writer.can_write_eof():
            self.writer.write_eof()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@dataclass
class FakeKubelet:
    """A KubeletApi: exec runs host processes, port_forward and dial connect to loopback ports in `ports`."""

    ports: dict[int, int] = field(default_factory=dict)
    log: list[bytes] = field(default_factory=list)
    log_options: LogOptions | None = None
    exec_options: ExecOptions | None = None
    sessions: list[ProcessSession] = field(default_factory=list)
    refuse: ApiError | None = None

    async def container_logs(self, pod: PodRef, options: LogOptions) -> AsyncIterator[bytes]:
        self.log_options = options
        if self.refuse:
            raise self.refuse

        async def chunks() -> AsyncIterator[bytes]:
            for chunk in self.log:
                yield chunk

        return chunks()

    async def exec(self, pod: PodRef, options: ExecOptions) -> ProcessSession:
        self.exec_options = options
        if self.refuse:
            raise self.refuse
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*options.command, stdin=pipe, stdout=pipe, stderr=pipe)
        self.sessions.append(ProcessSession(process))
        if not options.stdin:
            await self.sessions[-1].close_stdin()
        return self.sessions[-1]

    async def attach(self, pod: PodRef, options: ExecOptions) -> ProcessSession:
        command = (sys.executable, "-c", "print('attached'); raise SystemExit(3)")
        return await self.exec(pod, ExecOptions(options.container, command, options.stdin))

    async def port_forward(self, pod: PodRef, port: int) -> SocketStream:
        return await self.dial("127.0.0.1", port)

    async def dial(self, host: str, port: int) -> SocketStream:
        if port not in self.ports:
            raise ServiceUnavailable(f"connect to {host}:{port}: connection refused")
        return SocketStream(*await asyncio.open_connection("127.0.0.1", self.ports[port]))


class Connection:
    """An UpgradedConnection over asyncio streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def read(self) -> bytes:
        try:
            return await self.reader.read(65536)
        except ConnectionError:
            return b""

    async def write(self, data: bytes) -> None:
        if self.writer.is_closing():
            raise ConnectionResetError("closed")
        self.writer.write(data)
        await self.writer.drain()

    async def close(self) -> None:
        self.writer.close()


@dataclass
class StubServer:
    """Answers discovery, the objects given, and their streaming subresources, on plain HTTP."""

    kubelet: FakeKubelet
    objects: dict[tuple[str, str], Object]
    slices: list[Object] = field(default_factory=list)
    port: int = 0
    failures: list[BaseException] = field(default_factory=list)
    upgrades: set[str] = field(default_factory=set)

    async def get_object(self, resource: Resource, name: str, namespace: str) -> Object:
        try:
            return self.objects[resource.plural, name]
        except KeyError:
            raise NotFound(f'{resource.plural} "{name}" not found') from None

    async def list_objects(self, resource: Resource, namespace: str, selector: str) -> list[Object]:
        return self.slices

    async def dial_kubelet(self, node: str) -> FakeKubelet:
        return self.kubelet

    async def handle(self, request: Request) -> Response:
        parts = request.path.split("/")
        if request.path in DISCOVERY:
            return json_response(DISCOVERY[request.path])
        if len(parts) < 7 or parts[:4] != ["", "api", "v1", "namespaces"]:
            raise NotFound("the server could not find the requested resource")
        namespace, plural, name = parts[4], parts[5], unquote(parts[6])
        if len(parts) == 7:
            return json_response(self.objects[plural, name])
        subpath = "/" + "/".join(parts[8:]) if len(parts) > 8 else ""
        context = StreamContext(
            namespace, name, subpath, self.get_object, self.list_objects, self.dial_kubelet
        )
        return await SUBRESOURCE_HANDLERS[plural, parts[7]](request, context)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self.serve_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as failure:
            self.failures.append(failure)
            raise
        finally:
            writer.close()

    async def serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        headers: dict[str, str] = {}
        for line in filter(None, head[1:]):
            name, _, value = line.partition(":")
            name = name.lower()
            headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        url = urlsplit(target)
        query = parse_qs(url.query, keep_blank_values=True)
        request = Request(method, url.path, query, headers, body)
        try:
            response = await self.handle(request)
        except ApiError as error:
            response = json_response(error.status(), error.code)
        lines = [f"HTTP/1.1 {response.status} X"] + [f"{k}: {v}" for k, v in response.headers.items()]
        if response.upgrade:
            self.upgrades.add(response.headers["Upgrade"])
            writer.write("\r\n".join([*lines, "", ""]).encode())
            await response.upgrade(Connection(reader, writer))
            return False
        if response.stream:
            lines.append("Transfer-Encoding: chunked")
            writer.write("\r\n".join([*lines, "", ""]).encode())
            async for chunk in response.stream:
                writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            writer.write(b"0\r\n\r\n")
        else:
            body = response.body if isinstance(response.body, bytes) else b"".join(response.body)
            lines.append(f"Content-Length: {len(body)}")
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()
        return True


def json_response(value: object, status: int = 200) -> Response:
    return Response(status, {"Content-Type": "application/json"}, json.dumps(value).encode())


_PODS = {"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "verbs": ["get", "list"]}
DISCOVERY: dict[str, Object] = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": [_PODS]},
    "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.2"},
}


@contextlib.asynccontextmanager
async def serving(stub: StubServer) -> AsyncIterator[StubServer]:
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(stub.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    stub.port = server.sockets[0].getsockname()[1]
    try:
        yield stub
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert not stub.failures, stub.failures


@contextlib.asynccontextmanager
async def listening(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """Serve `answer` on a loopback port while the block runs."""
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            await answer(reader, writer)
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def kubectls() -> list[Path]:
    candidates = (Path(sys.executable).parent / "kubectl", Path("/usr/bin/kubectl"))
    return [path for path in candidates if path.exists()]


async def kubectl(
    program: Path, stub: StubServer, *arguments: str, stdin: bytes = b"", **environment: str
) -> SimpleNamespace:
    """Run kubectl against the stub; return its code, out and err."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        str(program), f"--server=http://127.0.0.1:{stub.port}", *arguments,
        stdin=pipe, stdout=pipe, stderr=pipe,
        env={**os.environ, "KUBECONFIG": "/dev/null", "HOME": "/proc", **environment},
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            out, err = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return SimpleNamespace(code=process.returncode, out=out, err=err.decode())


@pytest.fixture
def streams() -> SimpleNamespace:
    """The helpers of this folder."""
    return SimpleNamespace(
        POD=POD, FakeKubelet=FakeKubelet, StubServer=StubServer, serving=serving, listening=listening,
        kubectl=kubectl, kubectls=kubectls(), BadRequest=BadRequest, run=subprocess.run,
    )  # fmt: skip
