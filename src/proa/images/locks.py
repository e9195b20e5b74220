"""Let several processes and threads work on one folder: short locks (flock) and leases that end with their holder.

The kernel lets go of a flock when the process that holds it ends, however it ends: nothing is left locked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[int]:
    """Hold the file's lock, waiting for it; the file is made when it is not there."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            if not _is_at(path, descriptor):  # somebody removed it while we waited
                continue
            yield descriptor
            return
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold the file's lock if nobody else does; yield whether that is so."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        is_ours = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_ours = False
        yield is_ours and _is_at(path, descriptor)
    finally:
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def lease(folder: Path) -> Iterator[None]:
    """Say that somebody works: what is made or touched from now on is not collected until the lease ends."""
    path = folder / uuid.uuid4().hex
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.utime(descriptor, (time.time() - 1, time.time() - 1))
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def oldest_lease(folder: Path) -> float | None:
    """Return when the oldest lease that is still held began (epoch seconds); those of the dead are removed."""
    began: list[float] = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                began.append(os.fstat(descriptor).st_mtime)
            else:
                if time.time() - os.fstat(descriptor).st_mtime > 5:  # else: made, and about to be locked
                    path.unlink()
                else:
                    began.append(os.fstat(descriptor).st_mtime)
            finally:
                os.close(descriptor)
    return min(began, default=None)
