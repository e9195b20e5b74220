"""Keep what the rows of Tables show of a kind's objects, so that a list asked for again decodes only what has changed.

Filled by lists, bounded, and right for ever: an object of the same key and revision is the same object. What is kept is
the row's cells as JSON, in pieces between those that say how long ago something was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson

from proa.apiserver.registry.definition import Ago
from proa.apiserver.registry.stored_bytes import metadata_begin, metadata_bytes, to_look_at
from proa.client.protocol import Object
from proa.store.protocol import Entry

MAX_SUMMARIES = 10_000

Pieces = tuple[bytes | Ago, ...]


class Kept(NamedTuple):
    """What is kept of an object. Its metadata are among its bytes up to `end`, 0 where they cannot be had so."""

    revision: int
    pieces: Pieces
    end: int


class Summaries:
    """The rows of one kind, by key, each with its object's revision."""

    def __init__(self, summarize: Callable[[Object], Sequence[Any]], head: bytes) -> None:
        self._summarize = summarize
        self._head = head
        self._begin = metadata_begin(head)
        self._known: dict[str, Kept] = {}

    def row(self, entry: Entry, say: Callable[[Ago], bytes]) -> tuple[bytes, bytes | None]:
        """Return the cells of an object's row as JSON, a list without its brackets, and its metadata's bytes, or None.

        `say` returns as JSON what a cell says now.
        """
        kept = self._known.get(entry.key)
        if kept is None or kept[0] != entry.revision:
            if len(self._known) >= MAX_SUMMARIES:
                self._known.clear()
            kept = self._known[entry.key] = self._keep(entry)
        _, pieces, end = kept
        cells = b"".join([piece if isinstance(piece, bytes) else say(piece) for piece in pieces])
        return cells, entry.value[self._begin : end] if end else None

    def _keep(self, entry: Entry) -> Kept:
        metadata = metadata_bytes(entry, self._head)
        pieces = _pieces(self._summarize(to_look_at(entry, self._head, metadata)))
        return Kept(entry.revision, pieces, 0 if metadata is None else self._begin + len(metadata))


def _pieces(cells: Sequence[Any]) -> Pieces:
    pieces: list[bytes | Ago] = []
    begun = 0
    for index, cell in enumerate(cells):
        if type(cell) is Ago:
            pieces += (_listed(cells, begun, index), cell)
            begun = index + 1
    return (*pieces, _listed(cells, begun, len(cells)))


def _listed(cells: Sequence[Any], begin: int, end: int) -> bytes:
    """Return some of the cells as JSON, with the commas to their neighbours."""
    made = [b""] if begin else []
    if end > begin:
        made.append(orjson.dumps(cells[begin:end])[1:-1])
    if end < len(cells) and (begin or made):
        made.append(b"")
    return b",".join(made)
