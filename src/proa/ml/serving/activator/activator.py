"""Hold requests for revisions without ready pods, have pods started, and forward: the activator.

It is told of revisions (`update`), and tells who scales them that somebody waits (`on_held`, once for what comes at the
same moment). It listens wherever `serve` is called. Bounds: requests that wait, of each revision and together; bytes
that are kept of them, of each namespace and together; connections; the time each may wait, and may leave its answer
unread. Source: Knative's pkg/activator.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
import uuid
from collections.abc import Callable
from typing import cast

from proa.ml.serving.activator.client_connection import ClientConnection
from proa.ml.serving.activator.dialing import dialed
from proa.ml.serving.activator.pod_connection import PodConnection
from proa.ml.serving.activator.prober import ask_until_none_waits
from proa.ml.serving.activator.shares import UNKNOWN, Share, Shares
from proa.ml.serving.activator.waiting_room import Slot, WaitingRoom
from proa.ml.serving.records import Backends, Load
from proa.ml.serving.settings import Dial
from proa.reconcile.protocol import Key

MAX_CONNECTIONS = 8192
BACKLOG = 1024
MAX_KEPT_BYTES = 64 * 1024 * 1024
"""Of all requests that wait, or may have to be sent again; namespaces share them (shares.py)."""
MAX_IDLE = 32
"""Connections that are kept to one pod."""
MAX_UNKNOWN = 100
"""Revisions that somebody asks for and nobody has told of."""

logger = logging.getLogger(__name__)


class Activator:
    """Rooms by revision. `dial` reaches pods; set `on_held` before it is served."""

    def __init__(
        self,
        dial: Dial,
        clock: Callable[[], float] = time.monotonic,
        *,
        max_connections: int = MAX_CONNECTIONS,
        max_kept_bytes: int = MAX_KEPT_BYTES,
    ) -> None:
        self.on_held: Callable[[Key], None] = lambda key: None
        self._dial = dial
        self._clock = clock
        self._max_connections = max_connections
        self.shares = Shares(max_kept_bytes)
        self._instance = uuid.uuid4().hex
        self._rooms: dict[Key, WaitingRoom] = {}
        self._unknown: set[Key] = set()
        self._probing: dict[Key, asyncio.Task[None]] = {}
        self._told: set[Key] = set()
        self._connections: set[ClientConnection] = set()
        self._resting: dict[ClientConnection, None] = {}
        """Those that have no request, the one that has rested longest first."""
        self._servers: list[asyncio.Server] = []

    async def serve(self, sock: socket.socket, *, is_host: bool = False) -> asyncio.Server:
        """Accept on a listening socket, which is ours from now on; `is_host` as other servers of doors have it."""
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: ClientConnection(self), sock=sock, backlog=BACKLOG)
        self._servers.append(server)
        return server

    async def close(self) -> None:
        """Accept no more, and cut what is under way: whoever has no answer yet may ask again."""
        for server in self._servers:
            server.close()
        for connection in [*self._connections]:
            connection.abort()
        for task in self._probing.values():
            task.cancel()
        await asyncio.gather(*self._probing.values(), return_exceptions=True)
        for room in self._rooms.values():
            self._close_idle(*room.slots)

    # What who scales revisions calls.

    def update(self, key: Key, backends: Backends) -> None:
        """Take in where requests for a revision may go."""
        room = self._rooms.get(key)
        if room is None:
            room = self._make_room(key)
        self._unknown.discard(key)
        self._close_idle(*room.update(backends))
        self._ask_pods(key, room)

    def forget(self, key: Key) -> None:
        """Let go of a revision that is no more: who waits for it waits in vain."""
        room = self._rooms.pop(key, None)
        if room is not None:
            self._close_idle(*room.update(Backends((), 0, room.timeout_seconds)))
        if (task := self._probing.pop(key, None)) is not None:
            task.cancel()

    def load(self, key: Key) -> Load | None:
        """Return what of a revision waits for a pod."""
        room = self._rooms.get(key)
        return room.load() if room is not None else None

    # What connections and exchanges call.

    def share_of(self, key: Key | None, room: WaitingRoom | None) -> Share:
        """Return where the bytes of a request are counted; of one whose revision nobody knows, beside others such."""
        return self.shares.of(
            key.namespace if key is not None and room is not None and room.is_known else UNKNOWN
        )

    def admit(self, connection: ClientConnection) -> bool:
        """Take in a connection; where there are too many, in the place of the one that has rested longest."""
        if len(self._connections) >= self._max_connections:
            if not self._resting:
                return False
            longest = next(iter(self._resting))
            self.works(longest)
            longest.abort()
        self._connections.add(connection)
        return True

    def dismiss(self, connection: ClientConnection) -> None:
        """Forget a connection that ended."""
        self._connections.discard(connection)
        self.works(connection)

    def rests(self, connection: ClientConnection) -> None:
        """Hear that a connection waits for a request."""
        self.works(connection)
        self._resting[connection] = None

    def works(self, connection: ClientConnection) -> None:
        """Hear that a connection has a request."""
        self._resting.pop(connection, None)

    def find_room(self, key: Key) -> WaitingRoom | None:
        """Return where requests for a revision wait; one that nobody told of may become known in a moment."""
        room = self._rooms.get(key)
        if room is None and len(self._unknown) < MAX_UNKNOWN:
            self._unknown.add(key)
            room = self._make_room(key)
            asyncio.get_running_loop().call_later(60.0, self._drop_unknown, key)
        return room

    def waits(self, key: Key, room: WaitingRoom) -> None:
        """Have pods started, where none answers, and asked: somebody waits."""
        if key not in self._told and not room.has_pods:
            self._told.add(key)
            asyncio.get_running_loop().call_soon(self._tell, key)
        self._ask_pods(key, room)

    def _ask_pods(self, key: Key, room: WaitingRoom) -> None:
        if room.waiting and room.unasked and key not in self._probing:
            task = asyncio.get_running_loop().create_task(ask_until_none_waits(room, self._dial))
            self._probing[key] = task
            task.add_done_callback(lambda done: self._probed(key, done))

    def take_idle(self, slot: Slot) -> PodConnection | None:
        """Return a connection to the pod that is kept, None where there is none."""
        while slot.idle:
            kept = cast(PodConnection, slot.idle.pop())
            if kept.is_open:
                return kept
        return None

    async def connect(self, slot: Slot) -> PodConnection:
        """Return a new connection to the pod; raise OSError."""
        sock = await dialed(self._dial, slot.backend.address, slot.backend.http_port)
        _, connection = await asyncio.get_running_loop().create_connection(PodConnection, sock=sock)
        return connection

    def give_back(self, slot: Slot, connection: PodConnection, *, keeps: bool) -> None:
        """Keep a connection for the next request, or close it."""
        if keeps and connection.is_open and len(slot.idle) < MAX_IDLE:
            slot.idle.append(connection)
        else:
            connection.close()

    async def pipe(self, slot: Slot, other: asyncio.Protocol) -> None:
        """Connect to the pod's port for HTTP/2, for this protocol; raise OSError."""
        sock = await dialed(self._dial, slot.backend.address, slot.backend.grpc_port)
        await asyncio.get_running_loop().create_connection(lambda: other, sock=sock)

    def _make_room(self, key: Key) -> WaitingRoom:
        room = self._rooms[key] = WaitingRoom(self._clock, self._instance)
        return room

    def _drop_unknown(self, key: Key) -> None:
        if key in self._unknown:
            self._unknown.discard(key)
            self._rooms.pop(key, None)

    def _tell(self, key: Key) -> None:
        self._told.discard(key)
        self.on_held(key)

    def _probed(self, key: Key, task: asyncio.Task[None]) -> None:
        if self._probing.get(key) is task:
            del self._probing[key]
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            logger.error("pods of %s cannot be asked", key.name, exc_info=error)
        if (room := self._rooms.get(key)) is not None:
            self._ask_pods(key, room)

    def _close_idle(self, *slots: Slot) -> None:
        for slot in slots:
            for connection in slot.idle:
                cast(PodConnection, connection).close()
            slot.idle.clear()
