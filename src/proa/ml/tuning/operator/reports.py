"""Learn what metrics a trial told, once its run has ended: from its pod's collector, or from the database.

Reads pods from the cache, and the end of the collector's log through the API. Who does not tell in time has told
nothing, in words that say why.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

from proa.client.protocol import Client, Object
from proa.ml.tuning.collector import reading
from proa.ml.tuning.kinds import COLLECTOR_CONTAINER, DB_MANAGER, DB_MANAGER_PORT, NAMESPACE
from proa.ml.tuning.observations.observations import Observations
from proa.ml.tuning.records import MetricPoint
from proa.objects import meta
from proa.objects.errors import ApiError
from proa.objects.quick_dataclass import dataclass

logger = logging.getLogger(__name__)

BY_LOG = ("StdOut", "File", "TensorFlowEvent", "PrometheusMetric")
"""Collector kinds that tell in their pod's log; what others tell comes to the database."""
MAX_LOG_BYTES = 64 * 1024 * 1024
OVER = ("Succeeded", "Failed")

Origin = Literal["log", "database"]


@dataclass(frozen=True, slots=True)
class Report:
    """The points, oldest first, whether the trial was stopped early, and what else there is to say."""

    points: Sequence[MetricPoint]
    is_early_stopped: bool
    message: str
    origin: Origin


def collector_kind(trial: Object) -> str:
    """Return how the trial's metrics are collected."""
    collector = (trial["spec"].get("metricsCollector") or {}).get("collector") or {}
    return str(collector.get("kind") or "StdOut")


async def find_report(
    client: Client, observations: Observations, trial: Object, pods: Sequence[Object], *, is_late: bool
) -> Report | None:
    """Return what the trial told, None while it may still be telling. `is_late`: nobody waits any longer."""
    kind = collector_kind(trial)
    if kind in BY_LOG:
        return await _from_log(client, trial, pods, is_late=is_late)
    has_ended = all((pod.get("status") or {}).get("phase") in OVER for pod in pods)
    if kind == "Custom" and not (pods and has_ended) and not is_late:
        return None  # its container is the user's own, and may end after the training
    points = await observations.read(meta.uid(trial))
    return Report(points, is_early_stopped=False, message=_nothing_reported(trial, kind), origin="database")


def has_stopped_early(pods: Sequence[Object]) -> bool:
    """Tell whether a collector has stopped its training."""
    return any((told := reading.find(pod)) is not None and told.outcome == "early-stopped" for pod in pods)


async def _from_log(client: Client, trial: Object, pods: Sequence[Object], *, is_late: bool) -> Report | None:
    telling = [(pod, told) for pod in pods if (told := reading.find(pod)) is not None]
    telling = [(pod, told) for pod, told in telling if told.outcome != "not-primary"]
    if not telling:
        return (
            Report((), is_early_stopped=False, message=_silence(trial, pods), origin="log")
            if is_late
            else None
        )
    pod, told = max(telling, key=_preference)
    log = await _read_log(client, pod, told.lines) if told.lines else ""
    report = reading.read(told, log)
    message = report.message
    if not report.is_complete:
        message = f"{message}; points in between are lost with the log of pod {meta.name(pod)}".lstrip("; ")
    return Report(report.points, report.outcome == "early-stopped", message, "log")


def _preference(entry: tuple[Object, reading.Told]) -> tuple[bool, bool, str]:
    """Prefer the pod that succeeded, then one whose collector did, then the latest."""
    pod, told = entry
    succeeded = (pod.get("status") or {}).get("phase") == "Succeeded"
    return succeeded, told.outcome != "crashed", str(pod["metadata"].get("creationTimestamp"))


async def _read_log(client: Client, pod: Object, lines: int) -> str:
    """Return the end of the collector's log; "" where it is gone: its termination message has what counts most."""
    path = f"/api/v1/namespaces/{meta.namespace(pod)}/pods/{meta.name(pod)}/log"
    query = f"container={COLLECTOR_CONTAINER}&tailLines={lines}"
    try:
        text = await client.read(f"{path}?{query}", limit_bytes=MAX_LOG_BYTES)
    except ApiError as error:
        logger.warning(
            "log of a trial's collector cannot be read pod=%s error=%s", meta.key_of(pod), error.message
        )
        return ""
    return text.decode(errors="replace")


def _silence(trial: Object, pods: Sequence[Object]) -> str:
    """Say why no collector has told anything."""
    primary = trial["spec"].get("primaryPodLabels") or {}
    with_collector = [meta.name(pod) for pod in pods if reading.has_collector(pod)]
    if with_collector:
        names = ", ".join(sorted(with_collector)[:3])
        return f"container {COLLECTOR_CONTAINER} of pod {names} has not ended, or is in no pod with labels {primary}"
    if pods:
        return f"no pod of the trial has container {COLLECTOR_CONTAINER}: was it removed by an admission webhook?"
    return (
        "the trial's pods were gone before their metrics could be read: let them stay "
        "(cleanPodPolicy, ttlSecondsAfterFinished)"
    )


def _nothing_reported(trial: Object, kind: str) -> str:
    if kind == "None":
        return "metricsCollectorSpec.collector.kind is None: nothing collects metrics"
    address = f"{DB_MANAGER}.{NAMESPACE}:{DB_MANAGER_PORT}"
    how = (
        "call katib.report_metrics() in the training"
        if kind == "Push"
        else "let the custom collector report them"
    )
    return f"nothing was reported to {address} for trial {meta.name(trial)}: {how}"
