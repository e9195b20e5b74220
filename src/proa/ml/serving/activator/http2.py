"""A client's HTTP/2 connection: hold it until its first request says where it goes, then pass all of it on as it is.

Whoever connects to the activator has one revision in mind for all of a connection: Envoy has connections of their own
for each revision's endpoints, a gRPC client has one host. So the first request's headers are read and the connection
is a pod's from then on, byte by byte; nothing of HTTP/2 is done twice. To a client that waits for the server's SETTINGS
before it asks (gRPC's) an empty frame is sent, and its acknowledgement, which the pod does not expect, is left out; a
PING is answered while there is no pod. Frames and their order: RFC 9113; headers: hpack.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from proa.ml.serving.activator.addresses import find_revision
from proa.ml.serving.activator.answers import (
    LONG_HEAD,
    MALFORMED,
    MEMORY_FULL,
    NO_REVISION,
    QUEUE_FULL,
    Refusal,
)
from proa.ml.serving.activator.deadline import Deadline
from proa.ml.serving.activator.http2_frames import (
    ACK,
    CONTINUATION,
    END_HEADERS,
    HEADERS,
    MAX_HEAD_BYTES,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    Frame,
    Malformed,
    make_frame,
    make_refusal,
    read_headers,
    take_frame,
)
from proa.ml.serving.activator.shares import Share
from proa.ml.serving.activator.waiting_room import Slot, WaitingRoom
from proa.reconcile.protocol import Key

MAX_KEPT_BYTES = 256 * 1024
"""Until a pod says something: a client may not send more than 64 KiB of bodies before somebody lets it."""
CLOSE_SECONDS = 10.0
"""For the client to take what was written last."""


class Owner(Protocol):
    """What a connection needs of the activator."""

    def share_of(self, key: Key | None, room: WaitingRoom | None) -> Share: ...
    def find_room(self, key: Key) -> WaitingRoom | None: ...
    def waits(self, key: Key, room: WaitingRoom) -> None: ...
    async def pipe(self, slot: Slot, other: asyncio.Protocol) -> None:
        """Connect to the pod's port for HTTP/2, for this protocol; raise OSError."""


