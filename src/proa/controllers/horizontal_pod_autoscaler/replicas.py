"""Say how many replicas a metric asks for. Pure; values are in thousandths, times in epoch seconds.

Pods that do not count yet or are not measured are taken for what would least change the answer: as idle when the rest
asks for more, as busy when the rest asks for fewer. Follows pkg/controller/podautoscaler/replica_calculator.go and
metrics/utilization.go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.controllers.horizontal_pod_autoscaler.metrics import NoMetrics, PodMetric, PodMetrics
from proa.objects.meta import find_condition, is_deleting, name, parse_time
from proa.objects.pods import containers, init_containers, is_ready, is_sidecar, phase
from proa.objects.quantity import to_millis

CPU_INITIALIZATION_SECONDS = 300.0
"""A pod's CPU in its first minutes counts only once it is ready and was measured since."""
INITIAL_READINESS_SECONDS = 30.0
"""A pod that became unready within so long of its start has never been ready."""
DEFAULT_TOLERANCE = 0.1


class Tolerances(NamedTuple):
    """By what fraction usage may differ from its target before anything is done."""

    up: float = DEFAULT_TOLERANCE
    down: float = DEFAULT_TOLERANCE

    def covers(self, ratio: float) -> bool:
        """Tell whether a ratio of usage to target is near enough to 1."""
        return (1.0 - self.down) <= ratio <= (1.0 + self.up)


class Groups(NamedTuple):
    """Pods by name: how many count, those that do not count yet, those without a metric, those that never count."""

    ready: int
    unready: frozenset[str]
    missing: frozenset[str]
    ignored: frozenset[str]


class Proposal(NamedTuple):
    """How many replicas; `usage` is the value per pod (or of the object), `utilization` a percentage of requests."""

    replicas: int
    usage: int
    utilization: int | None = None


def group_pods(pods: Sequence[Object], metrics: Mapping[str, PodMetric], resource: str, now: float) -> Groups:
    """Sort pods by whether their metric counts; `resource` is "" for what is no resource."""
    ready, unready, missing, ignored = 0, set(), set(), set()
    for pod in pods:
        metric = metrics.get(name(pod))
        if is_deleting(pod) or phase(pod) == "Failed":
            ignored.add(name(pod))
        elif phase(pod) == "Pending":
            unready.add(name(pod))
        elif metric is None:
            missing.add(name(pod))
        elif resource == "cpu" and not _counts(pod, metric, now):
            unready.add(name(pod))
        else:
            ready += 1
    return Groups(ready, frozenset(unready), frozenset(missing), frozenset(ignored))


def _counts(pod: Object, metric: PodMetric, now: float) -> bool:
    condition = find_condition(pod, "Ready")
    started = (pod.get("status") or {}).get("startTime")
    if condition is None or not started:
        return False
    is_unready = condition.get("status") == "False"
    began, changed = parse_time(started), parse_time(condition.get("lastTransitionTime") or started)
    if began + CPU_INITIALIZATION_SECONDS > now:
        return not is_unready and metric.time >= changed + metric.window
    return not (is_unready and began + INITIAL_READINESS_SECONDS > changed)


def pod_requests(pods: Sequence[Object], resource: str, container: str = "") -> dict[str, int]:
    """Return what each pod (or one container of it) requests; raise NoMetrics where one does not say."""
    return {name(pod): _request(pod, resource, container) for pod in pods}


def _request(pod: Object, resource: str, container: str) -> int:
    whole = ((pod["spec"].get("resources") or {}).get("requests") or {}).get(resource)
    if whole is not None and not container:
        return to_millis(whole)
    counted = [*containers(pod), *(c for c in init_containers(pod) if is_sidecar(c))]
    total = 0
    for each in counted:
        if container and each["name"] != container:
            continue
        asked = ((each.get("resources") or {}).get("requests") or {}).get(resource)
        if asked is None:
            raise NoMetrics(f"missing request for {resource} in container {each['name']} of Pod {name(pod)}")
        total += to_millis(asked)
    return total


