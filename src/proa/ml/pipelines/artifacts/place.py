"""What a kind of place does with URIs of its own: blocking calls, for threads (store.py) and pods (transfer.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from proa.ml.pipelines.artifacts.archives import Entry, tar_gz
from proa.ml.pipelines.artifacts.protocol import ArtifactError, Stat
from proa.ml.pipelines.artifacts.uris import Uri


class Place(Protocol):
    """One folder or bucket. Raises ArtifactError, which names the URI."""

    def stat(self, uri: Uri) -> Stat | None:
        """Return what is there; None for nothing."""

    def read(self, uri: Uri, limit: int) -> bytes | None:
        """Return a file's first bytes; None for no file."""

    def entries(self, uri: Uri) -> Iterator[Entry]:
        """Yield an artifact's files, sorted by their paths below it; one of path "" where it is a file itself."""

    def write(self, uri: Uri, data: bytes) -> None:
        """Write a file whole or not at all, durably."""

    def remove(self, uri: Uri) -> None:
        """Remove a file or folder; nothing there is fine."""


def stream(place: Place, uri: Uri) -> Iterator[bytes]:
    """Yield a file's content, or a folder's as a .tar.gz; raise ArtifactError for nothing."""
    entries = place.entries(uri)
    first = next(entries, None)
    if first is None:
        if place.stat(uri) is None:
            raise ArtifactError(f"artifact {uri}: nothing is there")
        return tar_gz(())
    if not first.path and first.chunks is not None:
        return first.chunks()
    return tar_gz(_with(first, entries))


def _with(first: Entry, others: Iterator[Entry]) -> Iterator[Entry]:
    yield first
    yield from others