class Http2Connection:
    """What came of one client, until there is a pod, and the way between both afterwards."""

    def __init__(
        self, owner: Owner, transport: asyncio.Transport, on_request: Callable[[], None] = lambda: None
    ) -> None:
        """`on_request` hears of the whole head of the first request."""
        self._owner = owner
        self._on_request = on_request
        self._transport = transport
        self._unread = bytearray()
        self._kept = bytearray(PREFACE)
        self._block = bytearray()
        self._stream = 0
        self._open: set[int] = set()
        """Streams that wait for an answer, until there is a pod."""
        self._waits_for_ack = True
        self._key: Key | None = None
        self._room: WaitingRoom | None = None
        self._slot: Slot | None = None
        self._pod: asyncio.Transport | None = None
        self._dialing: asyncio.Task[None] | None = None
        self._deadline: Deadline | None = None
        self._has_answer = False
        self._is_over = False
        self._has_preface = False
        self._closing: asyncio.TimerHandle | None = None
        self._share = owner.share_of(None, None)
        self._share.keep(len(self._kept))
        transport.write(make_frame(SETTINGS, 0, 0))

    def feed(self, data: bytes) -> None:
        """Take what the client sends."""
        if self._is_over:
            return
        self._unread += data
        if self._pod is not None and self._has_answer and not self._waits_for_ack:
            self._pod.write(bytes(self._unread))
            self._unread.clear()
            return
        if not self._has_preface:
            self._has_preface = True
            del self._unread[: len(PREFACE)]
        try:
            while not self._is_over and (frame := take_frame(self._unread)):
                self._read_frame(frame)
        except Malformed:
            self._refuse(MALFORMED)
        if not self._is_over and len(self._kept) > MAX_KEPT_BYTES:
            self._refuse(MALFORMED)
        elif not self._is_over and self._room is None and self._share.is_full:
            self._refuse(MEMORY_FULL)

    def hold_answer(self, *, holds: bool) -> None:
        """Hear that the client takes no more for now, or does again."""
        if self._pod is None:
            self.hold_client(holds=holds)  # what it is answered is ours
        elif not self._pod.is_closing():
            (self._pod.pause_reading if holds else self._pod.resume_reading)()

    def cancel(self) -> None:
        """Give up: the client went away."""
        self._is_over = True
        if self._closing is not None:
            self._closing.cancel()
        if self._deadline is not None:
            self._deadline.cancel()
        if self._dialing is not None:
            self._dialing.cancel()
        if self._room is not None:
            self._room.leave(self)
            if self._slot is not None:
                self._room.release(self._slot)
        self._slot = None
        if self._pod is not None:
            self._pod.abort()
        self._share.keep(-len(self._kept))
        self._kept.clear()

    # What the waiting room calls.

    def go(self, slot: Slot) -> None:
        """Go to a pod."""
        self._slot = slot
        self._dialing = asyncio.get_running_loop().create_task(self._dial(slot))

    # What the pod's side calls.

    def connected(self, pod: asyncio.Transport) -> None:
        """Send the pod what came so far."""
        self._pod = pod
        pod.write(bytes(self._kept))
        self._transport.resume_reading()

    def answered(self, data: bytes) -> None:
        """Pass on what the pod sends."""
        if not self._has_answer:
            self._has_answer = True
            self._open.clear()
            if self._deadline is not None:
                self._deadline.cancel()
            self._share.keep(-len(self._kept))
            self._kept.clear()
        self._transport.write(data)

    def ended(self) -> None:
        """Hear that the pod ended the connection: try another where it said nothing, else end the client's."""
        self._pod = None
        if self._is_over:
            return
        if self._has_answer:
            self._transport.close()
        elif self._room is not None and self._slot is not None:
            self._room.failed(self._slot)
            self._again(self._room)

    def hold_client(self, *, holds: bool) -> None:
        """Have the client send no more for now, or again."""
        if not self._transport.is_closing():
            (self._transport.pause_reading if holds else self._transport.resume_reading)()

    # The rest.

    async def _dial(self, slot: Slot) -> None:
        try:
            await self._owner.pipe(slot, _PodSide(self))
        except OSError:
            if self._room is not None:
                self._room.failed(slot)
                self._again(self._room)

    def _again(self, room: WaitingRoom) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            room.release(slot)
        if self._key is not None and room.again(self):
            self._owner.waits(self._key, room)

    def _read_frame(self, frame: Frame) -> None:
        if frame.kind == SETTINGS and frame.flags & ACK and self._waits_for_ack:
            self._waits_for_ack = False
            return
        if frame.kind == PING and self._pod is None:
            if not frame.flags & ACK:
                self._transport.write(make_frame(PING, ACK, 0, frame.payload))
            return
        if self._pod is not None:
            self._pod.write(frame.data)
        if not self._has_answer:
            self._keep(frame)

    def _keep(self, frame: Frame) -> None:
        """Keep what the pod has to get, and look at what it asks for."""
        self._kept += frame.data
        self._share.keep(len(frame.data))
        if frame.kind == HEADERS:
            self._open.add(frame.stream)
        elif frame.kind == RST_STREAM:
            self._open.discard(frame.stream)
        if self._room is not None:
            self._wait_or_not(self._room)
        elif frame.kind in (HEADERS, CONTINUATION):
            self._stream = frame.stream
            self._block += frame.block
            if len(self._block) > MAX_HEAD_BYTES:
                self._refuse(LONG_HEAD)
            elif frame.flags & END_HEADERS:
                self._begin(read_headers(bytes(self._block)))

    def _wait_or_not(self, room: WaitingRoom) -> None:
        """Have a place as long as a stream needs one."""
        if self._slot is None and not self._open and self._deadline is not None:
            room.leave(self)
            self._deadline.cancel()
            self._deadline = None
        elif self._open and self._deadline is None:
            self._enter(room)

    def _enter(self, room: WaitingRoom) -> None:
        if self._key is not None:
            self._deadline = Deadline(self._key, room, self._refuse)
            if room.enter(self):
                self._owner.waits(self._key, room)

    def _begin(self, headers: dict[str, str]) -> None:
        """Go where the headers say."""
        self._key = find_revision(headers, headers.get(":authority", headers.get("host", "")))
        self._on_request()
        room = self._owner.find_room(self._key) if self._key is not None else None
        self._share.keep(-len(self._kept))
        self._share = self._owner.share_of(self._key, room)
        self._share.keep(len(self._kept))
        if self._key is None or room is None or room.is_full or self._share.is_full:
            full = MEMORY_FULL if self._share.is_full else QUEUE_FULL
            self._refuse(NO_REVISION if self._key is None else full)
            return
        self._room = room
        self._enter(room)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer the first request, and end the connection."""
        self._is_over = True
        self._transport.write(make_refusal(refusal, self._stream))
        self._transport.close()
        self._closing = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)


class _PodSide(asyncio.Protocol):
    """The pod's end of the way."""

    def __init__(self, way: Http2Connection) -> None:
        self._way = way

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._way.connected(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        self._way.answered(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._way.ended()

    def pause_writing(self) -> None:
        self._way.hold_client(holds=True)

    def resume_writing(self) -> None:
        self._way.hold_client(holds=False)
