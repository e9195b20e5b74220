"""Decide how many replicas each of a Deployment's ReplicaSets should have.

RollingUpdate never lets available pods fall below replicas - maxUnavailable, nor all pods rise above
replicas + maxSurge; a change of spec.replicas amid a rollout is shared out in proportion. Follows upstream's
pkg/controller/deployment/rolling.go, recreate.go and sync.go (scale).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.controllers.deployment import history
from proa.objects import meta
from proa.objects.meta import annotations as annotations_of

Sizes = Mapping[str, int]
"""Replicas wanted, by the ReplicaSet's uid."""


class Bounds(NamedTuple):
    """What a Deployment allows, in pods."""

    replicas: int
    max_surge: int
    max_unavailable: int

    @property
    def most(self) -> int:
        """Return how many pods there may be in all."""
        return self.replicas + self.max_surge

    @property
    def least_available(self) -> int:
        """Return how many available pods there must be."""
        return self.replicas - self.max_unavailable


def bounds_of(deployment: Object) -> Bounds:
    """Read replicas, maxSurge (percent rounded up) and maxUnavailable (rounded down; 1 if both are 0)."""
    replicas = replicas_of(deployment)
    if not is_rolling(deployment):
        return Bounds(replicas, 0, 0)
    given = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    surge = _resolve(given.get("maxSurge", "25%"), replicas, math.ceil)
    unavailable = _resolve(given.get("maxUnavailable", "25%"), replicas, math.floor)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Bounds(replicas, surge, min(unavailable, replicas))


def is_rolling(deployment: Object) -> bool:
    """Return whether the strategy is RollingUpdate (the default) rather than Recreate."""
    strategy = deployment["spec"].get("strategy") or {}
    return bool(strategy.get("type", "RollingUpdate") == "RollingUpdate")


