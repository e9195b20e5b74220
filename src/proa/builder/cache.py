"""Remember which layer a step made, by what went into it, so that it is made once.

A record is a file named by the digest of the step's inputs (the layers below, the instruction with its variables
replaced, the contents of what it copies). It is good for as long as its layer is in the store. Folders of
`RUN --mount=type=cache` are kept here too. What has not been used for long goes, and the oldest when all is too large.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proa.images.layers import Layer
from proa.images.locks import locked
from proa.images.store import ImageStore

MAX_AGE_SECONDS = 14 * 86400
MAX_BYTES = 20 << 30
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Record:
    """What a step made: its layer (None: nothing changed), and when (seconds since 1970)."""

    layer: Layer | None
    created: float


class BuildCache:
    """The build cache of one store."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._folder = store.directory / "build-cache"
        self._records = self._folder / "records"
        self._mounts = self._folder / "mounts"
        for folder in (self._records, self._mounts):
            folder.mkdir(parents=True, exist_ok=True)

    def key(self, *inputs: Any) -> str:
        """Return the name of a step with these inputs."""
        return hashlib.sha256(json.dumps([_FORMAT, *inputs], sort_keys=True).encode()).hexdigest()

    def find(self, key: str) -> Record | None:
        """Return what the step made, None when that is not known or not here any more. Hold a lease."""
        path = self._records / key
        try:
            record = _decode(path.read_bytes())
            os.utime(path)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        layer = record.layer
        if layer and not (self._store.layers.has(layer.diff_id) and self._store.blobs.has(layer.digest)):
            path.unlink(missing_ok=True)
            return None
        return record

    def keep(self, key: str, record: Record) -> None:
        """Remember what a step made."""
        layer = record.layer
        told = {
            "created": record.created,
            "layer": layer and [layer.diff_id, layer.digest, layer.size, layer.media_type],
        }
        temporary = self._records / f".{key}.{os.getpid()}"
        temporary.write_text(json.dumps(told))
        temporary.replace(self._records / key)

    @contextlib.contextmanager
    def mount(self, identifier: str, sharing: str) -> Iterator[tuple[Path, bool]]:
        """Yield the folder of a cache mount, and whether it is new. `locked` waits, `private` another one."""
        name = hashlib.sha256(identifier.encode()).hexdigest()[:32]
        with contextlib.ExitStack() as stack:
            if sharing == "locked":
                stack.enter_context(locked(self._mounts / f"{name}.lock"))
            elif sharing == "private":
                name = self._take_private(name, stack)
            folder = self._mounts / name
            is_new = not folder.exists()
            folder.mkdir(mode=0o755, exist_ok=True)
            os.utime(folder)
            yield folder, is_new

    def _take_private(self, name: str, stack: contextlib.ExitStack) -> str:
        import fcntl

        for number in range(1000):
            candidate = f"{name}-{number}"
            descriptor = os.open(
                self._mounts / f"{candidate}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            stack.callback(os.close, descriptor)
            return candidate
        raise OSError(f"too many builds use the cache {name} at once")

    def prune(self, now: float | None = None, max_bytes: int = MAX_BYTES) -> int:
        """Forget what was not used for long, then the oldest beyond `max_bytes`; return how many records went.

        The layers themselves go with the store's own collection, unless an image has them.
        """
        oldest = (time.time() if now is None else now) - MAX_AGE_SECONDS
        found = sorted(_by_age(self._records), reverse=True)
        total, gone = 0, 0
        for used, path in found:
            try:
                layer = _decode(path.read_bytes()).layer
            except (FileNotFoundError, ValueError, KeyError, TypeError):
                layer = None
            if layer:
                total += layer.size + self._store.layers.unpacked_size(layer.diff_id)
            if used < oldest or total > max_bytes:
                path.unlink(missing_ok=True)
                gone += 1
        for used, path in _by_age(self._mounts):
            if used < oldest:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        return gone


def _by_age(folder: Path) -> list[tuple[float, Path]]:
    found = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append((path.stat().st_mtime, path))
    return found


def _decode(data: bytes) -> Record:
    told = json.loads(data)
    layer = told["layer"]
    return Record(Layer(*layer) if layer else None, float(told["created"]))
