"""Keep a value that is made of stored objects as new as the last acknowledged write, at next to no cost a request.

Reading it takes from a subscription what has changed; only where there is something, the objects are read and the
value is made again. There is no task, so that it belongs to no event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from proa.objects.resource import Resource
from proa.store.protocol import Store, Watch, WatchOverflow

T = TypeVar("T")


class Derived(Generic[T]):
    """What `make` returns of the store, made again when objects of `resources` have changed."""

    def __init__(self, store: Store, resources: Sequence[Resource], make: Callable[[], T]) -> None:
        self._store = store
        self._prefixes = [f"/registry/{r.group or 'core'}/{r.plural}/" for r in resources]
        self._make = make
        self._watches: list[Watch] = []
        self._made = self._renew()

    def value(self) -> T:
        """Return the value as of the newest durable write."""
        for watch in self._watches:
            try:
                if not watch.take():
                    continue
            except WatchOverflow:
                pass  # much has changed: all the more reason
            self._made = self._renew()
            break
        return self._made

    def _renew(self) -> T:
        for watch in self._watches:
            watch.close()
        revision = self._store.revision
        self._watches = [self._store.watch(prefix, after_revision=revision) for prefix in self._prefixes]
        return self._make()
