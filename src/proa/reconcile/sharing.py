"""Have objects that say the same share what they say: pods of one template are mostly one pod in memory.

What is cached is never mutated, so that sharing harms nobody. Only objects of one kind are compared, whose fields have
one type each: where Python says that two values are equal, they are the same JSON.
"""

from __future__ import annotations

from typing import Any

from proa.client.protocol import Object
from proa.objects import meta

MAX_SIBLINGS = 1_000
"""Controllers of which an object is kept in mind, to share with the next one."""


class Siblings:
    """One object of each controller, lately."""

    def __init__(self) -> None:
        self._last: dict[str, Object] = {}

    def share(self, obj: Object, old: Object | None) -> None:
        """Share what `obj` says with what stood in its place, or with another object of its controller, in place."""
        controller = meta.controller_of(obj)
        if controller is None:
            return
        uid = controller["uid"]
        known = old or self._last.get(uid)
        if known is not None:
            share(obj, known)
        self._last.pop(uid, None)
        self._last[uid] = obj
        if len(self._last) > MAX_SIBLINGS:
            del self._last[next(iter(self._last))]


def share(new: dict[str, Any], known: dict[str, Any]) -> None:
    """Put what `known` holds in place of what is equal in `new`."""
    for key, value in new.items():
        other = known.get(key)
        if other is not None and other is not value:
            new[key] = _shared(value, other)


def _shared(value: Any, other: Any) -> Any:
    if value == other:
        return other
    if isinstance(value, dict) and isinstance(other, dict):
        share(value, other)
    elif isinstance(value, list) and isinstance(other, list):
        for index in range(min(len(value), len(other))):
            value[index] = _shared(value[index], other[index])
    return value
