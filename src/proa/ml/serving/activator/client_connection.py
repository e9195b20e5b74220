"""One client's connection: read requests, answer them in their order, and bound what they cost.

HTTP/1.1 is parsed (httptools) and written anew, without what concerns this connection alone; a client that speaks
HTTP/2 from the start (gRPC) is http2.py's. RFC 9110 (section 7.6.1), RFC 9112.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol, cast

import httptools

from proa.ml.serving.activator.addresses import find_revision
from proa.ml.serving.activator.answers import (
    LONG_HEAD,
    MALFORMED,
    MEMORY_FULL,
    NO_REVISION,
    QUEUE_FULL,
    Refusal,
    make_answer,
    make_probe_answer,
)
from proa.ml.serving.activator.exchange import Exchange, Pods
from proa.ml.serving.activator.http2 import Http2Connection
from proa.ml.serving.activator.http2 import Owner as Http2Owner
from proa.ml.serving.activator.http2_frames import PREFACE
from proa.ml.serving.activator.waiting_room import WaitingRoom
from proa.reconcile.protocol import Key

NAME = "activator"
PROBE_HEADER = "k-network-probe"
MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 256
MAX_PIPELINED = 16
HIGH_WATER_BYTES = 256 * 1024
IDLE_SECONDS = 90.0
"""Between two requests, and for the head of one, HTTP/2's first too."""
CLOSE_SECONDS = 10.0
"""For the client to take what was written last."""
LOOK_SECONDS, LOOK_BYTES = 30.0, 32 * 1024
"""A client that does not take all of its answer takes so much in so long: the answer holds its place at the pod."""
_OF_THE_CONNECTION = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
    )
)


class Owner(Pods, Http2Owner, Protocol):
    """What a connection needs of the activator."""

    def admit(self, connection: ClientConnection) -> bool: ...
    def dismiss(self, connection: ClientConnection) -> None: ...
    def rests(self, connection: ClientConnection) -> None: ...
    def works(self, connection: ClientConnection) -> None: ...
    def find_room(self, key: Key) -> WaitingRoom | None: ...


