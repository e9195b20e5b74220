"""Keep the rankings in use, one for each shape of pod and set of facts; the longest unused are forgotten."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from proa.scheduler.framework import Facts, Profile
from proa.scheduler.pod_info import PodInfo
from proa.scheduler.ranking import Ranking
from proa.scheduler.snapshot import Snapshot

RANKINGS_KEPT = 128


class Rankings:
    """The rankings in use, the longest unused forgotten first."""

    def __init__(self, profile: Profile, snapshot: Snapshot, random: Callable[[], float]) -> None:
        self._profile = profile
        self._snapshot = snapshot
        self._random = random
        self._rankings: OrderedDict[Hashable, Ranking] = OrderedDict()

    def ranking_for(self, pod: PodInfo, facts: Facts) -> Ranking:
        """Return the ranking of nodes for pods like this one."""
        key = (pod.shape, tuple(facts.items())) if facts else pod.shape
        ranking = self._rankings.get(key)
        if ranking is None:
            ranking = Ranking(self._profile, self._snapshot, self._random, pod, facts)
            self._rankings[key] = ranking
            if len(self._rankings) > RANKINGS_KEPT:
                self._rankings.popitem(last=False)[1].close()
        else:
            self._rankings.move_to_end(key)
        return ranking

    def close(self) -> None:
        """Forget all rankings."""
        while self._rankings:
            self._rankings.popitem()[1].close()
