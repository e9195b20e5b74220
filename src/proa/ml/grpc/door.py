"""Listening sockets that are there before anybody serves them: what connects meanwhile waits, at a descriptor's cost.

Nodes' listeners are opened when a node starts; what answers there, the DBManager or serving's activator, is opened with
the first object that needs it, and again after a failure.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol


class Answerer(Protocol):
    """A server that takes listening sockets."""

    async def serve(self, sock: socket.socket, *, is_host: bool = False) -> asyncio.Server:
        """Accept on a listening socket, which is its own from now on. `is_host`: of this machine's loopback."""

    async def close(self) -> None:
        """Accept no more, and cut what is under way."""


class Door:
    """All places where one service is found."""

    def __init__(self) -> None:
        self._listeners: set[DoorListener] = set()
        self._server: Answerer | None = None

    def listen(self, sock: socket.socket, *, is_host: bool = False) -> DoorListener:
        """Take a listening socket, and serve it whenever there is a server; `is_host`: of this machine's loopback."""
        listener = DoorListener(self, sock, is_host)
        self._listeners.add(listener)
        if self._server is not None:
            listener.begin(self._server)
        return listener

    def open(self, server: Answerer) -> None:
        """Have this server accept, now and for what comes to listen."""
        self._server = server
        for listener in self._listeners:
            listener.begin(server)

    async def shut(self) -> None:
        """Serve nobody until it is opened again; the sockets go on to listen."""
        server, self._server = self._server, None
        await asyncio.gather(*(listener.end() for listener in self._listeners))
        if server is not None:
            await server.close()

    def forget(self, listener: DoorListener) -> None:
        """Leave out one that listens no more."""
        self._listeners.discard(listener)


class DoorListener:
    """One listening socket of a door."""

    def __init__(self, door: Door, sock: socket.socket, is_host: bool) -> None:
        self._door = door
        self._sock = sock
        self._is_host = is_host
        self._task: asyncio.Task[asyncio.Server] | None = None

    def begin(self, server: Answerer) -> None:
        """Let the server accept."""
        accepting = server.serve(self._sock.dup(), is_host=self._is_host)
        self._task = asyncio.get_running_loop().create_task(accepting, name="door")

    async def end(self) -> None:
        """Let the server accept no more."""
        task, self._task = self._task, None
        if task is not None:
            (await task).close()

    def close(self) -> None:
        """Listen no more."""
        self._door.forget(self)
        self._sock.close()
        if self._task is not None:
            self._task.add_done_callback(_close)
            self._task = None


def _close(task: asyncio.Task[asyncio.Server]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
