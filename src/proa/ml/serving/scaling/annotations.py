"""Read how a revision is scaled from the labels and annotations of its Deployment. Pure.

Names, defaults, limits and words are Knative's: pkg/apis/autoscaling/register.go and annotation_validation.go,
pkg/autoscaler/config/config.go, pkg/reconciler/autoscaling/resources/target.go.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from proa.ml.serving.kinds import CONTAINER_CONCURRENCY, ROUTING_STATE, TIMEOUT_SECONDS
from proa.objects import meta

Object = dict[str, Any]

GROUP = "autoscaling.knative.dev"
CLASS, METRIC, TARGET = f"{GROUP}/class", f"{GROUP}/metric", f"{GROUP}/target"
UTILIZATION = f"{GROUP}/target-utilization-percentage"
MIN_SCALE, MAX_SCALE, INITIAL_SCALE = f"{GROUP}/min-scale", f"{GROUP}/max-scale", f"{GROUP}/initial-scale"
ACTIVATION_SCALE = f"{GROUP}/activation-scale"
SCALE_DOWN_DELAY = f"{GROUP}/scale-down-delay"
WINDOW = f"{GROUP}/window"
PANIC_WINDOW, PANIC_THRESHOLD = f"{GROUP}/panic-window-percentage", f"{GROUP}/panic-threshold-percentage"
RETENTION = f"{GROUP}/scale-to-zero-pod-retention-period"
BURST_CAPACITY = f"{GROUP}/target-burst-capacity"
PROGRESS_DEADLINE = "serving.knative.dev/progress-deadline"

KPA, HPA = f"kpa.{GROUP}", f"hpa.{GROUP}"
CONCURRENCY, RPS, CPU, MEMORY = "concurrency", "rps", "cpu", "memory"

DEFAULT_TARGETS = {CONCURRENCY: 100.0, RPS: 200.0}
DEFAULT_UTILIZATION = 0.7
MIN_TARGET = 0.01
MAX_UP_RATE, MAX_DOWN_RATE = 1000.0, 2.0
MIN_WINDOW_SECONDS, MAX_WINDOW_SECONDS = 6.0, 3600.0
BUCKET_SECONDS = 1.0
GRACE_SECONDS = 30.0
"""scale-to-zero-grace-period: the last pod waits no longer for the network to lead to the activator."""
DEFAULT_TIMEOUT_SECONDS = 300.0
DEFAULT_DEADLINE_SECONDS = 600.0
DEADLINE_BUFFER_SECONDS = 30.0
MAX_INT32 = 2**31 - 1

_DURATION = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|h|m|s)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class ScalingSpec(NamedTuple):
    """How one revision is scaled; times are seconds."""

    metric: str = CONCURRENCY
    is_ours: bool = True
    """Class KPA; else an HPA or somebody else writes the scale, and nobody scales to zero."""
    target: float = 70.0
    """Of the metric, that a pod should have: what it can have times how much of it shall be used."""
    total: float = 100.0
    """Of the metric, that a pod can have."""
    stable_seconds: float = 60.0
    panic_seconds: float = 6.0
    panic_threshold: float = 2.0
    min_scale: int = 0
    max_scale: int = 0
    """0 is any number."""
    initial_scale: int = 1
    activation_scale: int = 0
    down_delay_seconds: float = 0.0
    retention_seconds: float = 0.0
    burst_capacity: float = 0.0
    """-1 has the activator in the path always, 0 only while there is no ready pod."""
    is_reachable: bool = True
    container_concurrency: int = 0
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    activation_seconds: float = DEFAULT_DEADLINE_SECONDS + DEADLINE_BUFFER_SECONDS
    """How long a pod that is started again may take, unless somebody waits for it."""
    max_up_rate: float = MAX_UP_RATE
    max_down_rate: float = MAX_DOWN_RATE

    @property
    def can_change(self) -> bool:
        """Tell whether load matters: the scale is ours, and not held by its limits."""
        return self.is_ours and not 0 < self.max_scale <= self.min_scale


def read_scaling(deployment: Object) -> ScalingSpec:
    """Return how a revision's Deployment is scaled; what an annotation says wrongly is as if it were not there."""
    said, labels = meta.annotations(deployment), meta.labels(deployment)
    metric = said.get(METRIC, CONCURRENCY)
    is_ours = said.get(CLASS, KPA) == KPA and metric in DEFAULT_TARGETS
    is_reachable = labels.get(ROUTING_STATE) != "reserve"
    limit = max(0, _integer(said, CONTAINER_CONCURRENCY, 0))
    target, total = _targets(said, metric, limit)
    stable = _within(_seconds(said, WINDOW, 60.0), MIN_WINDOW_SECONDS, MAX_WINDOW_SECONDS, 60.0)
    panic = _within(_number(said, PANIC_WINDOW, 10.0), 1.0, 100.0, 10.0)
    threshold = _within(_number(said, PANIC_THRESHOLD, 200.0), 110.0, 1000.0, 200.0)
    return ScalingSpec(
        metric=metric,
        is_ours=is_ours,
        target=target,
        total=total,
        stable_seconds=stable,
        panic_seconds=max(BUCKET_SECONDS, float(math.floor(stable * panic / 100 + 0.5))),
        panic_threshold=threshold / 100,
        min_scale=max(0, _integer(said, MIN_SCALE, 0)) if is_reachable else 0,
        max_scale=max(0, _integer(said, MAX_SCALE, 0)),
        initial_scale=max(1, _integer(said, INITIAL_SCALE, 1)),
        activation_scale=max(0, _integer(said, ACTIVATION_SCALE, 0)),
        down_delay_seconds=_within(_seconds(said, SCALE_DOWN_DELAY, 0.0), 0.0, MAX_WINDOW_SECONDS, 0.0),
        retention_seconds=_within(_seconds(said, RETENTION, 0.0), 0.0, MAX_WINDOW_SECONDS, 0.0)
        if is_reachable
        else 0.0,
        burst_capacity=max(-1.0, _number(said, BURST_CAPACITY, 0.0)),
        is_reachable=is_reachable,
        container_concurrency=limit,
        timeout_seconds=max(1.0, _number(said, TIMEOUT_SECONDS, DEFAULT_TIMEOUT_SECONDS)),
        activation_seconds=_seconds(said, PROGRESS_DEADLINE, DEFAULT_DEADLINE_SECONDS)
        + DEADLINE_BUFFER_SECONDS,
    )


