"""Ask noded over its unix socket: the runtime and the node's network as the protocol's calls.

One connection carries requests, answers (in any order), descriptors and events. When it breaks it is made again, and
every event stream begins anew with a resync; a request that was under way fails with NodeUnavailable.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from proa.node.noded.images import HOST_IMAGES, find_image
from proa.node.noded.sessions import AttachSession, ExecSession, ReadPipe
from proa.node.runtimes.protocol import (
    Container,
    ContainerConfig,
    ContainerStats,
    Image,
    Mount,
    Resources,
    RuntimeEvent,
    RuntimeFailure,
    RuntimeStatus,
    Sandbox,
    SandboxConfig,
    Security,
)

_RECONNECT_SECONDS = (0.02, 0.1, 0.5, 1.0)
_Kind = TypeVar("_Kind")
_PATIENCE_SECONDS = 10.0
_CHUNK_BYTES = 1 << 18
_MAX_FDS = 8


class NodedClient:
    """A connection to one node's noded: implements `Runtime` and `NodeNetwork`."""

    def __init__(
        self, directory: Path, connection: socket.socket, revive: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._directory = directory
        self._revive = revive
        self._socket = connection
        self._received = b""
        self._fds: deque[int] = deque()
        self._pending: dict[int, asyncio.Future[tuple[dict[str, Any], list[int]]]] = {}
        self._execs: dict[str, asyncio.Future[int]] = {}
        self._queues: list[asyncio.Queue[RuntimeEvent]] = []
        self._renewed: list[asyncio.Event] = []
        self._noded = ""
        self._last = 0
        self._closed = False
        self._writing = asyncio.Lock()
        self._reconnecting: asyncio.Task[None] | None = None
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._on_readable)

    @classmethod
    async def connect(
        cls, directory: Path, revive: Callable[[], Awaitable[None]] | None = None
    ) -> NodedClient:
        """Connect to the noded of a node's directory; raise OSError when none answers.

        `revive` starts noded again, should it have ended when the connection is lost.
        """
        client = cls(directory, open_connection(directory), revive)
        await client._subscribe()
        return client

    async def close(self) -> None:
        """Let go of the connection; noded and its containers go on."""
        self._closed = True
        if self._reconnecting is not None:
            self._reconnecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reconnecting
        self._drop()

    # Runtime

    async def status(self) -> RuntimeStatus:
        """Return what this node's isolation really is."""
        return RuntimeStatus(**await self._call("status"))

    async def run_sandbox(self, config: SandboxConfig) -> Sandbox:
        """Make a sandbox."""
        return sandbox_from(await self._call("run_sandbox", config=asdict(config)))

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Kill what is left in it and take its network away."""
        await self._call("stop_sandbox", identifier=sandbox_id)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Forget it and its containers."""
        await self._call("remove_sandbox", identifier=sandbox_id)

    async def list_sandboxes(self) -> list[Sandbox]:
        """Return all sandboxes."""
        return [sandbox_from(item) for item in (await self._call("list_sandboxes"))["items"]]

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        """Prepare a container and return its id."""
        if find_image(config.image) is None:
            raise RuntimeFailure(
                "ImageNotRunnable",
                f"image {config.image!r} cannot run here: this node has {', '.join(HOST_IMAGES)}",
            )
        answer = await self._call("create_container", sandbox_id=sandbox_id, config=asdict(config))
        return str(answer["id"])

    async def start_container(self, container_id: str) -> None:
        """Run it."""
        await self._call("start_container", identifier=container_id)

    async def stop_container(self, container_id: str, grace_seconds: float) -> None:
        """Stop it, and return when it has exited."""
        await self._call("stop_container", identifier=container_id, grace_seconds=grace_seconds)

    async def remove_container(self, container_id: str) -> None:
        """Forget it."""
        await self._call("remove_container", identifier=container_id)

    async def list_containers(self) -> list[Container]:
        """Return all containers."""
        return [container_from(item) for item in (await self._call("list_containers"))["items"]]

    async def get_container(self, container_id: str) -> Container | None:
        """Return one container, None when it is not known."""
        item = (await self._call("get_container", identifier=container_id))["item"]
        return container_from(item) if item is not None else None

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        """Yield events from now on; a resync comes first, and again after each reconnection."""
        queue: asyncio.Queue[RuntimeEvent] = asyncio.Queue()
        queue.put_nowait(RuntimeEvent("resync"))
        self._queues.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.remove(queue)

    def renewals(self) -> AsyncIterator[None]:
        """Yield whenever another noded than before answers, from this call on.

        Whatever was made in the node's network (sockets, addresses, rules) went with the one before.
        """
        renewed = asyncio.Event()
        self._renewed.append(renewed)
        return self._follow_renewals(renewed)

    async def _follow_renewals(self, renewed: asyncio.Event) -> AsyncIterator[None]:
        try:
            while True:
                await renewed.wait()
                renewed.clear()
                yield
        finally:
            self._renewed.remove(renewed)

    async def exec(self, container_id: str, argv: tuple[str, ...], *, stdin: bool, tty: bool) -> ExecSession:
        """Run another process in a container."""
        self._last += 1
        exec_id = f"exec-{self._last}"
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._execs[exec_id] = ended
        try:
            _, fds = await self._ask(
                "exec",
                {"id": container_id, "exec_id": exec_id, "argv": list(argv), "stdin": stdin, "tty": tty},
            )
        except BaseException:
            self._execs.pop(exec_id, None)
            raise
        terminal = fds.pop() if tty else -1
        input_fd = fds.pop(0) if stdin and not tty else -1
        outputs = [("stdout", terminal)] if tty else list(zip(("stdout", "stderr"), fds, strict=True))

        async def kill() -> None:
            self._execs.pop(exec_id, None)
            with contextlib.suppress(RuntimeFailure):
                await self._call("kill_exec", exec_id=exec_id)

        return ExecSession(input_fd, [ReadPipe(name, fd) for name, fd in outputs], terminal, ended, kill)

    async def attach(self, container_id: str) -> AttachSession:
        """Join the streams of a running container's main process."""
        answer, fds = await self._ask("attach", {"id": container_id})
        input_fd = fds.pop(0) if answer["stdin"] else -1
        outputs = [ReadPipe(name, fd) for name, fd in zip(("stdout", "stderr"), fds, strict=False)]

        async def close_stdin() -> None:
            await self._call("close_stdin", identifier=container_id)

        async def exit_code() -> int:
            async for _ in self.events():
                container = await self.get_container(container_id)
                if container is None or container.state == "Exited":
                    return container.exit_code if container is not None else 137
            return 137

        return AttachSession(input_fd, outputs, input_fd if answer["tty"] else -1, close_stdin, exit_code)

    async def stats(self, container_id: str) -> ContainerStats:
        """Return what a container has used."""
        return ContainerStats(**await self._call("stats", identifier=container_id))

    async def dial(self, sandbox_id: str, host: str, port: int) -> socket.socket:
        """Return a socket of a sandbox's network namespace, connected to host (an address) and port."""
        address = "127.0.0.1" if host in ("", "localhost") else host
        made = await self._socket_in(sandbox_id, "tcp", "::" if ":" in address else "", 0)
        try:
            await asyncio.get_running_loop().sock_connect(made, (address, port))
        except OSError as error:
            made.close()
            raise RuntimeFailure(
                "DialError", f"failed to connect to {address}:{port}: {_words(error)}"
            ) from error
        except BaseException:
            made.close()
            raise
        return made

    async def image(self, name: str) -> Image | None:
        """Return the image that this name means here, None when there is none."""
        return find_image(name)

    async def list_images(self) -> list[Image]:
        """Return the images that this node provides."""
        return [image for name in HOST_IMAGES if (image := find_image(name)) is not None]

    # NodeNetwork

    async def open_socket(
        self, kind: Literal["tcp-listen", "tcp", "udp"], host: str = "", port: int = 0
    ) -> socket.socket:
        """Return a socket of the node's network namespace."""
        return await self._socket_in("", kind, host, port)

    async def add_addresses(self, addresses: list[str]) -> None:
        """Give the node's loopback these addresses."""
        await self._call("add_addresses", addresses=addresses)

    async def remove_addresses(self, addresses: list[str]) -> None:
        """Take these addresses from the node's loopback."""
        await self._call("remove_addresses", addresses=addresses)

    async def apply_nftables(self, commands: str) -> None:
        """Run nft commands in one transaction."""
        await self._call("nftables", commands=commands)

    async def shutdown(self) -> None:
        """End noded and every container of the node."""
        await self._call("shutdown")

    # The wire

    async def _socket_in(self, sandbox_id: str, kind: str, host: str, port: int) -> socket.socket:
        _, fds = await self._ask(
            "socket", {"sandbox_id": sandbox_id, "kind": kind, "host": host, "port": port}
        )
        made = socket.socket(fileno=fds[0])
        made.setblocking(False)
        return made

    async def _call(self, operation: str, identifier: str = "", **arguments: Any) -> dict[str, Any]:
        result, fds = await self._ask(operation, {"id": identifier, **arguments} if identifier else arguments)
        for fd in fds:
            os.close(fd)
        return result

    async def _ask(self, operation: str, arguments: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        if self._reconnecting is not None:
            await asyncio.wait([self._reconnecting], timeout=_PATIENCE_SECONDS)
            if self._reconnecting is not None:
                raise _unavailable()
        self._last += 1
        number = self._last
        line = json.dumps({"do": operation, "request": number, **arguments}, separators=(",", ":")).encode()
        future: asyncio.Future[tuple[dict[str, Any], list[int]]] = asyncio.get_running_loop().create_future()
        self._pending[number] = future
        try:
            async with self._writing:
                await asyncio.get_running_loop().sock_sendall(self._socket, line + b"\n")
            return await future
        except OSError as error:
            raise _unavailable() from error
        finally:
            self._pending.pop(number, None)

    def _on_readable(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, _CHUNK_BYTES, _MAX_FDS)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        self._fds.extend(fds)
        if not data:
            self._on_lost()
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._on_message(json.loads(line))

    def _on_message(self, message: dict[str, Any]) -> None:
        if "request" in message:
            fds = [self._fds.popleft() for _ in range(message.get("fds", 0))]
            future = self._pending.get(message["request"])
            if future is None or future.done():
                for fd in fds:
                    os.close(fd)
            elif "error" in message:
                future.set_exception(RuntimeFailure(message["error"]["reason"], message["error"]["message"]))
            else:
                future.set_result((message["result"], fds))
        elif "exec" in message:
            ended = self._execs.pop(message["exec"], None)
            if ended is not None and not ended.done():
                ended.set_result(message["exit_code"])
        else:
            event = RuntimeEvent(message["event"], message["container_id"], message["sandbox_id"])
            for queue in self._queues:
                queue.put_nowait(event)

    def _on_lost(self) -> None:
        self._drop()
        if not self._closed:
            self._reconnecting = asyncio.get_running_loop().create_task(self._reconnect())

    def _drop(self) -> None:
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        self._received = b""
        for future in self._pending.values():
            if not future.done():
                future.set_exception(_unavailable())
        for ended in self._execs.values():
            if not ended.done():
                ended.set_result(137)
        self._execs.clear()

    async def _reconnect(self) -> None:
        attempt = 0
        while True:
            try:
                self._socket = open_connection(self._directory)
                break
            except OSError:
                await self._try_to_revive(attempt)
                await asyncio.sleep(_RECONNECT_SECONDS[min(attempt, len(_RECONNECT_SECONDS) - 1)])
                attempt += 1
        self._reconnecting = None
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._on_readable)
        before = self._noded
        try:
            await self._subscribe()
        except RuntimeFailure:
            return  # it broke once more (a dying noded's socket was still there), and is being made again
        if self._noded != before:
            for renewed in self._renewed:
                renewed.set()
        for queue in self._queues:
            queue.put_nowait(RuntimeEvent("resync"))

    async def _subscribe(self) -> None:
        answer = await self._call("subscribe")
        self._noded = str(answer.get("noded", ""))

    async def _try_to_revive(self, attempt: int) -> None:
        """Start noded again where that is ours to do; what goes wrong is tried again."""
        if self._revive is None or attempt == 0:
            return
        with contextlib.suppress(RuntimeFailure):  # noded.log has the reason, and the node stays unavailable
            await self._revive()


