"""Write what a container says in the format that the kubelet reads (the CRI log format), and rotate by size.

`2026-01-02T03:04:05.123456789Z stdout F line`: F ends a line, P goes on (it is longer than 16 KiB) or has no newline
for it was the last. Rotation is kubelet's default, 10 MiB and 5 files, by rename to <name>.<time>.
Source: containerd internal/cri/io/logger.go; kubernetes pkg/kubelet/logs/container_log_manager.go.
"""

from __future__ import annotations

import contextlib
import os
import time

from proa.node.noded import faults

MAX_LINE_BYTES = 16 * 1024
MAX_FILE_BYTES = 10 * 1024 * 1024
MAX_FILES = 5

_second = -1
_prefix = b""


class LogFile:
    """One container's log. Both streams write through it, so that lines never mix."""

    def __init__(self, path: str, *, max_bytes: int = MAX_FILE_BYTES, max_files: int = MAX_FILES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._partial: dict[str, bytes] = {}
        self._fd = -1
        self._size = 0
        self._failed = False
        if path:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self._fd = _open(path)
            self._size = os.fstat(self._fd).st_size

    def write(self, stream: str, data: bytes, now_ns: int) -> None:
        """Add output of a stream; the last piece without a newline waits for the rest of its line."""
        data = self._partial.pop(stream, b"") + data
        lines = data.split(b"\n")
        rest = lines.pop()
        head = format_time(now_ns) + b" " + stream.encode()
        out: list[bytes] = []
        for line in lines:
            line = _split_long(line, head, out)
            out += (head, b" F ", line, b"\n")
        rest = _split_long(rest, head, out, whole=False)
        if rest:
            self._partial[stream] = rest
        if out:
            self._append(b"".join(out))

    def close(self, now_ns: int) -> None:
        """Write what still waits for a newline, and close."""
        for stream, rest in self._partial.items():
            self._append(format_time(now_ns) + b" " + stream.encode() + b" P " + rest + b"\n")
        self._partial.clear()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, data: bytes) -> None:
        if self._fd < 0:
            return
        try:
            self._write_out(data)
            self._failed = False
        except OSError:  # the disk is full: the container goes on, and its end must still be told
            if not self._failed:
                faults.log()
            self._failed = True
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)  # no part of a line

    def _write_out(self, data: bytes) -> None:
        if self._size and self._size + len(data) > self._max_bytes:
            self._rotate()
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._size += len(data)

    def _rotate(self) -> None:
        """Go on in a new file; where there is no room for one, the old one stays as it is."""
        fresh = _open(self._path + ".new")
        os.rename(
            self._path, self._path + time.strftime(".%Y%m%d-%H%M%S", time.gmtime()) + _suffix(self._path)
        )
        os.rename(self._path + ".new", self._path)
        os.close(self._fd)
        self._fd, self._size = fresh, 0
        directory, name = os.path.split(self._path)
        rotated = sorted(entry for entry in os.listdir(directory) if entry.startswith(name + "."))
        for old in rotated[: max(0, len(rotated) - (self._max_files - 1))]:
            os.unlink(os.path.join(directory, old))


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)


def format_time(now_ns: int) -> bytes:
    """Return RFC 3339 with nanoseconds, in UTC."""
    global _second, _prefix
    second, fraction = divmod(now_ns, 1_000_000_000)
    if second != _second:
        _second, _prefix = second, time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second)).encode()
    return _prefix + b"%09dZ" % fraction


def _split_long(line: bytes, head: bytes, out: list[bytes], *, whole: bool = True) -> bytes:
    """Put full 16 KiB pieces out as partial lines; return what is left of the line."""
    while len(line) > MAX_LINE_BYTES or (not whole and len(line) == MAX_LINE_BYTES):
        out += (head, b" P ", line[:MAX_LINE_BYTES], b"\n")
        line = line[MAX_LINE_BYTES:]
    return line


def _suffix(path: str) -> str:
    """Return what makes a rotated name new when two rotations fall in one second."""
    base = path + time.strftime(".%Y%m%d-%H%M%S", time.gmtime())
    count = 0
    while os.path.exists(base + (f".{count:03}" if count else "")):
        count += 1
    return f".{count:03}" if count else ""
