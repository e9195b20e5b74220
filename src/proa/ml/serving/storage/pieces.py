"""What a model is at its source: files, with what tells their bytes from others; a scheme lists them.

`open(offset)` gives the bytes from there on, or from the beginning where a source cannot do that: its answer says
which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class StorageError(Exception):
    """A model cannot be had: what was asked for, what was answered, what would help."""


class Interrupted(Exception):
    """A source has stopped answering, or answers that it cannot now: to be tried again from where it stopped."""


class Opened(NamedTuple):
    """A stream: bytes from `offset` on. Closing the iterator ends it."""

    offset: int
    chunks: Iterator[bytes]


class Piece(NamedTuple):
    """One file of a model, or an archive of several."""

    path: str
    """In the model's folder, with slashes."""
    size: int | None
    identity: str
    """Changes whenever the bytes do: with a source's own tag; "" where a source has none."""
    open: Callable[[int], Opened]
    sha256: str = ""
    """What it must be; "" where nobody says."""
    git_sha1: str = ""
    """Of a Git blob of it; what a source says of small files that it keeps in Git."""
    unpack: str = ""
    """"tar" or "zip": an archive, whose members are the files."""
    below: str = ""
    """Of an archive only what is below this folder counts."""


class Model(NamedTuple):
    """All of a model's pieces; `resolved` names them as precisely as the source can, for the log."""

    pieces: Sequence[Piece]
    resolved: str
    layers: bool = False
    """Pieces are layers of an image, in order: a later one's files, and its whiteouts, win over those before."""


class Surroundings(NamedTuple):
    """What a scheme may ask: the process' environment, and the folders in which files of the node are."""

    env: Mapping[str, str]
    sources: Path | None = None
    number: int = 0
    """Which of several sources this is: the name of its folder in `sources`."""
