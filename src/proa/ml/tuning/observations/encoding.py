"""Points of one metric as a row has them, and back: nothing is lost but what is below a microsecond."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from proa.ml.tuning.records import MetricPoint


class Chunk(NamedTuple):
    """Some points in the order in which they were told. Times are microseconds since the epoch."""

    length: int
    since: int
    until: int
    body: str


def microseconds(time: float) -> int:
    """Return a time in seconds as rows have it."""
    return round(time * 1e6)


def encode(points: Sequence[MetricPoint]) -> Chunk:
    """Return a row's words for points of one metric, of which there is at least one."""
    times = [microseconds(point.time) for point in points]
    steps = [times[0], *(later - earlier for earlier, later in pairwise(times))]
    flat = [word for step, point in zip(steps, points, strict=True) for word in (step, point.value)]
    return Chunk(len(points), min(times), max(times), json.dumps(flat, separators=(",", ":")))


def decode(metric: str, body: str) -> list[MetricPoint]:
    """Return the points of a row."""
    flat = json.loads(body)
    points, time = [], 0
    for step, value in zip(flat[::2], flat[1::2], strict=True):
        time += step
        points.append(MetricPoint(time / 1e6, metric, value))
    return points
