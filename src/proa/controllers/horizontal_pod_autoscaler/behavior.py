"""Keep an autoscaler's answer calm: within its bounds, no faster than its policies allow, not back and forth.

Pure but for `History`, which remembers one autoscaler's recommendations and changes of size. Follows
pkg/controller/podautoscaler/horizontal.go (normalizeDesiredReplicas and normalizeDesiredReplicasWithBehaviors).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import field
from typing import NamedTuple

from proa.client.protocol import Object
from proa.objects.quick_dataclass import dataclass

DOWNSCALE_STABILIZATION_SECONDS = 300
SCALE_UP_FACTOR, SCALE_UP_MINIMUM = 2, 4
"""Without a behavior, at most twice as many, or four, at a time."""


class Change(NamedTuple):
    """A number that was recommended, or by which the size changed, at a moment (epoch seconds)."""

    number: int
    time: float


@dataclass(slots=True)
class History:
    """What one autoscaler has said and done lately."""

    recommendations: list[Change] = field(default_factory=list)
    ups: list[Change] = field(default_factory=list)
    downs: list[Change] = field(default_factory=list)

    def recommend(self, replicas: int, now: float, keep_seconds: float) -> None:
        """Remember a recommendation, and forget those that are too old."""
        self.recommendations = [r for r in self.recommendations if r.time >= now - keep_seconds]
        self.recommendations.append(Change(replicas, now))

    def changed(self, before: int, after: int, behavior: Object | None, now: float) -> None:
        """Remember a change of size as long as the behavior's policies look back."""
        if behavior is None:
            return
        self.ups = _recent(self.ups, _longest_period(behavior["scaleUp"]), now)
        self.downs = _recent(self.downs, _longest_period(behavior["scaleDown"]), now)
        if after > before:
            self.ups.append(Change(after - before, now))
        else:
            self.downs.append(Change(before - after, now))


class Said(NamedTuple):
    """A condition's status, reason and message."""

    status: str
    reason: str
    message: str


class Normalized(NamedTuple):
    """The number of replicas to have, and the conditions AbleToScale and ScalingLimited."""

    replicas: int
    able: Said
    limited: Said


READY = Said("True", "ReadyForNewScale", "recommended size matches current size")
LOWER = "recent recommendations were lower than current one, applying the lowest recent recommendation"
HIGHER = "recent recommendations were higher than current one, applying the highest recent recommendation"
WITHIN = ("DesiredWithinRange", "the desired count is within the acceptable range")
TOO_FEW = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")
TOO_MANY = ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
UP_LIMIT = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
DOWN_LIMIT = ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate")


def normalize(
    desired: int,
    current: int,
    least: int,
    most: int,
    behavior: Object | None,
    history: History,
    now: float,
) -> Normalized:
    """Return what to do about a recommendation, which is remembered."""
    if behavior is None:
        stabilized, able = _stabilize_plainly(desired, history, now)
        replicas, limit = _limit_plainly(stabilized, current, least, most)
    else:
        stabilized, able = _stabilize(desired, current, behavior, history, now)
        replicas, limit = _limit(stabilized, current, least, most, behavior, history, now)
    limited = Said("False" if replicas == stabilized else "True", *limit)
    return Normalized(replicas, able, limited)


def _stabilize_plainly(desired: int, history: History, now: float) -> tuple[int, Said]:
    since = now - DOWNSCALE_STABILIZATION_SECONDS
    highest = max([desired, *(r.number for r in history.recommendations if r.time >= since)])
    history.recommend(desired, now, DOWNSCALE_STABILIZATION_SECONDS)
    return highest, READY if highest == desired else Said("True", "ScaleDownStabilized", HIGHER)


def _limit_plainly(desired: int, current: int, least: int, most: int) -> tuple[int, tuple[str, str]]:
    rate = max(SCALE_UP_FACTOR * current, SCALE_UP_MINIMUM)
    if desired < least:
        return least, TOO_FEW
    if desired > min(most, rate):
        return min(most, rate), UP_LIMIT if most > rate else TOO_MANY
    return desired, WITHIN


def _stabilize(
    desired: int, current: int, behavior: Object, history: History, now: float
) -> tuple[int, Said]:
    up, down = _window(behavior["scaleUp"], 0), _window(behavior["scaleDown"])
    lowest = min([desired, *(r.number for r in history.recommendations if r.time > now - up)])
    highest = max([desired, *(r.number for r in history.recommendations if r.time > now - down)])
    history.recommend(desired, now, max(up, down))
    stabilized = min(max(current, lowest), highest)
    if stabilized == desired:
        return desired, READY
    if desired >= current:
        return stabilized, Said("True", "ScaleUpStabilized", LOWER)
    return stabilized, Said("True", "ScaleDownStabilized", HIGHER)


def _limit(
    desired: int, current: int, least: int, most: int, behavior: Object, history: History, now: float
) -> tuple[int, tuple[str, str]]:
    if desired > current:
        rate = max(current, _up_limit(current, behavior["scaleUp"], history, now))
        if desired > min(most, rate):
            return min(most, rate), UP_LIMIT if most > rate else TOO_MANY
    elif desired < current:
        rate = min(current, _down_limit(current, behavior["scaleDown"], history, now))
        if desired < max(least, rate):
            return max(least, rate), DOWN_LIMIT if least < rate else TOO_FEW
    return desired, WITHIN


def _up_limit(current: int, rules: Object, history: History, now: float) -> int:
    """Return the most replicas that the policies allow now."""
    allowed = _allowed(current, rules, 1, history, now)
    return min(allowed) if rules.get("selectPolicy") == "Min" else max(allowed)


def _down_limit(current: int, rules: Object, history: History, now: float) -> int:
    """Return the fewest replicas that the policies allow now."""
    allowed = _allowed(current, rules, -1, history, now)
    return max(allowed) if rules.get("selectPolicy") == "Min" else min(allowed)


def _allowed(current: int, rules: Object, sign: int, history: History, now: float) -> list[int]:
    """Return how far each policy lets the size go, up (`sign` 1) or down (-1)."""
    if rules.get("selectPolicy") == "Disabled":
        return [current]
    allowed: list[int] = []
    for policy in rules["policies"]:
        start = _size_before(current, policy, history, now)
        if policy["type"] == "Pods":
            allowed.append(start + sign * policy["value"])
        else:
            share = start * (1 + sign * policy["value"] / 100)
            allowed.append(math.ceil(share) if sign > 0 else int(share))
    return allowed


def _size_before(current: int, policy: Object, history: History, now: float) -> int:
    """Return the size as it was when the policy's period began."""
    period = policy["periodSeconds"]
    added = sum(change.number for change in _recent(history.ups, period, now))
    removed = sum(change.number for change in _recent(history.downs, period, now))
    return current - added + removed


def _recent(changes: Sequence[Change], seconds: float, now: float) -> list[Change]:
    return [change for change in changes if change.time > now - seconds]


def _longest_period(rules: Object) -> int:
    return max((policy["periodSeconds"] for policy in rules["policies"]), default=0)


def _window(rules: Object, default: int = DOWNSCALE_STABILIZATION_SECONDS) -> int:
    seconds = rules.get("stabilizationWindowSeconds")
    return default if seconds is None else int(seconds)