def open_connection(directory: Path) -> socket.socket:
    """Connect to a directory's noded.sock, however long the path is; raise OSError."""
    folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(f"/proc/self/fd/{folder}/noded.sock")
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(folder)
    connection.setblocking(False)
    return connection


def sandbox_from(record: dict[str, Any]) -> Sandbox:
    """Return the sandbox that a record describes."""
    config = dict(record["config"])
    for name in ("dns_servers", "dns_searches", "dns_options"):
        config[name] = tuple(config[name])
    config["host_aliases"] = tuple((ip, tuple(names)) for ip, names in config["host_aliases"])
    return _make(Sandbox, {**record, "config": _make(SandboxConfig, config)})


def container_from(record: dict[str, Any]) -> Container:
    """Return the container that a record describes."""
    config = dict(record["config"])
    security = dict(config["security"])
    for name in ("supplemental_groups", "add_capabilities", "drop_capabilities"):
        security[name] = tuple(security[name])
    config["argv"] = tuple(config["argv"])
    config["env"] = tuple((name, value) for name, value in config["env"])
    config["mounts"] = tuple(_make(Mount, mount) for mount in config["mounts"])
    config["resources"] = _make(Resources, config["resources"])
    config["security"] = _make(Security, security)
    return _make(Container, {**record, "config": _make(ContainerConfig, config)})


def _make(kind: type[_Kind], values: dict[str, Any]) -> _Kind:
    """Build a dataclass from a record that a noded of another version may have written."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in values.items() if name in known})


def _words(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)


def _unavailable() -> RuntimeFailure:
    return RuntimeFailure("NodeUnavailable", "the connection to noded broke; it is being made again")