class ClientConnection(asyncio.Protocol):
    """What comes is parsed into `_incoming`; the first of `_queue` is being answered."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._http2: Http2Connection | None = None
        self._first: bytes | None = b""
        self._queue: deque[Exchange | bytes] = deque()
        self._incoming: Exchange | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._closes_after: Exchange | bytes | None = None
        self._is_closing = False
        self._holds = False
        self._is_full = False
        """The client takes nothing for now."""
        self._unread_bytes = 0
        self._look: asyncio.TimerHandle | None = None
        self._begin_head()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        if not self._owner.admit(self):
            self._is_closing = True
            self._transport.abort()
            return
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport, self._is_closing = None, True
        self._stop_waiting()
        self._look_no_more()
        self._owner.dismiss(self)
        if self._http2 is not None:
            self._http2.cancel()
        for queued in self._queue:
            if isinstance(queued, Exchange):
                queued.cancel()
        self._queue.clear()

    def data_received(self, data: bytes) -> None:
        if self._http2 is not None:
            self._http2.feed(data)
            return
        if self._is_closing:
            return
        if self._first is not None:
            self._first += data
            if len(self._first) < len(PREFACE) and PREFACE.startswith(self._first):
                return
            data, self._first = self._first, None
            if data.startswith(PREFACE) and self._transport is not None:
                self._http2 = Http2Connection(self._owner, self._transport, self._stop_waiting)
                self._http2.feed(data)
                return
        self._parse(data)

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._is_full = True
        self._look_later()
        self._hold_answer(holds=True)

    def resume_writing(self) -> None:
        self._is_full = False
        self._look_no_more()
        self._hold_answer(holds=False)

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._begin_head()

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))
        self._count(len(name) + len(value))
        if len(self._headers) > MAX_HEADERS:
            raise _TooLong

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        if len(self._queue) >= MAX_PIPELINED:
            raise _TooLong
        words = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self._headers}
        if self._parser.get_method() == b"CONNECT" or (self._parser.should_upgrade() and _has_body(words)):
            # The parser takes the body for another protocol's; the pod would wait for it, and take the next request's.
            raise _Malformed
        begun = self._begin_request(words)
        self._incoming = begun if isinstance(begun, Exchange) else None
        self._queue.append(begun)
        if not self._parser.should_keep_alive():
            self._closes_after = begun
        if "expect" in words and self._incoming is not None and len(self._queue) == 1:
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if len(self._queue) == 1:
            self._start(begun)

    def on_body(self, body: bytes) -> None:
        if self._incoming is not None:
            self._incoming.feed(b"%x\r\n%b\r\n" % (len(body), body) if self._is_chunked else body)

    def on_message_complete(self) -> None:
        if self._incoming is not None:
            if self._is_chunked:
                self._incoming.feed(b"0\r\n\r\n")
            self._incoming.is_whole = True
            self._incoming = None

    # What an exchange calls.

    def send(self, data: bytes) -> None:
        """Pass a piece of an answer on."""
        if self._transport is not None:
            self._transport.write(data)

    def hold(self, *, holds: bool) -> None:
        """Read no more for now, or again."""
        self._holds = holds
        self._read_or_not()

    def finished(self, exchange: Exchange, *, closes: bool) -> None:
        """Go on with the next request, unless the answer ends the connection."""
        if self._queue and self._queue[0] is exchange:
            self._next(exchange, closes=closes)

    def abort(self) -> None:
        """End it, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    # The rest.

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except _TooLong:
            self._reject(LONG_HEAD)
        except _Malformed:
            self._reject(MALFORMED)
        except httptools.HttpParserUpgrade:
            pass  # the request is whole; nobody has to take an Upgrade up
        except httptools.HttpParserError as error:
            is_long = isinstance(error.__context__, _TooLong)
            self._reject(LONG_HEAD if is_long else MALFORMED)

    def _begin_head(self) -> None:
        self._url, self._headers = b"", list[tuple[bytes, bytes]]()
        self._head_bytes = 0
        self._is_chunked = False

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _TooLong

    def _begin_request(self, words: dict[str, str]) -> Exchange | bytes:
        """Return the exchange of a request, or what answers it at once."""
        is_head = self._parser.get_method() == b"HEAD"
        if words.get(PROBE_HEADER) == NAME:
            return make_probe_answer(NAME)
        key = find_revision(words, words.get("host", ""))
        room = self._owner.find_room(key) if key is not None else None
        if key is None or room is None:
            return make_answer(NO_REVISION if key is None else QUEUE_FULL, is_head=is_head)
        share = self._owner.share_of(key, room)
        if room.is_full or share.is_full:
            return make_answer(QUEUE_FULL if room.is_full else MEMORY_FULL, is_head=is_head)
        coding = words.get("transfer-encoding", "")
        if coding.lower() not in ("", "chunked"):
            return make_answer(MALFORMED, is_head=is_head)
        self._is_chunked = bool(coding)
        return Exchange(self._owner, self, key, room, share, self._make_head(), is_head=is_head)

    def _make_head(self) -> bytes:
        """Return the head that the pod gets."""
        version = self._parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self._parser.get_method(), self._url, version)]
        lines += [
            b"%b: %b" % pair
            for pair in self._headers
            if pair[0].lower().decode("latin-1") not in _OF_THE_CONNECTION
        ]
        if self._is_chunked:
            lines.append(b"Transfer-Encoding: chunked")
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _start(self, begun: Exchange | bytes) -> None:
        if isinstance(begun, Exchange):
            begun.start()
        else:
            self.send(begun)
            self._next(begun, closes=False)

    def _next(self, done: Exchange | bytes, *, closes: bool) -> None:
        self._queue.popleft()
        if closes or self._closes_after is done:
            self._close()
        elif self._queue:
            self._start(self._queue[0])
        else:
            self.hold(holds=False)
            self._wait_for_request()

    def _reject(self, refusal: Refusal) -> None:
        """Answer what cannot be read, and read no more of it."""
        if not self._queue:
            self.send(make_answer(refusal, closes=True))
        self._close()

    def _close(self) -> None:
        self._is_closing = True
        self._stop_waiting()
        if self._transport is not None:
            self._transport.close()
            self._idle = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.abort)

    def _hold_answer(self, *, holds: bool) -> None:
        if self._http2 is not None:
            self._http2.hold_answer(holds=holds)
            return
        if self._queue and isinstance(first := self._queue[0], Exchange):
            first.hold_answer(holds=holds)
        self._read_or_not()

    def _read_or_not(self) -> None:
        """Read, unless an exchange takes no more, or the client does not take what it is answered here."""
        if self._transport is None or self._transport.is_closing():
            return
        is_full = self._is_full and not (self._queue and isinstance(self._queue[0], Exchange))
        (self._transport.pause_reading if self._holds or is_full else self._transport.resume_reading)()

    def _look_later(self) -> None:
        self._look_no_more()
        if self._transport is not None:
            self._unread_bytes = self._transport.get_write_buffer_size()
            self._look = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look_at_client)

    def _look_at_client(self) -> None:
        """End a connection whose client has taken less of its answer than it must."""
        before = self._unread_bytes
        self._look_later()
        if before - self._unread_bytes < LOOK_BYTES:
            self.abort()

    def _look_no_more(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _wait_for_request(self) -> None:
        self._stop_waiting()
        if not self._is_closing:
            self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._close)
            self._owner.rests(self)

    def _stop_waiting(self) -> None:
        self._owner.works(self)
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None


class _TooLong(Exception):
    """A head is longer than anybody needs."""


class _Malformed(Exception):
    """A head that nobody may send here."""


def _has_body(words: dict[str, str]) -> bool:
    return "transfer-encoding" in words or words.get("content-length", "0").strip() != "0"
