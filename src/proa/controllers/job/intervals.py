"""Hold many numbers as a Job's status writes them: "0-2,5".

However far apart first and last are, a set costs what its text does. Follows upstream's
pkg/controller/job/indexed_job_utils.go (orderedIntervals).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Intervals(NamedTuple):
    """Disjoint ranges (first, last) in order, no two of which touch."""

    ranges: tuple[tuple[int, int], ...] = ()

    def total(self) -> int:
        """Return how many numbers there are."""
        return sum(last - first + 1 for first, last in self.ranges)

    def has(self, number: int) -> bool:
        """Tell whether the number is one of them."""
        at = bisect_left(self.ranges, number, key=lambda span: span[1])
        return at < len(self.ranges) and self.ranges[at][0] <= number

    def union(self, others: Iterable[tuple[int, int]]) -> Intervals:
        """Return these and other ranges, which may be in any order."""
        merged: list[tuple[int, int]] = []
        for first, last in sorted([*self.ranges, *others]):
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(merged[-1][1], last))
            else:
                merged.append((first, last))
        return Intervals(tuple(merged))

    def with_numbers(self, numbers: Iterable[int]) -> Intervals:
        """Return these numbers and others."""
        return self.union((number, number) for number in numbers)

    def common(self, other: Intervals) -> int:
        """Return how many numbers are in both."""
        count, at = 0, iter(other.ranges)
        span = next(at, None)
        for first, last in self.ranges:
            while span is not None and span[0] <= last:
                count += max(0, min(last, span[1]) - max(first, span[0]) + 1)
                if span[1] > last:
                    break
                span = next(at, None)
        return count

    def free(self, end: int) -> Iterator[int]:
        """Yield what is missing below `end`, in order."""
        candidate = 0
        for first, last in self.ranges:
            yield from range(candidate, min(first, end))
            candidate = last + 1
        yield from range(candidate, end)

    def text(self) -> str:
        """Return e.g. "0-2,5"; two in a row are "3,4"."""
        return ",".join(_show(first, last) for first, last in self.ranges)


def _show(first: int, last: int) -> str:
    if first == last:
        return str(first)
    return f"{first}{',' if last == first + 1 else '-'}{last}"


def parse_intervals(text: str, end: int) -> Intervals:
    """Read "0-2,5" up to the number before `end`; what cannot be read is left out."""
    found = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        if first.isdecimal() and (last or first).isdecimal() and int(first) < end:
            found.append((int(first), min(int(last or first), end - 1)))
    return Intervals().union(span for span in found if span[0] <= span[1])
