"""What became of a trial's metrics, from its pod and the end of its collector's log: the operator's side of `wire`.

    told = reading.find(pod)                        None while the collector still runs, or never was there
    log = await read_log(pod, COLLECTOR_CONTAINER, tail_lines=told.lines) if told.lines else ""
    report = reading.read(told, log)

Nothing in a log or a message is believed beyond its form: names that were not asked for, and more points than the
collector ever tells, are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast

from proa.ml.tuning.collector import wire
from proa.ml.tuning.collector.asked import Asked
from proa.ml.tuning.kinds import COLLECTOR_CONTAINER
from proa.ml.tuning.records import MetricPoint
from proa.objects.quick_dataclass import dataclass

Outcome = Literal["succeeded", "early-stopped", "no-metrics", "not-primary", "crashed"]


@dataclass(frozen=True, slots=True)
class Told:
    """What a pod's status says of its collector that has ended. `lines`: how many to ask the log's end for."""

    outcome: Outcome
    message: str
    lines: int
    marker: str
    metrics: tuple[str, ...]
    extremes: Mapping[str, Sequence[wire.Point]]


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome in words, and the points, oldest first. Not `is_complete`: some between the extremes are lost."""

    outcome: Outcome
    message: str
    points: tuple[MetricPoint, ...]
    is_complete: bool = True


def has_collector(pod: Mapping[str, Any]) -> bool:
    """Tell whether the pod was made with a collector that tells by its log."""
    return _find(pod["spec"].get("initContainers"), COLLECTOR_CONTAINER) is not None


def find(pod: Mapping[str, Any]) -> Told | None:
    """Return what the pod's collector told at its end; None as long as it has not ended."""
    container = _find((pod.get("spec") or {}).get("initContainers"), COLLECTOR_CONTAINER)
    status = _find((pod.get("status") or {}).get("initContainerStatuses"), COLLECTOR_CONTAINER)
    if container is None or status is None:
        return None
    terminated = _terminated(pod, status)
    if terminated is None:
        return None
    asked = Asked(str(word).replace("$$", "$") for word in container.get("args") or ())
    marker, metrics = asked.get("marker"), tuple(asked.metrics)
    told = wire.decode_message(terminated.get("message") or "")
    if told is None:
        if not _is_over(pod):
            return None  # it is started again, and reads all from the beginning
        return Told("crashed", _describe_crash(terminated), 0, marker, metrics, {})
    lines = told.get("lines")
    return Told(
        cast(Outcome, told["outcome"]),
        told["message"],
        min(lines, wire.MAX_LINES) if isinstance(lines, int) and lines > 0 else 0,
        marker,
        metrics,
        _extremes(told.get("metrics"), metrics),
    )


def read(told: Told, log: str) -> Report:
    """Return the report; `log` is the last `told.lines` lines of the collector's log, or what is left of it."""
    if told.outcome in ("not-primary", "crashed"):
        return Report(told.outcome, told.message, ())
    in_log = wire.decode_lines(told.marker, log) if told.marker else {}
    points: list[MetricPoint] = []
    is_complete = True
    for metric in told.metrics:
        found = in_log.get(metric, [])
        missing = [p for p in told.extremes.get(metric, ()) if p not in found]
        is_complete = is_complete and not missing
        merged = found if not missing else sorted([*found, *missing])
        points += [MetricPoint(time, metric, value) for time, value in merged]
    return Report(told.outcome, told.message, tuple(points), is_complete)


def _terminated(pod: Mapping[str, Any], status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return how the collector ended: for good, or once before in a pod that is over."""
    state: Mapping[str, Any] = status.get("state") or {}
    if "running" in state:
        return None
    if state.get("terminated"):
        return cast(Mapping[str, Any], state["terminated"])
    return (status.get("lastState") or {}).get("terminated") if _is_over(pod) else None


def _is_over(pod: Mapping[str, Any]) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _describe_crash(terminated: Mapping[str, Any]) -> str:
    reason = terminated.get("reason") or "Error"
    words = " ".join((terminated.get("message") or "").split())[:300]
    why = f"{reason}, exit code {terminated.get('exitCode')}" + (f": {words}" if words else "")
    return (
        f"container {COLLECTOR_CONTAINER} ended without telling what it found ({why}); its log has more, and its "
        "memory limit is in katib-config"
        if reason == "OOMKilled"
        else f"container {COLLECTOR_CONTAINER} ended without telling what it found ({why})"
    )


def _extremes(told: Any, metrics: Sequence[str]) -> dict[str, tuple[wire.Point, ...]]:
    found: dict[str, tuple[wire.Point, ...]] = {}
    for metric in metrics if isinstance(told, dict) else ():
        of_metric = told.get(metric)
        if isinstance(of_metric, dict):
            found[metric] = tuple(dict.fromkeys(_points(of_metric.values())))
    return found


def _points(values: Any) -> Iterator[wire.Point]:
    for value in values:
        point = wire.as_point(value)
        if point is not None:
            yield point


def _find(entries: Any, name: str) -> Mapping[str, Any] | None:
    return next((entry for entry in entries or () if entry.get("name") == name), None)
