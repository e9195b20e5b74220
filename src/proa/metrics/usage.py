"""Work out rates from what kubelets count: CPU of each container between the last two readings, memory of the last.

Pure. A container's first point is its start, where that is not long ago; counters that went back start anew. Follows
metrics-server's pkg/storage/{pod,node,types}.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from proa.client.protocol import Object
from proa.objects.meta import parse_time

FRESH_SECONDS = 10.0
"""A container of this age at least has a rate since its start; what a younger one does is starting."""


class Point(NamedTuple):
    """Counters at a moment, epoch seconds: CPU nanoseconds so far, working set bytes, and when the counted began."""

    time: float
    cpu_nanoseconds: int
    memory_bytes: int
    started: float


class Usage(NamedTuple):
    """What was used: CPU in nanocores over `window` seconds that ended at `time`, and memory at `time`."""

    time: float
    window: float
    cpu_nanocores: int
    memory_bytes: int


PodKey = tuple[str, str]
"""(namespace, name)."""


class NodeUsage:
    """The last two readings of one node. `resolution_seconds` is how far apart readings are."""

    def __init__(self, resolution_seconds: float) -> None:
        self._resolution = resolution_seconds
        self._last: _Reading | None = None
        self._previous: _Reading | None = None

    def take(self, summary: Object, time: float) -> None:
        """Take in GET /stats/summary as of `time`; one that comes too soon after the last is a rate over too little."""
        self._previous, self._last = self._last, _read(summary, time)

    def node(self) -> Usage | None:
        """Return what the node uses, None before two readings."""
        if self._last is None or self._previous is None:
            return None
        return _between(self._previous.node, self._last.node)

    def pods(self) -> dict[PodKey, dict[str, Usage]]:
        """Return the usage of each container of the pods of which all containers' is known."""
        if self._last is None:
            return {}
        found = {}
        for key, containers in self._last.pods.items():
            before = self._previous.pods.get(key, {}) if self._previous else {}
            used = {name: self._container(before.get(name), last) for name, last in containers.items()}
            known = {name: usage for name, usage in used.items() if usage is not None}
            if len(known) == len(containers):
                found[key] = known
        return found

    def _container(self, before: Point | None, last: Point) -> Usage | None:
        if before is not None and before.started == last.started:
            return _between(before, last)
        age = last.time - last.started
        if FRESH_SECONDS <= age < self._resolution + FRESH_SECONDS:
            return _between(Point(last.started, 0, 0, last.started), last)
        return None


class _Reading(NamedTuple):
    node: Point
    pods: Mapping[PodKey, Mapping[str, Point]]


def _read(summary: Object, time: float) -> _Reading:
    pods = {
        (pod["podRef"]["namespace"], pod["podRef"]["name"]): {
            container["name"]: _point(container, time) for container in pod["containers"]
        }
        for pod in summary["pods"]
    }
    return _Reading(_point(summary["node"], time), pods)


def _point(counted: Object, time: float) -> Point:
    cpu = (counted.get("cpu") or {}).get("usageCoreNanoSeconds", -1)
    memory = (counted.get("memory") or {}).get("workingSetBytes", -1)
    return Point(time, cpu, memory, parse_time(counted["startTime"]))


def _between(before: Point, last: Point) -> Usage | None:
    """Return the usage between two points, None where a counter is unknown or went back."""
    window = last.time - before.time
    if before.cpu_nanoseconds < 0 or last.cpu_nanoseconds < before.cpu_nanoseconds or window <= 0:
        return None
    if last.memory_bytes < 0:
        return None
    rate = round((last.cpu_nanoseconds - before.cpu_nanoseconds) / window)
    return Usage(last.time, window, rate, last.memory_bytes)
