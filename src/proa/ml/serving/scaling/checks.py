"""Say what is wrong with the autoscaling annotations of a component, in Knative's words. Pure.

Source: pkg/apis/autoscaling/annotation_validation.go of Knative Serving.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress

from proa.ml.serving.scaling.annotations import (
    ACTIVATION_SCALE,
    BURST_CAPACITY,
    CLASS,
    DEFAULT_TARGETS,
    HPA,
    INITIAL_SCALE,
    KPA,
    MAX_INT32,
    MAX_SCALE,
    MAX_WINDOW_SECONDS,
    METRIC,
    MIN_SCALE,
    MIN_TARGET,
    MIN_WINDOW_SECONDS,
    PANIC_THRESHOLD,
    PANIC_WINDOW,
    RETENTION,
    SCALE_DOWN_DELAY,
    TARGET,
    UTILIZATION,
    WINDOW,
    parse_duration,
)

_WHOLE = re.compile(r"[+-]?\d{1,12}")


def check_annotations(annotations: Mapping[str, str]) -> list[str]:
    """Return what is wrong with the annotations, in Knative's words, each with its key; [] if nothing is."""
    checks: list[tuple[str, Callable[[str], str]]] = [
        (MIN_SCALE, _check_count),
        (MAX_SCALE, _check_count),
        (PANIC_WINDOW, lambda text: _check_number(text, 1, 100)),
        (PANIC_THRESHOLD, lambda text: _check_number(text, 110, 1000)),
        (UTILIZATION, lambda text: _check_number(text, 1, 100)),
        (TARGET, _check_target),
        (BURST_CAPACITY, _check_burst_capacity),
        (WINDOW, lambda text: _check_duration(text, "6s", MIN_WINDOW_SECONDS, is_whole=True)),
        (SCALE_DOWN_DELAY, lambda text: _check_duration(text, "0s", 0.0, is_whole=True)),
        (RETENTION, lambda text: _check_duration(text, "0s", 0.0, is_whole=False)),
        (INITIAL_SCALE, _check_initial_scale),
    ]
    found = [
        f"{wrong}: {key}"
        for key, check in checks
        if key in annotations and (wrong := check(annotations[key]))
    ]
    return [*found, *_check_together(annotations)]


def _check_count(text: str) -> str:
    if not _WHOLE.fullmatch(text):
        return f"invalid value: {text}"
    return "" if 0 <= int(text) <= MAX_INT32 else f"expected 0 <= {text} <= {MAX_INT32}"


def _check_number(text: str, least: float, most: float) -> str:
    number = _parse_number(text)
    if number is None:
        return f"invalid value: {text}"
    return "" if least <= number <= most else f"expected {least:g} <= {text} <= {most:g}"


def _check_target(text: str) -> str:
    number = _parse_number(text)
    if number is None:
        return f"invalid value: {text}"
    return "" if number >= MIN_TARGET else f"target {text} should be at least {MIN_TARGET:g}"


def _check_burst_capacity(text: str) -> str:
    number = _parse_number(text)
    return "" if number is not None and (number >= 0 or number == -1) else f"invalid value: {text}"


def _check_initial_scale(text: str) -> str:
    if not _WHOLE.fullmatch(text):
        return f"invalid value: {text}"
    return "" if int(text) > 0 else f"invalid value: {text}"


def _check_duration(text: str, least: str, least_seconds: float, *, is_whole: bool) -> str:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return f"invalid value: {text}"
    if not least_seconds <= seconds <= MAX_WINDOW_SECONDS:
        return f"expected {least} <= {text} <= 1h0m0s"
    return "must be specified with at most second precision" if is_whole and seconds % 1 else ""


def _check_together(annotations: Mapping[str, str]) -> list[str]:
    """Return what is wrong with the limits beside one another, and with the metric of the class."""
    least, most = (_count(annotations.get(key, "0")) for key in (MIN_SCALE, MAX_SCALE))
    found = []
    if most and most < least:
        found.append(f"max-scale={most} is less than min-scale={least}: {MAX_SCALE}, {MIN_SCALE}")
    if ACTIVATION_SCALE in annotations:
        found += _check_activation_scale(annotations[ACTIVATION_SCALE], least, most)
    kind, metric = annotations.get(CLASS, KPA), annotations.get(METRIC)
    if kind.endswith(".knative.dev") and kind not in (KPA, HPA):
        found.append(f"invalid value: {kind}: {CLASS}")
    if metric is not None and (
        (kind == KPA and metric not in DEFAULT_TARGETS) or (kind == HPA and not metric)
    ):
        found.append(f"invalid value: {metric}: {METRIC}")
    return found


def _check_activation_scale(text: str, least: int, most: int) -> list[str]:
    if not _WHOLE.fullmatch(text):
        return [f"invalid value: {text}: {ACTIVATION_SCALE}"]
    number = int(text)
    if least > number:
        return [f"min-scale={least} is greater than activation-scale={number}: {ACTIVATION_SCALE}"]
    if 0 < most < number:
        return [f"max-scale={most} is less than activation-scale={number}: {ACTIVATION_SCALE}"]
    return [f"activation-scale={number} must be greater than 1: {ACTIVATION_SCALE}"] if number < 2 else []


def _parse_number(text: str) -> float | None:
    with suppress(ValueError):
        return float(text)
    return None


def _count(text: str) -> int:
    return int(text) if _WHOLE.fullmatch(text) else 0