def initial_replicas(spec: ScalingSpec) -> int:
    """Return the replicas that a new revision's Deployment is made with; afterwards the scale is not its maker's."""
    least = max(1, spec.min_scale, spec.initial_scale)
    return min(least, spec.max_scale) if spec.max_scale else least


def scaling_annotations(extension: Mapping[str, Any], annotations: Mapping[str, str]) -> dict[str, str]:
    """Return the annotations for a revision of a component: its users' own, and what KServe makes of its fields.

    Source: KServe's pkg/controller/v1alpha1/utils/utils.go (SetAutoScalingAnnotations).
    """
    kept = {k: v for k, v in annotations.items() if k.startswith(f"{GROUP}/") or k == PROGRESS_DEADLINE}
    metric = extension.get("scaleMetric") or kept.get(METRIC, CONCURRENCY)
    made = {CLASS: KPA if metric in DEFAULT_TARGETS else HPA, **kept}
    if extension.get("scaleTarget") is not None:
        made[TARGET] = str(extension["scaleTarget"])
    if extension.get("scaleMetric"):
        made[METRIC] = extension["scaleMetric"]
    least = extension.get("minReplicas")
    made[MIN_SCALE] = str(1 if least is None else least)
    if extension.get("maxReplicas"):
        made[MAX_SCALE] = str(extension["maxReplicas"])
    if extension.get("containerConcurrency"):
        made[CONTAINER_CONCURRENCY] = str(extension["containerConcurrency"])
    if extension.get("timeout"):
        made[TIMEOUT_SECONDS] = str(extension["timeout"])
    return made


def parse_duration(text: str) -> float:
    """Return the seconds of a duration as Go writes it ("1m30s"); raise ValueError."""
    if text in ("0", "+0", "-0"):
        return 0.0
    body, sign = text.lstrip("+-"), -1.0 if text.startswith("-") else 1.0
    parts = _DURATION.findall(body)
    if not parts or "".join(parts) != body or len(text) - len(body) > 1:
        raise ValueError(f"invalid duration {text!r}")
    return sign * sum(_part_seconds(part) for part in parts)


def _part_seconds(part: str) -> float:
    number = part.rstrip("nsuµμmh")
    return float(number) * _UNITS[part[len(number) :]]


def _targets(said: Mapping[str, str], metric: str, limit: int) -> tuple[float, float]:
    """Return what of the metric a pod should have, and can have."""
    total = DEFAULT_TARGETS.get(metric, 100.0)
    if metric == CONCURRENCY and limit:
        total = float(limit)
    if (wanted := _number(said, TARGET, 0.0)) >= MIN_TARGET:
        total = min(wanted, limit) if metric == CONCURRENCY and limit else wanted
    used = _within(_number(said, UTILIZATION, 70.0), 1.0, 100.0, 70.0) / 100
    return max(MIN_TARGET, total * used), total


def _integer(said: Mapping[str, str], key: str, default: int) -> int:
    with suppress(ValueError):
        return min(int(said.get(key, default)), MAX_INT32)
    return default


def _number(said: Mapping[str, str], key: str, default: float) -> float:
    with suppress(ValueError):
        number = float(said.get(key, default))
        return number if math.isfinite(number) else default
    return default


def _seconds(said: Mapping[str, str], key: str, default: float) -> float:
    with suppress(ValueError):
        return parse_duration(said[key]) if key in said else default
    return default


def _within(value: float, least: float, most: float, default: float) -> float:
    return value if least <= value <= most else default
