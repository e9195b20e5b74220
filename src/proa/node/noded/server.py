"""Answer requests on the unix socket: one JSON object a line, descriptors beside the line (SCM_RIGHTS).

A request is {"request", "do", …}; its answer {"request", "result"} or {"request", "error": {"reason", "message"}}.
In both, "fds" is the number of descriptors that came with it. Lines without a request number are events.
Answers may come out of order.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket

from proa.node.noded import faults
from proa.node.noded.descriptors import close_all
from proa.node.noded.failures import Failure
from proa.node.noded.loop import READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from proa.node.noded.loop import Loop
    from proa.node.noded.supervisor import Supervisor

_MAX_REQUEST_BYTES = 16 << 20
_MAX_FDS = 8


class Reply:
    """The one answer to a request, now or later."""

    __slots__ = ("_before", "_identifier", "_sent", "_then", "_waiting", "connection")

    def __init__(self, connection: Connection, identifier: int) -> None:
        self.connection = connection
        self._identifier = identifier
        self._before: Callable[[], None] | None = None
        self._then: Callable[[], None] | None = None
        self._waiting = 0
        self._sent = False

    def wait_for(self, count: int, then: Callable[[], None]) -> None:
        """Take the next `count` sends as news only; after the last, call `then`."""
        self._waiting, self._then = count, then

    def before_sending(self, action: Callable[[], None]) -> None:
        """Do this just before the answer goes out."""
        self._before = action

    def send(self, result: dict[str, Any], fds: list[int] | None = None) -> None:
        """Answer; the descriptors are closed here once they are sent."""
        if self._waiting:
            self._waiting -= 1
            if self._waiting == 0 and self._then is not None:
                self._then()
            return
        if self._sent:
            return
        self._sent = True
        if self._before is not None:
            self._before()
        self.connection.write(
            {"request": self._identifier, "result": result, "fds": len(fds or ())}, fds or []
        )

    def fail(self, reason: str, message: str) -> None:
        """Answer that it could not be done."""
        if not self._sent:
            self._sent = True
            self.connection.write(
                {"request": self._identifier, "error": {"reason": reason, "message": message}}, []
            )

    def push(self, event: dict[str, Any]) -> None:
        """Send an event on the same connection."""
        self.connection.write(event, [])


class Connection:
    """One client."""

    def __init__(self, loop: Loop, supervisor: Supervisor, connection: socket.socket) -> None:
        self._loop = loop
        self._supervisor = supervisor
        self._socket = connection
        self._received = b""
        self._descriptors: list[int] = []
        self._outgoing: list[tuple[bytes, list[int]]] = []
        connection.setblocking(False)
        loop.watch(connection.fileno(), READ, self._on_ready)

    def write(self, message: dict[str, Any], fds: list[int]) -> None:
        """Queue a line, with descriptors that are closed when sent."""
        if self._socket.fileno() < 0:
            close_all(*fds)
            return
        self._outgoing.append((json.dumps(message, separators=(",", ":")).encode() + b"\n", fds))
        if len(self._outgoing) == 1:
            self._flush()

    def _on_ready(self, ready: int) -> None:
        if ready & WRITE:
            self._flush()
        if ready & READ and self._socket.fileno() >= 0:
            self._read()

    def _read(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, 1 << 18, _MAX_FDS)
            self._descriptors += fds
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or len(self._received) > _MAX_REQUEST_BYTES:
            self._close()
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._handle(line)

    def _handle(self, line: bytes) -> None:
        request = json.loads(line)
        reply = Reply(self, request["request"])
        count = request.get("fds", 0)
        request["descriptors"], self._descriptors = self._descriptors[:count], self._descriptors[count:]
        try:
            self._carry_out(request, reply)
        except Failure as failure:
            reply.fail(failure.reason, str(failure))
        except OSError as error:
            reply.fail("NodeError", f"{request['do']}: {error.strerror or error}")
        except Exception as error:
            faults.log()
            reply.fail("InternalError", f"{request['do']}: {type(error).__name__}: {error}")
        finally:
            close_all(*request["descriptors"])

    def _carry_out(self, request: dict[str, Any], reply: Reply) -> None:
        operation = getattr(self._supervisor, f"do_{request['do']}", None)
        if operation is None:
            reply.fail("UnknownOperation", f"noded does not know {request['do']!r}: it is of another version")
            return
        operation(request, reply)

    def _flush(self) -> None:
        while self._outgoing:
            data, fds = self._outgoing[0]
            try:
                sent = socket.send_fds(self._socket, [data], fds) if fds else self._socket.send(data)
            except BlockingIOError:
                self._loop.watch(self._socket.fileno(), READ | WRITE, self._on_ready)
                return
            except OSError:
                self._close()
                return
            close_all(*fds)
            if sent < len(data):
                self._outgoing[0] = (data[sent:], [])
            else:
                self._outgoing.pop(0)
        self._loop.watch(self._socket.fileno(), READ, self._on_ready)

    def _close(self) -> None:
        if self._socket.fileno() < 0:
            return
        self._loop.forget(self._socket.fileno())
        self._socket.close()
        for _, fds in self._outgoing:
            close_all(*fds)
        self._outgoing.clear()
        close_all(*self._descriptors)
        self._descriptors.clear()
        self._supervisor.forget_connection(self)


def listen(path: str) -> socket.socket:
    """Listen on a unix socket that only its owner may use. A relative path keeps within sun_path's 108 bytes."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    listener.listen(64)
    listener.setblocking(False)
    return listener


def serve(loop: Loop, supervisor: Supervisor, listener: socket.socket) -> None:
    """Take connections from now on."""

    def accept(_: int) -> None:
        try:
            connection, _address = listener.accept()
        except BlockingIOError:
            return
        Connection(loop, supervisor, connection)

    loop.watch(listener.fileno(), READ, accept)
