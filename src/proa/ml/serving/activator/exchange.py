"""One request: from its head to the end of its answer, wherever it goes in between.

    waiting ──go──> dialing ──> asked ──first byte──> answering ──> done
       ^               |          |
       └── no answer ──┴──────────┘   to another pod, as long as nothing was answered and all of the request is kept

What came of the request is kept until its answer begins, so that it can be sent again; what is longer than REPLAY_BYTES
is sent once. A pod that takes a request and dies gets no third victim.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from proa.ml.serving.activator.answers import BROKEN, Refusal, make_answer
from proa.ml.serving.activator.deadline import Deadline
from proa.ml.serving.activator.pod_connection import PodConnection
from proa.ml.serving.activator.shares import Share
from proa.ml.serving.activator.waiting_room import Slot, WaitingRoom
from proa.reconcile.protocol import Key

HOLD_BYTES = 256 * 1024
"""Of a request's body, while it waits."""
REPLAY_BYTES = 4 * 1024 * 1024
MAX_VICTIMS = 2
"""Pods that ended the connection before they answered one request."""


class Pods(Protocol):
    """What an exchange needs of the activator."""

    def waits(self, key: Key, room: WaitingRoom) -> None:
        """Hear that somebody waits there: it needs pods, and asks those that start."""

    def take_idle(self, slot: Slot) -> PodConnection | None:
        """Return a connection to the pod that is kept, None where there is none."""

    async def connect(self, slot: Slot) -> PodConnection:
        """Return a new connection to the pod; raise OSError."""

    def give_back(self, slot: Slot, connection: PodConnection, *, keeps: bool) -> None:
        """Take back a connection."""


class Client(Protocol):
    """Who asked."""

    def send(self, data: bytes) -> None: ...
    def hold(self, *, holds: bool) -> None: ...
    def finished(self, exchange: Exchange, *, closes: bool) -> None: ...


class Exchange:
    """A request of `client`, with its head as it goes to the pod."""

    def __init__(
        self,
        pods: Pods,
        client: Client,
        key: Key,
        room: WaitingRoom,
        share: Share,
        head: bytes,
        *,
        is_head: bool,
    ) -> None:
        self.is_head = is_head
        self.is_whole = False
        """All of the request has come."""
        self._pods = pods
        self._client = client
        self._key = key
        self._room = room
        self._share = share
        self._kept: bytearray | None = bytearray(head)
        self._slot: Slot | None = None
        self._connection: PodConnection | None = None
        self._dialing: asyncio.Task[None] | None = None
        self._deadline: Deadline | None = None
        self._victims = 0
        self._has_begun = False
        self._is_over = False
        share.keep(len(head))

    # What the client calls.

    def start(self) -> None:
        """Go to a pod, or wait for one, as long as the revision's requests may take until the first of an answer."""
        self._deadline = Deadline(self._key, self._room, self._refuse)
        if self._room.enter(self):
            self._pods.waits(self._key, self._room)

    def feed(self, data: bytes) -> None:
        """Take more of the body, as it goes to the pod."""
        if self._is_over:
            return
        if self._kept is not None and not self._has_begun:
            self._kept += data
            self._share.keep(len(data))
        if self._connection is not None:
            self._connection.send(data)
            if self._kept is not None and (len(self._kept) > REPLAY_BYTES or self._share.is_full):
                self._drop()
        elif self._kept is not None and (len(self._kept) > HOLD_BYTES or self._share.is_full):
            self._client.hold(holds=True)

    def hold_answer(self, *, holds: bool) -> None:
        """Hear that the client takes no more for now, or does again."""
        if self._connection is not None:
            self._connection.hold(holds=holds)

    def cancel(self) -> None:
        """Give up: the client went away."""
        self._end()

    # What the waiting room calls.

    def go(self, slot: Slot) -> None:
        """Go to a pod."""
        self._slot = slot
        if (kept := self._pods.take_idle(slot)) is not None:
            self._begin(kept)
        else:
            self._dialing = asyncio.get_running_loop().create_task(self._dial(slot))

    # What the connection to the pod calls.

    def answered(self, data: bytes) -> None:
        """Pass a piece of the answer on."""
        if not self._has_begun:
            self._has_begun = True
            self._cancel_deadline()
            self._drop()
        self._client.send(data)

    def ended(self, *, keeps: bool) -> None:
        """End: the answer is whole."""
        self._over(keeps=keeps and self.is_whole, closes=not self.is_whole)

    def lost(self) -> None:
        """Go on to another pod where nothing was answered, else end the client's connection, too."""
        if self._has_begun:
            self._over(keeps=False, closes=True)
            return
        if self._connection is None or self._connection.requests == 1:
            self._victims += 1  # else the pod may just have ended a connection that was kept too long
        self._let_go(keeps=False)
        if self._kept is None or self._victims >= MAX_VICTIMS:
            self._refuse(BROKEN)
        else:
            self._again()

    def hold_body(self, *, holds: bool) -> None:
        """Have the client send no more for now, or again."""
        self._client.hold(holds=holds)

    # The rest.

    async def _dial(self, slot: Slot) -> None:
        try:
            connection = await self._pods.connect(slot)
        except OSError:
            self._room.failed(slot)
            self._let_go(keeps=False)
            self._again()
            return
        self._dialing = None
        self._begin(connection)

    def _begin(self, connection: PodConnection) -> None:
        self._connection = connection
        connection.begin(self, bytes(self._kept or b""))
        self._client.hold(holds=False)

    def _again(self) -> None:
        if self._room.again(self):
            self._pods.waits(self._key, self._room)

    def _refuse(self, refusal: Refusal) -> None:
        self._client.send(make_answer(refusal, is_head=self.is_head, closes=not self.is_whole))
        self._over(keeps=False, closes=not self.is_whole)

    def _over(self, *, keeps: bool, closes: bool) -> None:
        self._end(keeps=keeps)
        self._client.finished(self, closes=closes)

    def _end(self, *, keeps: bool = False) -> None:
        self._is_over = True
        self._cancel_deadline()
        self._room.leave(self)
        if self._dialing is not None:
            self._dialing.cancel()
        self._let_go(keeps=keeps)
        self._drop()

    def _let_go(self, *, keeps: bool) -> None:
        """Give back the place and the connection."""
        slot, self._slot = self._slot, None
        connection, self._connection = self._connection, None
        self._dialing = None
        if slot is None:
            return
        if connection is not None:
            self._pods.give_back(slot, connection, keeps=keeps)
        self._room.release(slot)

    def _drop(self) -> None:
        """Keep nothing of the request any more: it cannot be sent again."""
        if self._kept is not None:
            self._share.keep(-len(self._kept))
            self._kept = None

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
