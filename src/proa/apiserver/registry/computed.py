"""Show objects that are read off the running server, and never written, as if they were stored (ComponentStatus)."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from proa.client.protocol import Object
from proa.store.memory import MemoryStore
from proa.store.protocol import Entry, Page, Store

Compute = Callable[[Store], list[Object]]
"""Returns the objects as they are now, with kind, apiVersion and metadata first."""


class ComputedStore(MemoryStore):
    """A store that has what `compute` finds in another store, at the other's revision."""

    def __init__(self, prefix: str, other: Store, compute: Compute) -> None:
        super().__init__()
        self._prefix = prefix
        self._other = other
        self._compute = compute

    @property
    def revision(self) -> int:
        """The other store's."""
        return self._other.revision

    def get(self, key: str) -> Entry | None:
        """See `Store.get`."""
        return next((entry for entry in self._entries() if entry.key == key), None)

    latest = get

    def range(
        self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0, ending: str = ""
    ) -> Page:
        """See `Store.range`; there is no history."""
        found = [e for e in self._entries() if e.key.startswith(prefix) and e.key > start_after]
        found = [e for e in found if e.key.endswith(ending)]
        taken = found[:limit] if limit else found
        return Page(taken, self.revision, len(found) - len(taken))

    def _entries(self) -> list[Entry]:
        made = [
            Entry(self._prefix + obj["metadata"]["name"], orjson.dumps(obj), self.revision)
            for obj in self._compute(self._other)
        ]
        return sorted(made, key=lambda entry: entry.key)