def replicas_of(obj: Object) -> int:
    """Return spec.replicas, by default 1."""
    replicas = obj["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def available_of(replica_set: Object) -> int:
    """Return how many pods its status calls available, and will be still when it has the size that it shall have.

    Upstream reads the status alone, and takes away too much where a ReplicaSet has just been made smaller.
    """
    observed = int((replica_set.get("status") or {}).get("availableReplicas", 0))
    return min(observed, replicas_of(replica_set))


def is_scaling(deployment: Object, replica_sets: Iterable[Object]) -> bool:
    """Return whether spec.replicas has changed since an active ReplicaSet was last sized."""
    wanted = str(replicas_of(deployment))
    return any(
        annotations_of(rs).get(history.DESIRED_REPLICAS, wanted) != wanted
        for rs in replica_sets
        if replicas_of(rs) > 0
    )


def size_of_new(deployment: Object, replica_sets: Sequence[Object], current: int) -> int:
    """Return how far the new ReplicaSet, now at `current`, may grow at once."""
    bounds = bounds_of(deployment)
    if not is_rolling(deployment):
        return bounds.replicas
    room = bounds.most - sum(map(replicas_of, replica_sets))
    if room <= 0:
        return current
    return current + min(room, bounds.replicas - current)


def plan_rolling(deployment: Object, new: Object, old: Sequence[Object]) -> Sizes:
    """Take the next step of a rolling update: grow the new ReplicaSet, or else shrink the old ones."""
    current, wanted = replicas_of(new), replicas_of(deployment)
    if current > wanted:
        return {meta.uid(new): wanted}
    if current < wanted:
        grown = size_of_new(deployment, [new, *old], current)
        if grown != current:
            return {meta.uid(new): grown}
    return _shrink_old(bounds_of(deployment), new, old)


def _shrink_old(bounds: Bounds, new: Object, old: Sequence[Object]) -> Sizes:
    """Take unhealthy old pods first: they add nothing to what is available."""
    active = [rs for rs in history.by_age(old) if replicas_of(rs) > 0]
    new_unavailable = replicas_of(new) - available_of(new)
    spare = sum(map(replicas_of, [new, *active])) - bounds.least_available - new_unavailable
    if not active or spare <= 0:
        return {}
    sizes = {meta.uid(rs): replicas_of(rs) for rs in active}
    for rs in active:
        unhealthy = max(0, replicas_of(rs) - available_of(rs))
        taken = min(spare, unhealthy)
        sizes[meta.uid(rs)] -= taken
        spare -= taken
    surplus = sum(map(available_of, [new, *old])) - bounds.least_available
    for rs in active:
        taken = max(0, min(sizes[meta.uid(rs)], surplus))
        sizes[meta.uid(rs)] -= taken
        surplus -= taken
    return {meta.uid(rs): sizes[meta.uid(rs)] for rs in active if sizes[meta.uid(rs)] != replicas_of(rs)}


def plan_recreate(
    deployment: Object, new: Object | None, old: Sequence[Object], is_old_running: bool
) -> Sizes:
    """Empty the old ReplicaSets first; once the last old pod has ended, fill the new one."""
    active = {meta.uid(rs): 0 for rs in old if replicas_of(rs) > 0}
    if active or is_old_running or new is None or replicas_of(new) == replicas_of(deployment):
        return active
    return {meta.uid(new): replicas_of(deployment)}


def plan_scaling(deployment: Object, new: Object | None, old: Sequence[Object]) -> Sizes:
    """Size the ReplicaSets to a changed spec.replicas, without moving the rollout itself on."""
    everything = [rs for rs in [new, *old] if rs is not None]
    active = [rs for rs in everything if replicas_of(rs) > 0]
    bounds = bounds_of(deployment)
    if len(active) <= 1:
        only = active[0] if active else new or next(reversed(history.by_age(old)), None)
        return {} if only is None else {meta.uid(only): bounds.replicas}
    if new is not None and _is_saturated(deployment, new):
        return {meta.uid(rs): 0 for rs in old if replicas_of(rs) > 0}
    if is_rolling(deployment):
        return _proportional(deployment, bounds, active)
    return {meta.uid(rs): replicas_of(rs) for rs in active}


def _proportional(deployment: Object, bounds: Bounds, active: Sequence[Object]) -> Sizes:
    """Share out the difference by size, the largest ReplicaSet first; what rounding leaves is its too."""
    allowed = bounds.most if bounds.replicas > 0 else 0
    to_add = allowed - sum(map(replicas_of, active))
    ordered = history.by_age(active)
    if to_add > 0:
        ordered.reverse()
    ordered.sort(key=replicas_of, reverse=True)
    added = 0
    sizes = {}
    for rs in ordered:
        share = _share(deployment, bounds, rs, to_add, added)
        sizes[meta.uid(rs)] = replicas_of(rs) + share
        added += share
    largest = meta.uid(ordered[0])
    sizes[largest] = max(0, sizes[largest] + to_add - added)
    return sizes


def _share(deployment: Object, bounds: Bounds, replica_set: Object, to_add: int, added: int) -> int:
    left = to_add - added
    if left == 0:
        return 0
    if bounds.replicas == 0:
        return max(-replicas_of(replica_set), left)
    before = annotations_of(replica_set).get(history.MAX_REPLICAS, "")
    most_before = int(before) if before.isdecimal() and int(before) else _observed_replicas(deployment)
    if most_before == 0:
        return 0
    size = replicas_of(replica_set)
    fraction = math.floor(size * bounds.most / most_before + 0.5) - size
    return min(fraction, left) if to_add > 0 else max(fraction, left)


def _is_saturated(deployment: Object, new: Object) -> bool:
    wanted = replicas_of(deployment)
    noted = annotations_of(new).get(history.DESIRED_REPLICAS)
    return replicas_of(new) == wanted == available_of(new) and noted == str(wanted)


def _observed_replicas(deployment: Object) -> int:
    return int((deployment.get("status") or {}).get("replicas", 0))


def _resolve(value: int | str, total: int, rounding: Callable[[float], int]) -> int:
    """Return a number or percentage of `total` as a number. An integer product keeps 10% of 30 at 3."""
    if isinstance(value, int):
        return value
    return rounding(int(value.removesuffix("%")) * total / 100)
