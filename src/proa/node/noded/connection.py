"""Keep one connection to noded's unix socket: requests, answers in any order, descriptors beside them, events.

When it breaks it is made again, with a noded that is started again where that is ours to do, and every event stream
begins anew with a resync; a request that was under way fails with NodeUnavailable. noded's side is server.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from proa.node.runtimes.protocol import RuntimeEvent, RuntimeFailure

Revive = Callable[[], Awaitable[bool]]
"""Starts noded again where it has ended, and tells whether it did; raises RuntimeFailure, OSError."""
KILLED_EXIT_CODE = 137
_RECONNECT_SECONDS = (0.02, 0.1, 0.5, 1.0)
_DYING_SECONDS = 0.1
_PATIENCE_SECONDS = 10.0
_CHUNK_BYTES = 1 << 18
_MAX_FDS = 8


class NodedConnection:
    """A connection to the noded of a node's directory."""

    def __init__(self, directory: Path, connection: socket.socket, revive: Revive | None = None) -> None:
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
    async def open(cls, directory: Path, revive: Revive | None = None) -> NodedConnection:
        """Connect, and ask for events; raise OSError when no noded answers."""
        connection = cls(directory, _connect(directory), revive)
        await connection._subscribe()
        return connection

    async def close(self) -> None:
        """Let go of the connection; noded and its containers go on."""
        self._closed = True
        if self._reconnecting is not None:
            self._reconnecting.cancel()
            await asyncio.gather(self._reconnecting, return_exceptions=True)
        self._drop()

    async def ask(
        self, operation: str, arguments: dict[str, Any], fds: Sequence[int] = ()
    ) -> tuple[dict[str, Any], list[int]]:
        """Return the answer and its descriptors, which are the caller's to close; raise RuntimeFailure.

        `fds` go with the request, and stay the caller's.
        """
        if self._reconnecting is not None:
            await asyncio.wait([self._reconnecting], timeout=_PATIENCE_SECONDS)
            if self._reconnecting is not None:
                raise _unavailable()
        number = self._next_number()
        request = {"do": operation, "request": number, **arguments, **({"fds": len(fds)} if fds else {})}
        line = json.dumps(request, separators=(",", ":")).encode()
        future: asyncio.Future[tuple[dict[str, Any], list[int]]] = asyncio.get_running_loop().create_future()
        self._pending[number] = future
        try:
            async with self._writing:
                await self._write(line + b"\n", fds)
            return await future
        except OSError as error:
            raise _unavailable() from error
        finally:
            self._pending.pop(number, None)

    async def _write(self, data: bytes, fds: Sequence[int]) -> None:
        """Send a whole request, its descriptors with the first of its bytes."""
        loop = asyncio.get_running_loop()
        sent = 0
        while fds and not sent:
            try:
                sent = socket.send_fds(self._socket, [data], list(fds))
            except BlockingIOError:
                await loop.sock_sendall(
                    self._socket, b" "
                )  # waits for room, and means nothing before a request
        await loop.sock_sendall(self._socket, data[sent:])

    def begin_exec(self) -> tuple[str, asyncio.Future[int]]:
        """Return the id for a further process and what becomes its exit code: 137 should the connection break."""
        exec_id = f"exec-{self._next_number()}"
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._execs[exec_id] = ended
        return exec_id, ended

    def forget_exec(self, exec_id: str) -> None:
        """Wait for that exit code no more."""
        self._execs.pop(exec_id, None)

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

    def _next_number(self) -> int:
        self._last += 1
        return self._last

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
                future.set_exception(_refusal(**message["error"]))
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
                ended.set_result(KILLED_EXIT_CODE)
        self._execs.clear()

    async def _reconnect(self) -> None:
        attempt = 0
        while True:
            try:
                self._socket = _connect(self._directory)
                break
            except OSError:
                await asyncio.sleep(await self._try_to_revive(attempt))
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
        answer, _ = await self.ask("subscribe", {})
        self._noded = str(answer.get("noded", ""))

    async def _try_to_revive(self, attempt: int) -> float:
        """Start noded again where that is ours to do; return after how many seconds to connect once more."""
        delay = _RECONNECT_SECONDS[min(attempt, len(_RECONNECT_SECONDS) - 1)]
        if self._revive is None or attempt == 0:
            return delay
        try:
            return 0.0 if await self._revive() else min(delay, _DYING_SECONDS)
        except (
            RuntimeFailure,
            OSError,
        ):  # noded.log has the reason (a full disk, say); the node stays unavailable
            return delay


def _connect(directory: Path) -> socket.socket:
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


def _refusal(reason: str, message: str) -> RuntimeFailure:
    """Return noded's words, and what helps where it lacks what this version asks for: pods outlive a server."""
    if reason == "UnknownOperation":
        message += "; `proa down` and then `proa up` start this version's, and the pods again"
    return RuntimeFailure(reason, message)


def _unavailable() -> RuntimeFailure:
    return RuntimeFailure("NodeUnavailable", "the connection to noded broke; it is being made again")
