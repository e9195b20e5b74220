"""Make a watch's lines of JSON frames of protobuf: four bytes of length, then the event.

Follows LengthDelimitedFramer of apimachinery/pkg/runtime/serializer/protobuf and util/framer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from proa.apiserver.pace import Pace
from proa.apiserver.protobuf.encode import encode_event


class Lines(Protocol):
    """A watch as JSON: bursts of whole lines."""

    async def __anext__(self) -> bytes: ...

    async def aclose(self) -> None: ...


class EventFrames:
    """The body of a watch: an async iterator of bursts of whole frames."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        pace = Pace()
        frames: list[bytes] = []
        for line in (await self._lines.__anext__()).splitlines():
            event = encode_event(line)
            frames += (len(event).to_bytes(4, "big"), event)
            await pace.give_way()
        return b"".join(frames)

    async def aclose(self) -> None:
        """Stop."""
        await self._lines.aclose()
