"""Read what a DaemonSet's update strategy allows. Follows upstream's pkg/controller/daemon/util/daemonset_util.go."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from proa.client.protocol import Object


class Bounds(NamedTuple):
    """How many pods there may be beyond one a node, and how many nodes may be without an available one."""

    max_surge: int
    max_unavailable: int


def bounds_of(daemon_set: Object, wanted: int) -> Bounds:
    """Return the bounds for `wanted` nodes, percentages rounded up; 1 unavailable where both would be 0."""
    rolling = _rolling(daemon_set)
    surge = _resolve(rolling.get("maxSurge", 0), wanted)
    unavailable = _resolve(rolling.get("maxUnavailable", 0), wanted)
    return Bounds(surge, unavailable if surge or unavailable or not wanted else 1)


def allows_surge(daemon_set: Object) -> bool:
    """Tell whether a node may have two pods while they are rolled over."""
    return _resolve(_rolling(daemon_set).get("maxSurge", 0), 1) > 0


def is_rolling(daemon_set: Object) -> bool:
    """Tell whether pods are replaced when the template changes, not only when they are deleted."""
    strategy = daemon_set["spec"].get("updateStrategy") or {}
    return bool(strategy.get("type") != "OnDelete")


def _rolling(daemon_set: Object) -> dict[str, Any]:
    if not is_rolling(daemon_set):
        return {}
    return (daemon_set["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}


def _resolve(value: int | str, total: int) -> int:
    if isinstance(value, int):
        return value
    return math.ceil(int(value.removesuffix("%")) * total / 100)
