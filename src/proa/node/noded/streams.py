"""Move a container's output to its log and to whoever is attached, without losing or reordering a byte.

A slow listener holds the container back, as a slow terminal does: while more than MAX_PENDING_BYTES wait for one,
the container's output is not read.
"""

from __future__ import annotations

import os
import socket
import time

from proa.node.noded.loop import READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from proa.node.noded.logs import LogFile
    from proa.node.noded.loop import Loop

CHUNK_BYTES = 65536
MAX_PENDING_BYTES = 1 << 20
_MAX_DRAIN_BYTES = 4 << 20


class Listener:
    """One end of an attached session: a socket that gets a copy of one or both streams."""

    __slots__ = ("pending", "socket", "streams")

    def __init__(self, connection: socket.socket, streams: tuple[str, ...]) -> None:
        connection.setblocking(False)
        self.socket = connection
        self.streams = streams
        self.pending = b""


class Output:
    """The read ends of a container's streams, its log, and its listeners."""

    def __init__(self, loop: Loop, log: LogFile) -> None:
        self._loop = loop
        self._log = log
        self._sources: dict[int, str] = {}
        self._listeners: list[Listener] = []

    def add_source(self, fd: int, stream: str) -> None:
        """Read `fd` from now on; it is closed at its end."""
        os.set_blocking(fd, False)
        self._sources[fd] = stream
        self._watch(fd)

    def _watch(self, fd: int) -> None:
        def read(_: int) -> None:
            self._read(fd)

        self._loop.watch(fd, READ, read)

    def add_listener(self, connection: socket.socket, streams: tuple[str, ...]) -> None:
        """Copy these streams to a socket until either ends."""
        self._listeners.append(Listener(connection, streams))

    def close(self) -> None:
        """Take what the streams still hold, and close everything."""
        for fd in list(self._sources):
            taken = 0
            while fd in self._sources and taken < _MAX_DRAIN_BYTES:
                got = self._read(fd)
                if got == 0:
                    break
                taken += got
            self._drop_source(fd)
        self._log.close(time.time_ns())
        for listener in self._listeners:
            if not listener.pending:
                self._drop_listener(listener)
        self._listeners = [listener for listener in self._listeners if listener.pending]

    def _read(self, fd: int) -> int:
        try:
            data = os.read(fd, CHUNK_BYTES)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""  # EIO: the last process has let go of the terminal
        if not data:
            self._drop_source(fd)
            return 0
        stream = self._sources[fd]
        self._log.write(stream, data, time.time_ns())
        for listener in list(self._listeners):
            if stream in listener.streams:
                self._send(listener, data)
        return len(data)

    def _send(self, listener: Listener, data: bytes) -> None:
        listener.pending += data
        self._flush(listener)

    def _flush(self, listener: Listener) -> None:
        try:
            while listener.pending:
                sent = listener.socket.send(listener.pending)
                listener.pending = listener.pending[sent:]
        except BlockingIOError:
            self._loop.watch(listener.socket.fileno(), WRITE, lambda _: self._flush(listener))
        except OSError:
            listener.pending = b""
            self._drop_listener(listener)
        else:
            self._loop.forget(listener.socket.fileno())
            if not self._sources:
                self._drop_listener(listener)
        self._hold(any(len(other.pending) > MAX_PENDING_BYTES for other in self._listeners))

    def _hold(self, held: bool) -> None:
        for fd in self._sources:
            if held:
                self._loop.forget(fd)
            else:
                self._watch(fd)

    def _drop_source(self, fd: int) -> None:
        if self._sources.pop(fd, None) is None:
            return
        self._loop.forget(fd)
        os.close(fd)

    def _drop_listener(self, listener: Listener) -> None:
        if listener.socket.fileno() >= 0:
            self._loop.forget(listener.socket.fileno())
            listener.socket.close()
        if listener in self._listeners:
            self._listeners.remove(listener)
