"""Decide which pods of an old template give way to new ones, within maxUnavailable or maxSurge.

Without surge an old pod is deleted, and plan.py makes a new one when it is gone; with it the new one is made
beside the old one, which goes when the new one is available. Follows upstream's pkg/controller/daemon/update.go
(rollingUpdate).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from proa.client.protocol import Object
from proa.controllers.daemonset import nodes as placement
from proa.controllers.daemonset.bounds import bounds_of
from proa.controllers.daemonset.plan import Plan, PodsByNode, is_pod_available, is_updated
from proa.objects import meta


class Pair(NamedTuple):
    """What is on a node: a pod of the present template, one of another, or both."""

    new: Object | None
    old: Object | None


Pairs = Mapping[str, Pair | None]
IsAvailable = Callable[[Object | None], bool]


def plan_update(
    daemon_set: Object, nodes: Iterable[Object], pods: PodsByNode, digest: str, now: float
) -> Plan:
    """Take the next step of a rolling update; `digest` tells the pods of the present template."""
    wanted = {meta.name(node) for node in nodes if placement.should_run(daemon_set, node)}
    bounds = bounds_of(daemon_set, len(wanted))
    pairs = {name: _pair_on(pods.get(name, ()), digest) for name in sorted(wanted | pods.keys())}

    def available(pod: Object | None) -> bool:
        return pod is not None and is_pod_available(daemon_set, pod, now)

    if bounds.max_surge:
        return _surge(pairs, wanted, bounds.max_surge, available)
    return _replace(pairs, bounds.max_unavailable, available)


def _pair_on(pods: Iterable[Object], digest: str) -> Pair | None:
    """Return None where there are more than one of either: plan.py sees to that first."""
    here = [pod for pod in pods if not meta.is_deleting(pod)]
    new = [pod for pod in here if is_updated(pod, digest)]
    old = [pod for pod in here if not is_updated(pod, digest)]
    if len(new) > 1 or len(old) > 1:
        return None
    return Pair(new[0] if new else None, old[0] if old else None)


def _replace(pairs: Pairs, most: int, available: IsAvailable) -> Plan:
    """Delete old pods: all that serve nobody, and of the others as many as may be missing."""
    unavailable = 0
    useless: list[Object] = []
    candidates: list[Object] = []
    for pair in pairs.values():
        if pair is None or (pair.old is None) == (pair.new is None):
            unavailable += 1
        elif pair.old is None:
            unavailable += not available(pair.new)
        elif not available(pair.old):
            useless.append(pair.old)
            unavailable += 1
        else:
            candidates.append(pair.old)
    return Plan(delete=(*useless, *candidates[: max(0, most - unavailable)]))


def _surge(pairs: Pairs, wanted: set[str], most: int, available: IsAvailable) -> Plan:
    """Make new pods beside the old ones, at most `most` beside such as serve; delete what they have replaced.

    Where the nodes themselves have changed, a pod on one that is not wanted any more stays until another serves.
    """
    surging, serving = 0, 0
    done: list[Object] = []
    leaving: list[Object] = []
    urgent: list[str] = []
    candidates: list[str] = []
    for name, pair in pairs.items():
        if pair is None:
            surging += 1
            continue
        serving += available(pair.new if pair.old is None else pair.old)
        if pair.old is None:
            continue
        if pair.new is not None:
            if available(pair.new):
                done.append(pair.old)
            else:
                surging += 1
        elif name not in wanted:
            (leaving if available(pair.old) else done).append(pair.old)
        else:
            (candidates if available(pair.old) else urgent).append(name)
    return Plan(
        create=(*urgent, *candidates[: max(0, most - surging)]),
        delete=(*done, *leaving[: max(0, serving - len(wanted))]),
    )
