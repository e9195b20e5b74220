"""Hand out the kernel's random bytes, read many at a time: a system call each costs more than a write's checks."""

from __future__ import annotations

import os
import threading

_READ_BYTES = 4096

_lock = threading.Lock()
_bytes = b""
_used = 0


def random_bytes(count: int) -> bytes:
    """Return `count` random bytes that nobody else gets, in this process or a fork of it."""
    global _bytes, _used
    with _lock:
        begin, _used = _used, _used + count
        if _used > len(_bytes):
            _bytes, begin, _used = os.urandom(max(_READ_BYTES, count)), 0, count
        return _bytes[begin:_used]


def _begin_anew() -> None:
    """A fork must not hand out what its parent will."""
    global _lock, _bytes, _used
    _lock, _bytes, _used = threading.Lock(), b"", 0


os.register_at_fork(after_in_child=_begin_anew)
