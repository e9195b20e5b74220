"""Keep blobs by their SHA-256: verified while they are written, whole or not there at all.

A blob is written beside its place, synced, and renamed. What is asked for counts as used now (its file's time), which
keeps it from being collected while a lease is held.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import BinaryIO

from proa.images.digests import digest_of, hex_of
from proa.images.errors import ImageNotFound, InvalidImage, TooLarge

MAX_DOCUMENT_BYTES = 8 << 20
"""No manifest or configuration is larger (registries allow 4 MiB)."""
_PIECE = 1 << 20


class Blobs:
    """The blobs of one store, in OCI layout (`blobs/sha256/<hex>`); `incoming` is where they are written."""

    def __init__(self, directory: Path, incoming: Path) -> None:
        self._directory = directory / "blobs" / "sha256"
        self._incoming = incoming

    def path(self, digest: str) -> Path:
        """Return where a blob is, or would be."""
        return self._directory / hex_of(digest)

    def has(self, digest: str) -> bool:
        """Tell whether a blob is here; from now on it counts as just used."""
        try:
            os.utime(self.path(digest))
        except FileNotFoundError:
            return False
        return True

    def size(self, digest: str) -> int:
        """Return a blob's size in bytes; raise ImageNotFound."""
        with self.open(digest) as file:
            return os.fstat(file.fileno()).st_size

    def open(self, digest: str) -> BinaryIO:
        """Open a blob to be read; raise ImageNotFound."""
        try:
            return self.path(digest).open("rb")
        except FileNotFoundError:
            raise ImageNotFound(f"blob {digest} is not here") from None

    def read(self, digest: str) -> bytes:
        """Return a document's bytes, checked again; raise ImageNotFound, TooLarge, InvalidImage."""
        with self.open(digest) as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
        if len(data) > MAX_DOCUMENT_BYTES:
            raise TooLarge(f"blob {digest} is too large for a document")
        if digest_of(data) != digest:
            raise InvalidImage(f"blob {digest} has changed on disk: remove it and pull its image again")
        return data

    def add(self, data: bytes) -> str:
        """Keep bytes; return their digest."""
        digest = digest_of(data)
        if not self.has(digest):
            with self.writer() as writer:
                writer.write(data)
                writer.commit(digest)
        return digest

    @contextlib.contextmanager
    def writer(self) -> Iterator[BlobWriter]:
        """Yield what a blob is written to; without its `commit` nothing is kept."""
        descriptor, name = tempfile.mkstemp(prefix="blob-", dir=self._incoming)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            try:
                yield BlobWriter(self, file, Path(name))
            finally:
                Path(name).unlink(missing_ok=True)

    def adopt(self, file: BinaryIO, path: Path, digest: str) -> None:
        """Make a file that was found to have this digest the blob."""
        os.fchmod(file.fileno(), 0o644)  # the store's folder is private; noded's users read through it
        os.fsync(file.fileno())
        os.replace(path, self.path(digest))
        sync_folder(self._directory)

    def remove(self, digest: str, before: float = inf) -> int:
        """Remove a blob that was last asked for before a time (epoch seconds); return the bytes that this frees."""
        path = self.path(digest)
        gone = self._incoming / f"gone-{uuid.uuid4().hex}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, gone)
            found = gone.stat()
            if found.st_mtime >= before:
                os.rename(gone, path)
                return 0
            gone.unlink()
            return found.st_size
        return 0

    def all(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield every blob's digest and what its file says."""
        for entry in os.scandir(self._directory):
            with contextlib.suppress(FileNotFoundError):
                yield f"sha256:{entry.name}", entry.stat()


class BlobWriter:
    """A blob on its way; the digest is worked out on it."""

    def __init__(self, blobs: Blobs, file: BinaryIO, path: Path) -> None:
        self._blobs, self._file, self._path = blobs, file, path
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append bytes."""
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    def commit(self, expected: str = "") -> str:
        """Keep the blob and return its digest; raise InvalidImage when it is not the expected one."""
        digest = "sha256:" + self._hash.hexdigest()
        if expected and digest != expected:
            raise InvalidImage(f"the content has digest {digest}, not {expected} as it should")
        self._blobs.adopt(self._file, self._path, digest)
        return digest


def copy(source: BinaryIO, target: BlobWriter, limit: int) -> None:
    """Write all of `source`; raise TooLarge beyond `limit` bytes."""
    while piece := source.read(_PIECE):
        if target.size + len(piece) > limit:
            raise TooLarge(f"more than {limit} bytes")
        target.write(piece)


def sync_folder(folder: Path) -> None:
    """Have the disk know of what was renamed in a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
