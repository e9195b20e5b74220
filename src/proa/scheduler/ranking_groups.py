"""Hold what a ranking knows: of each node, and of the groups that nodes form (ranking.py)."""

from __future__ import annotations

from collections.abc import Hashable

from proa.scheduler.framework import MAX_SCORE, Status

Entry = tuple[int, float, int, str]
"""Negative own score, random number, version of the node's entry, node name."""
GroupKey = tuple[Hashable, ...]
"""Counts to scale, then a key for each overview."""


class Group:
    """Nodes that only their own part of the score tells apart. `top` is the best entry, None: it must be sought."""

    __slots__ = ("heap", "key", "size", "top")

    def __init__(self, key: GroupKey) -> None:
        self.key = key
        self.heap: list[Entry] = []
        self.size = 0
        self.top: Entry | None = None


class Known:
    """What a ranking knows of a node: `status` says why it will not do, whatever overviews say."""

    __slots__ = ("counts", "group", "nature", "own", "rejection", "status", "version")

    def __init__(self) -> None:
        self.nature = -1
        self.rejection: Status | None = None
        self.own = 0
        self.counts: GroupKey = ()
        self.status: Status | None = None
        self.group: Group | None = None
        self.version = 0


def normalized(scores: list[int], direction: str) -> list[int]:
    """Scale counts to 0..MAX_SCORE by the highest; "lowest" turns them round (helper.DefaultNormalizeScore)."""
    if not direction:
        return scores
    highest = max(scores, default=0)
    if not highest:
        return [MAX_SCORE if direction == "lowest" else 0] * len(scores)
    scaled = [score * MAX_SCORE // highest for score in scores]
    return [MAX_SCORE - score for score in scaled] if direction == "lowest" else scaled
