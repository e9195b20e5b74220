"""Take blobs as they come, in one piece or in chunks: a file each, which becomes a blob when its digest is right.

An upload is a file in the store's folder, named by its identifier; it survives the server, and is removed after a day.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from proa.images.layers import MAX_LAYER_BYTES
from proa.images.store import ImageStore
from proa.registry.errors import Refused

MAX_OPEN = 256
_MIN_FREE_BYTES = 1 << 30
_MAX_AGE_SECONDS = 86400.0
_PIECE = 1 << 20
_LEASE_SECONDS = 900.0


class Uploads:
    """The uploads that are under way."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._folder = store.directory / "uploads"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        self._lease = contextlib.ExitStack()
        self._lease_until = 0.0

    def begin(self, repository: str) -> str:
        """Return the identifier of a new upload to a repository."""
        self._hold_lease()
        self._remove_old()
        if sum(1 for _ in self._folder.iterdir()) >= MAX_OPEN:
            raise Refused("TOOMANYREQUESTS", f"{MAX_OPEN} uploads are under way: finish or delete some")
        identifier = str(uuid.uuid4())
        path = self._path(repository, identifier)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        return identifier

    def size(self, repository: str, identifier: str) -> int:
        """Return how many bytes are here; raise Refused."""
        try:
            return self._path(repository, identifier).stat().st_size
        except FileNotFoundError:
            raise Refused("BLOB_UPLOAD_UNKNOWN", f"upload {identifier} is not known") from None

    def append(self, repository: str, identifier: str, pieces: Iterable[bytes], start: int | None) -> int:
        """Add bytes, which must begin at `start` where that is told; return the size then; raise Refused."""
        with self._alone(identifier):
            size = self.size(repository, identifier)
            if start is not None and start != size:
                headers = {"Range": f"0-{max(size - 1, 0)}"}
                words = f"the chunk begins at {start}, and {size} bytes are here"
                raise Refused("BLOB_UPLOAD_INVALID", words, 416, headers)
            with self._path(repository, identifier).open("ab") as file:
                try:
                    for piece in pieces:
                        size += len(piece)
                        if size > MAX_LAYER_BYTES:
                            raise Refused(
                                "SIZE_INVALID", f"no blob may be larger than {MAX_LAYER_BYTES} bytes", 413
                            )
                        file.write(piece)
                        self._check_space()
                except Refused:
                    raise
                except OSError:  # the client went away in the middle: only whole chunks count
                    file.flush()
                    raise
            return size

    def finish(self, repository: str, identifier: str, digest: str) -> None:
        """Make the upload a blob; raise Refused where it has another digest, and it is gone then."""
        path = self._path(repository, identifier)
        with self._alone(identifier):
            self.size(repository, identifier)
            with path.open("rb") as file:
                found = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
                if found != digest:
                    path.unlink(missing_ok=True)
                    raise Refused("DIGEST_INVALID", f"the content has digest {found}, not {digest}")
                if self._store.blobs.has(digest):
                    path.unlink()
                else:
                    self._store.blobs.adopt(file, path, digest)

    def cancel(self, repository: str, identifier: str) -> None:
        """Forget an upload; raise Refused."""
        with self._alone(identifier):
            self.size(repository, identifier)
            self._path(repository, identifier).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the lease; what is under way can be gone on with later."""
        with self._lock:
            self._lease.close()
            self._lease_until = 0.0

    def _path(self, repository: str, identifier: str) -> Path:
        if not re.fullmatch(r"[0-9a-f-]{36}", identifier):
            raise Refused("BLOB_UPLOAD_UNKNOWN", "this is no upload's identifier")
        owner = hashlib.sha256(repository.encode()).hexdigest()[:16]
        return self._folder / f"{owner}-{identifier}"

    @contextlib.contextmanager
    def _alone(self, identifier: str) -> Iterator[None]:
        with self._lock:
            if identifier in self._busy:
                raise Refused("BLOB_UPLOAD_INVALID", "another request is writing to this upload", 409)
            self._busy.add(identifier)
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(identifier)

    def _check_space(self) -> None:
        found = os.statvfs(self._folder)
        if found.f_bavail * found.f_frsize < _MIN_FREE_BYTES:
            raise Refused("DENIED", "the disk that has the images is nearly full", 507)

    def _hold_lease(self) -> None:
        """Keep what is pushed from being collected before its manifest comes."""
        with self._lock:
            now = time.monotonic()
            if now > self._lease_until:
                self._lease.close()
                self._lease.enter_context(self._store.lease())
                self._lease_until = now + _LEASE_SECONDS

    def _remove_old(self) -> None:
        before = time.time() - _MAX_AGE_SECONDS
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()