def by_utilization(
    pods: Sequence[Object],
    metrics: PodMetrics,
    current: int,
    target_percent: int,
    resource: str,
    container: str,
    tolerances: Tolerances,
    now: float,
) -> Proposal:
    """Return the replicas at which usage is `target_percent` of requests; raise NoMetrics."""
    groups = _grouped(pods, metrics, resource, now)
    requests = pod_requests(pods, resource, container)
    counted = _counted(metrics, groups)
    utilization, usage = _utilization(counted, requests)
    busy = max(100, target_percent)

    def ratio(values: PodMetrics) -> float:
        return _utilization(values, requests)[0] / target_percent

    replicas = _decide(groups, counted, current, ratio, lambda pod: requests[pod] * busy // 100, tolerances)
    return Proposal(replicas, usage, utilization)


def by_value(
    pods: Sequence[Object],
    metrics: PodMetrics,
    current: int,
    target: int,
    resource: str,
    tolerances: Tolerances,
    now: float,
) -> Proposal:
    """Return the replicas at which the average over pods is `target`; raise NoMetrics."""
    groups = _grouped(pods, metrics, resource, now)
    counted = _counted(metrics, groups)

    def average(values: PodMetrics) -> int:
        return sum(metric.value for metric in values.values()) // len(values)

    replicas = _decide(
        groups, counted, current, lambda values: average(values) / target, lambda pod: target, tolerances
    )
    return Proposal(replicas, average(counted))


def by_total(
    total: int, pods: Sequence[Object], current: int, target: int, tolerances: Tolerances
) -> Proposal:
    """Return the replicas at which a value that all share is `target`: in proportion to those that are ready."""
    ratio = total / target
    if current == 0:
        return Proposal(math.ceil(ratio), total)
    if tolerances.covers(ratio):
        return Proposal(current, total)
    if not pods:
        raise NoMetrics(
            "unable to calculate ready pods: no pods returned by selector while calculating replica count"
        )
    ready = sum(phase(pod) == "Running" and is_ready(pod) for pod in pods)
    return Proposal(math.ceil(ratio * ready), total)


def by_average(total: int, current: int, target: int, tolerances: Tolerances) -> Proposal:
    """Return the replicas at which a value that all share, divided by them, is `target`."""
    replicas = current
    if not current or not tolerances.covers(total / (target * current)):
        replicas = math.ceil(total / target)
    return Proposal(replicas, math.ceil(total / current) if current else 0)


def _grouped(pods: Sequence[Object], metrics: PodMetrics, resource: str, now: float) -> Groups:
    if not pods:
        raise NoMetrics("no pods returned by selector while calculating replica count")
    return group_pods(pods, metrics, resource, now)


def _counted(metrics: PodMetrics, groups: Groups) -> PodMetrics:
    left_out = groups.unready | groups.ignored
    counted = {pod: metric for pod, metric in metrics.items() if pod not in left_out}
    if not counted:
        raise NoMetrics("did not receive metrics for targeted pods (pods might be unready)")
    return counted


def _utilization(metrics: PodMetrics, requests: Mapping[str, int]) -> tuple[int, int]:
    """Return (percentage of requests, average usage) of the pods that have requests."""
    known = [(metric.value, requests[pod]) for pod, metric in metrics.items() if pod in requests]
    total = sum(request for _, request in known)
    if not total:
        raise NoMetrics("no metrics returned matched known pods")
    used = sum(value for value, _ in known)
    return used * 100 // total, used // len(known)


def _decide(
    groups: Groups,
    counted: PodMetrics,
    current: int,
    ratio_of: Callable[[PodMetrics], float],
    busy: Callable[[str], int],
    tolerances: Tolerances,
) -> int:
    """Return the replicas; pods without a metric that counts are filled in and may only dampen the change."""
    ratio = ratio_of(counted)
    rebalances = bool(groups.unready) and ratio > 1.0
    if not rebalances and not groups.missing:
        return current if tolerances.covers(ratio) else math.ceil(ratio * groups.ready)
    filled = dict(counted)
    if ratio < 1.0:
        filled |= {pod: PodMetric(busy(pod)) for pod in groups.missing}
    elif ratio > 1.0:
        filled |= {pod: PodMetric(0) for pod in groups.missing}
    if rebalances:
        filled |= {pod: PodMetric(0) for pod in groups.unready}
    new = ratio_of(filled)
    if tolerances.covers(new) or (ratio < 1.0 < new) or (new < 1.0 < ratio):
        return current
    replicas = math.ceil(new * len(filled))
    if (new < 1.0 and replicas > current) or (new > 1.0 and replicas < current):
        return current
    return replicas
