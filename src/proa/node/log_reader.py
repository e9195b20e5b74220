"""Read a container's log (CRI format) as `kubectl logs` asks: from where, how much, with times, and following.

A line is `<time> <stream> <P|F> <content>`; P goes on in the next line. Only the current file is read, as by
upstream; a follower goes on in the next ones when the log is rotated, and ends when the container does.
Follows cri-client/pkg/logs/logs.go.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from io import BufferedReader
from pathlib import Path

from proa.client.kubelet_api import LogOptions
from proa.node.file_watch import FileWatch
from proa.objects.meta import parse_time
from proa.objects.quick_dataclass import dataclass

CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the file. `content` ends with a newline unless the line goes on in the next."""

    time: bytes
    stream: bytes
    is_partial: bool
    content: bytes


def parse_line(raw: bytes) -> LogLine | None:
    """Return the line that `raw` (without its newline) holds; None when it is not in the CRI format."""
    parts = raw.split(b" ", 3)
    if len(parts) < 3 or parts[1] not in (b"stdout", b"stderr"):
        return None
    content = parts[3] if len(parts) > 3 else b""
    is_partial = parts[2].split(b":")[0] == b"P"
    return LogLine(parts[0], parts[1], is_partial, content if is_partial else content + b"\n")


class Formatter:
    """Turns lines of the file into what the reader asked for. `since` is seconds since the epoch."""

    def __init__(self, options: LogOptions, since: float) -> None:
        self._timestamps = options.timestamps
        self._left = options.limit_bytes
        self._since = since
        self._goes_on = False

    @property
    def is_full(self) -> bool:
        """Tell whether limitBytes is reached."""
        return self._left is not None and self._left <= 0

    def format(self, lines: list[bytes]) -> bytes:
        """Return the lines as a client sees them."""
        pieces: list[bytes] = []
        for raw in lines:
            line = parse_line(raw)
            if line is None or (self._since and _time_of(line) < self._since):
                continue
            if self._timestamps and not self._goes_on:
                pieces += (line.time, b" ")
            pieces.append(line.content)
            self._goes_on = line.is_partial
        data = b"".join(pieces)
        if self._left is None:
            return data
        data = data[: max(self._left, 0)]
        self._left -= len(data)
        return data


def _time_of(line: LogLine) -> float:
    return parse_time(line.time.decode("ascii", "replace"))


async def read_log(
    path: Path,
    options: LogOptions,
    now: float,
    is_running: Callable[[], bool],
    wait_exited: Callable[[], Awaitable[None]],
) -> AsyncIterator[bytes]:
    """Yield the log in chunks. With `follow`, go on until `wait_exited` returns and all is read."""
    formatter = Formatter(options, _since(options, now))
    watch = FileWatch(path.parent) if options.follow else None
    exited = asyncio.ensure_future(wait_exited()) if options.follow else None
    file: BufferedReader | None = None
    try:
        file = _open_at_tail(path, options.tail_lines)
        rest = b""
        while True:
            is_last = exited is None or exited.done() or not is_running()
            chunk = file.read(CHUNK_BYTES) if file else b""
            if chunk:
                lines = (rest + chunk).split(b"\n")
                rest = lines.pop()
                data = formatter.format(lines)
                if data:
                    yield data
                if formatter.is_full:
                    return
                continue
            successor = _open_successor(path, file)
            if successor is not None:
                if file is not None:
                    file.close()
                file, rest = successor, b""
                continue
            if is_last or watch is None or exited is None:
                break
            await _either(watch.wait(), exited)
        if rest:
            yield formatter.format([rest])
    finally:
        if exited is not None:
            exited.cancel()
            await asyncio.gather(exited, return_exceptions=True)
        if watch is not None:
            watch.close()
        if file is not None:
            file.close()


def _since(options: LogOptions, now: float) -> float:
    if options.since_seconds is not None:
        return now - options.since_seconds
    return parse_time(options.since_time) if options.since_time else 0.0


def _open_at_tail(path: Path, tail_lines: int | None) -> BufferedReader | None:
    try:
        file = open(path, "rb")  # noqa: SIM115
    except FileNotFoundError:
        return None
    if tail_lines is not None:
        file.seek(find_tail(file, tail_lines))
    return file


def find_tail(file: BufferedReader, lines: int) -> int:
    """Return the offset at which the last `lines` lines begin."""
    end = file.seek(0, os.SEEK_END)
    if lines <= 0:
        return end
    position, wanted = end, lines
    is_last_block = True
    while position > 0:
        start = max(position - CHUNK_BYTES, 0)
        file.seek(start)
        block = file.read(position - start)
        index = len(block)
        if is_last_block and block.endswith(b"\n"):
            index -= 1
        is_last_block = False
        while (index := block.rfind(b"\n", 0, index)) >= 0:
            wanted -= 1
            if wanted == 0:
                return start + index + 1
        position = start
    return 0


def _open_successor(path: Path, file: BufferedReader | None) -> BufferedReader | None:
    """Return the file that follows `file`, which has been rotated away: the one at `path` unless others lie between."""
    try:
        if file is None:
            return open(path, "rb")
        own = os.fstat(file.fileno())
        if os.path.samestat(os.stat(path), own):
            return None
        rotated = sorted(path.parent.glob(f"{path.name}.*"))
        at = next((i for i, each in enumerate(rotated) if os.path.samestat(os.stat(each), own)), -1)
        return open([*rotated[at + 1 :], path][0], "rb")
    except FileNotFoundError:
        return None


async def _either(change: Awaitable[None], exited: asyncio.Future[None]) -> None:
    changed = asyncio.ensure_future(change)
    try:
        await asyncio.wait({changed, exited}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        changed.cancel()
        await asyncio.gather(changed, return_exceptions=True)


def last_lines(path: Path, lines: int) -> bytes:
    """Return the last lines of a log, without their times; nothing when there is no log."""
    file = _open_at_tail(path, lines)
    if file is None:
        return b""
    with file:
        return Formatter(LogOptions(), 0.0).format(file.read().split(b"\n"))
