"""Keep what the rows of Tables show of a kind's objects, so that a list asked for again decodes only what has changed.

Filled by lists, bounded, and right for ever: an object of the same key and revision is the same object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Summary
from proa.apiserver.registry.stored_bytes import without_managed_fields
from proa.store.protocol import Entry

MAX_SUMMARIES = 10_000


class Summaries:
    """The summaries of one kind, by key, each with its object's revision."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary
        self._known: dict[str, tuple[int, Any]] = {}

    def cells(self, entry: Entry, now: float) -> Sequence[Any]:
        """Return the cells of an object's row."""
        known = self._known.get(entry.key)
        if known is None or known[0] != entry.revision:
            if len(self._known) >= MAX_SUMMARIES:
                self._known.clear()
            known = entry.revision, self._summary.make(without_managed_fields(entry))
            self._known[entry.key] = known
        return self._summary.cells(known[1], now)
