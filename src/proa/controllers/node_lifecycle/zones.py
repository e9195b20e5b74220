"""Decide how fast nodes of a zone may be given up, by how many of its nodes are not Ready.

Normally one node in ten seconds. Where more than half of a zone is not Ready the zone itself may be cut off: a small
one then gives up none, a large one a node in a hundred seconds; a zone without any Ready node goes on at the normal
rate, for others have room. When no zone has a Ready node, it is we who are cut off, or the cluster is one node:
nothing is evicted at all, and what was begun is taken back. Follows upstream's
pkg/controller/nodelifecycle/node_lifecycle_controller.go (handleDisruption, ComputeZoneState).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.reconcile.workqueue import TokenBucket

EVICTIONS_PER_SECOND = 0.1
SECONDARY_EVICTIONS_PER_SECOND = 0.01
LARGE_ZONE = 50
UNHEALTHY_SHARE = 0.55
_EXCLUSION_LABEL = "node.kubernetes.io/exclude-disruption"
_REGION_LABELS = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
_ZONE_LABELS = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")

State = Literal["normal", "partial", "full"]


class Zone(NamedTuple):
    """Where a node is; nodes without labels are in one zone together."""

    region: str
    name: str


def zone_of(node: Object) -> Zone:
    """Return a node's zone (component-helpers/node/topology/helpers.go)."""
    labels = meta.labels(node)
    return Zone(_first(labels, _REGION_LABELS), _first(labels, _ZONE_LABELS))


def _first(labels: Mapping[str, str], keys: tuple[str, ...]) -> str:
    return next((labels[key] for key in keys if labels.get(key)), "")


def state_of(ready: int, not_ready: int) -> State:
    """Return the state of a zone with so many nodes."""
    if ready == 0 and not_ready > 0:
        return "full"
    if not_ready > 2 and not_ready / (ready + not_ready) >= UNHEALTHY_SHARE:
        return "partial"
    return "normal"


def rate_of(state: State, size: int) -> float:
    """Return how many nodes a second a zone in that state, of that size, may give up."""
    if state == "partial":
        return SECONDARY_EVICTIONS_PER_SECOND if size > LARGE_ZONE else 0.0
    return EVICTIONS_PER_SECOND


class _Pace:
    """One zone's allowance."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.rate = EVICTIONS_PER_SECOND
        self._bucket = TokenBucket(self.rate, 1, now)

    def set(self, rate: float) -> None:
        """Go on at another rate; who waits now begins its wait anew."""
        if rate == self.rate:
            return
        was_spent = self.rate > 0 and not self._bucket.try_take()
        self.rate = rate
        self._bucket = TokenBucket(rate, 1, self._now)
        if was_spent and rate > 0:
            self._bucket.try_take()

    def try_take(self) -> bool:
        return self.rate > 0 and self._bucket.try_take()


class Zones:
    """The zones of a cluster, and which of their nodes are Ready. `now` returns seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._nodes: dict[str, tuple[Zone, bool]] = {}
        self._counts: dict[Zone, list[int]] = {}
        self._paces: dict[Zone, _Pace] = {}
        self.is_cut_off = False
        """Whether no node is Ready anywhere."""

    def put(self, node: Object, *, is_ready: bool) -> None:
        """Take in how a node is. `settle` draws the consequences."""
        self.drop(meta.name(node))
        if _EXCLUSION_LABEL not in meta.labels(node):
            zone = zone_of(node)
            self._nodes[meta.name(node)] = (zone, is_ready)
            self._counts.setdefault(zone, [0, 0])[is_ready] += 1

    def drop(self, name: str) -> None:
        """Forget a node."""
        if (known := self._nodes.pop(name, None)) is not None:
            zone, was_ready = known
            counts = self._counts[zone]
            counts[was_ready] -= 1
            if not any(counts):
                del self._counts[zone]

    def settle(self) -> Literal["cut off", "back", ""]:
        """Set every zone's rate; return what has changed for the cluster as a whole."""
        states = {zone: state_of(counts[True], counts[False]) for zone, counts in self._counts.items()}
        was_cut_off = self.is_cut_off
        self.is_cut_off = bool(states) and all(state == "full" for state in states.values())
        for zone, state in states.items():
            rate = 0.0 if self.is_cut_off else rate_of(state, sum(self._counts[zone]))
            self._pace(zone).set(rate)
        if self.is_cut_off == was_cut_off:
            return ""
        return "cut off" if self.is_cut_off else "back"

    def may_evict(self, node: Object) -> bool:
        """Tell whether it is this node's turn; if so, the next of its zone has to wait."""
        return self._pace(zone_of(node)).try_take()

    def _pace(self, zone: Zone) -> _Pace:
        pace = self._paces.get(zone)
        if pace is None:
            pace = self._paces[zone] = _Pace(self._now)
        return pace
