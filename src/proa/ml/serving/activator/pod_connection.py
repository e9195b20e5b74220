"""One connection to a pod: send a request, pass its answer on as it comes, and tell where the answer ends.

The bytes of an answer are passed on as they are; a parser beside them says where it ends (RFC 9112).
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import httptools


class Asker(Protocol):
    """Whose request it is."""

    is_head: bool

    def answered(self, data: bytes) -> None:
        """Take a piece of the answer."""

    def ended(self, *, keeps: bool) -> None:
        """Hear that the answer is whole; `keeps`: the connection may be used again."""

    def lost(self) -> None:
        """Hear that the connection ended before that."""

    def hold_body(self, *, holds: bool) -> None:
        """Hear that the pod takes no more of the body for now, or does again."""


class PodConnection(asyncio.Protocol):
    """A connection that has one request at a time, `asker`'s."""

    def __init__(self) -> None:
        self.asker: Asker | None = None
        self.requests = 0
        """That were sent on it."""
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._is_done = False
        self._is_more = False
        """Another answer came than was asked for."""
        self._keeps = False

    @property
    def is_open(self) -> bool:
        """Tell whether it can take a request."""
        return self._transport is not None and not self._transport.is_closing()

    def begin(self, asker: Asker, data: bytes) -> None:
        """Send the head of a request, and what there is of its body."""
        self.asker, self._is_done = asker, False
        self.requests += 1
        self.send(data)

    def send(self, data: bytes) -> None:
        """Send more of the body."""
        if self._transport is not None:
            self._transport.write(data)

    def hold(self, *, holds: bool) -> None:
        """Read no more of the answer for now, or again."""
        if self._transport is not None and not self._transport.is_closing():
            (self._transport.pause_reading if holds else self._transport.resume_reading)()

    def close(self) -> None:
        """End it, whatever is under way; its asker hears nothing more."""
        self.asker = None
        if self._transport is not None:
            self._transport.abort()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        asker = self.asker
        if asker is None:  # nobody asked: it is no server of HTTP
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()
            asker.lost()
            return
        if self._is_more:  # whoever asks next by the client's connection would take it for his
            self.close()
            asker.lost()
            return
        asker.answered(data)
        if self._is_done and self.asker is asker:
            self.asker = None
            asker.ended(keeps=self._keeps and self.is_open)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        asker, self.asker = self.asker, None
        if asker is not None:
            asker.lost()

    def pause_writing(self) -> None:
        if self.asker is not None:
            self.asker.hold_body(holds=True)

    def resume_writing(self) -> None:
        if self.asker is not None:
            self.asker.hold_body(holds=False)

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._is_more = self._is_done

    def on_headers_complete(self) -> None:
        if self.asker is not None and self.asker.is_head and self._parser.get_status_code() >= 200:
            self._is_done, self._keeps = True, False  # the parser expects the body that does not come

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self._is_done, self._keeps = True, self._parser.should_keep_alive()
