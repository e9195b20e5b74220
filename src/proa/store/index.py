"""Keep keys sorted so that adding, removing, counting a prefix and starting anywhere never cost the whole store.

A sorted list cut into blocks of at most `_BLOCK_KEYS`: a change moves part of one block, a position is two
bisections, and a count adds up block lengths (about 200 of them at 100,000 keys).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

_BLOCK_KEYS = 1024
_LAST_CODE_POINT = 0x10FFFF


class KeyIndex:
    """A sorted set of strings, ordered by code point."""

    __slots__ = ("_blocks", "_lasts")

    def __init__(self, keys: Iterable[str] = ()) -> None:
        ordered = sorted(keys)
        half = _BLOCK_KEYS // 2
        self._blocks = [ordered[start : start + half] for start in range(0, len(ordered), half)]
        self._lasts = [block[-1] for block in self._blocks]

    def add(self, key: str) -> None:
        """Add a key that is not there yet."""
        if not self._blocks:
            self._blocks.append([key])
            self._lasts.append(key)
            return
        number = min(bisect_left(self._lasts, key), len(self._blocks) - 1)
        block = self._blocks[number]
        insort(block, key)
        self._lasts[number] = block[-1]
        if len(block) > _BLOCK_KEYS:
            self._split(number)

    def remove(self, key: str) -> None:
        """Remove a key; raise KeyError when it is not there."""
        number, place = self._position(key)
        block = self._blocks[number] if number < len(self._blocks) else []
        if place >= len(block) or block[place] != key:
            raise KeyError(key)
        del block[place]
        if block:
            self._lasts[number] = block[-1]
        else:
            del self._blocks[number], self._lasts[number]

    def count(self, low: str, high: str | None) -> int:
        """Return how many keys there are from `low` up to, without, `high` (None: to the end)."""
        first, first_place = self._position(low)
        last, last_place = self._position(high) if high is not None else (len(self._blocks), 0)
        if (first, first_place) >= (last, last_place):
            return 0
        return sum(map(len, self._blocks[first:last])) - first_place + last_place

    def has_prefix(self, prefix: str) -> bool:
        """Tell whether there is a key under `prefix`, in half the time of a count."""
        number, place = self._position(prefix)
        return number < len(self._blocks) and self._blocks[number][place].startswith(prefix)

    def first(self, low: str, high: str | None, limit: int = 0) -> list[str]:
        """Return the first `limit` of the keys from `low` up to, without, `high`; all where `limit` is 0."""
        found: list[str] = []
        number, place = self._position(low)
        last, last_place = self._position(high) if high is not None else (len(self._blocks), 0)
        while number <= last and number < len(self._blocks) and (not limit or len(found) < limit):
            block = self._blocks[number]
            end = last_place if number == last else len(block)
            found += block[place : min(end, place + limit - len(found)) if limit else end]
            number, place = number + 1, 0
        return found

    def between(self, low: str, high: str | None) -> Iterator[str]:
        """Yield the keys from `low` up to, without, `high`. The index must not change meanwhile."""
        first, first_place = self._position(low)
        last, last_place = self._position(high) if high is not None else (len(self._blocks), 0)
        for number in range(first, min(last + 1, len(self._blocks))):
            block = self._blocks[number]
            yield from block[
                first_place if number == first else 0 : last_place if number == last else len(block)
            ]

    def _position(self, key: str) -> tuple[int, int]:
        """Return (block, place in it) of the first key that is not below `key`."""
        number = bisect_left(self._lasts, key)
        if number == len(self._blocks):
            return number, 0
        return number, bisect_left(self._blocks[number], key)

    def _split(self, number: int) -> None:
        block = self._blocks[number]
        half = len(block) // 2
        self._blocks[number : number + 1] = [block[:half], block[half:]]
        self._lasts[number : number + 1] = [block[half - 1], block[-1]]


def prefix_bounds(prefix: str, start_after: str = "") -> tuple[str, str | None]:
    """Return the (low, high) bounds of the keys under `prefix` that come after `start_after`."""
    low = max(prefix, start_after + "\0") if start_after else prefix
    stem = prefix.rstrip(chr(_LAST_CODE_POINT))
    high = stem[:-1] + chr(ord(stem[-1]) + 1) if stem else None
    return low, high
