"""Read the indexes of an indexed Job as its spec and status write them: "1,3-5,7".

Follows pkg/apis/batch/validation validateIndexesFormat, parseIndexInterval and
validateFailedIndexesNotOverlapCompleted.
"""

from __future__ import annotations

import re

from proa.objects.validation import quote

_NUMBER = re.compile(r"[+-]?[0-9]{1,18}\Z", re.ASCII)


class BadIndexes(ValueError):
    """The text is no list of intervals of indexes, in upstream's words."""


def count_indexes(text: str, completions: int) -> int:
    """Return how many indexes the text names; raise BadIndexes where it is not in order or below `completions`."""
    total, last = 0, None
    for part in text.split(",") if text else ():
        first, end = _interval(part, completions)
        if last is not None and last >= first:
            raise BadIndexes(f"non-increasing order, previous: {last}, current: {first}")
        total += end - first + 1
        last = end
    return total


def find_overlap(completed: str, failed: str, completions: int) -> int | None:
    """Return an index that is in both texts; intervals that cannot be read count for nothing."""
    ours, theirs = _readable(completed, completions), _readable(failed, completions)
    while ours and theirs:
        (x, y), (v, w) = ours[-1], theirs[-1]
        if x <= w and v <= y:
            return max(x, v)
        (ours if x <= v else theirs).pop()
    return None


def _readable(text: str, completions: int) -> list[tuple[int, int]]:
    """Return the intervals, the last one first."""
    found: list[tuple[int, int]] = []
    for part in reversed(text.split(",")) if text else ():
        try:
            found.append(_interval(part, completions))
        except BadIndexes:
            continue  # said where the format is checked
    return found


def _interval(text: str, completions: int) -> tuple[int, int]:
    parts = text.split("-")
    if len(parts) > 2:
        rule = "violates the requirement that an index interval can have at most two parts separated by '-'"
        raise BadIndexes(f"the fragment {quote(text)} {rule}")
    numbers = [_number(part, completions) for part in parts]
    if len(numbers) > 1 and numbers[0] >= numbers[1]:
        raise BadIndexes(f"non-increasing order, previous: {numbers[0]}, current: {numbers[1]}")
    return numbers[0], numbers[-1]


def _number(text: str, completions: int) -> int:
    if not _NUMBER.match(text):
        raise BadIndexes(f"cannot convert string to integer for index: {quote(text)}")
    if int(text) >= completions:
        raise BadIndexes(f"too large index: {quote(text)}")
    return int(text)
