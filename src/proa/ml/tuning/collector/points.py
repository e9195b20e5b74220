"""The points that were found: of each metric a bounded number, and the least, greatest and latest of all there were."""

from __future__ import annotations

import time

from proa.ml.tuning.collector.wire import MAX_POINTS, MAX_VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proa.ml.tuning.collector.wire import Point


class Clock:
    """The time, in seconds since the epoch, that never goes back: what comes later is later, whoever sets the clock."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()
        self._last = 0.0

    def __call__(self) -> float:
        """Return the time, a microsecond later than the last one at least."""
        now = round(self._offset + time.monotonic(), 6)
        if now <= self._last:
            now = round(self._last + 1e-6, 6)
        self._last = now
        return now


class Series:
    """One metric. When it is full, every second point goes, and from then on every second one comes in."""

    def __init__(self) -> None:
        self.count = 0
        self._points: list[Point] = []
        self._stride = 1
        self._least: tuple[float, Point] | None = None
        self._greatest: tuple[float, Point] | None = None
        self._latest: Point | None = None

    def add(self, point: Point, number: float | None) -> None:
        """Take a point in, and the number that its value is."""
        if self.count % self._stride == 0:
            if len(self._points) >= MAX_POINTS - 3:  # and the extremes
                del self._points[1::2]
                self._stride *= 2
            if self.count % self._stride == 0:
                self._points.append(point)
        self.count += 1
        if self._latest is None or point[0] >= self._latest[0]:
            self._latest = point
        if number is None:
            return
        if self._least is None or number < self._least[0]:
            self._least = number, point
        if self._greatest is None or number > self._greatest[0]:
            self._greatest = number, point

    @property
    def points(self) -> list[Point]:
        """Return what was kept, by time, the extremes included."""
        thinned_out = [point for point in self.extremes.values() if point not in self._points]
        return sorted(self._points + thinned_out, key=lambda point: point[0])

    @property
    def extremes(self) -> dict[str, Point]:
        """Return the points that an observation is made of."""
        found = {} if self._latest is None else {"latest": self._latest}
        if self._least is not None and self._greatest is not None:
            found |= {"min": self._least[1], "max": self._greatest[1]}
        return found


class Points:
    """The points of all metrics that are looked for, the objective's first. `heard` is told each as it comes."""

    def __init__(self, metrics: Sequence[str], heard: Callable[[str, float], None]) -> None:
        self.metrics = tuple(dict.fromkeys(metrics))
        self.series = {metric: Series() for metric in self.metrics}
        self._heard = heard
        self.now = Clock()

    def add(self, metric: str, value: str, at: float | None = None) -> None:
        """Take a value in, if the metric is looked for; without a time of its own it is of now."""
        series = self.series.get(metric)
        if series is None or not value:
            return
        number = as_number(value)
        series.add((self.now() if at is None else at, value[:MAX_VALUE]), number)
        if number is not None:
            self._heard(metric, number)

    def clear(self) -> None:
        """Forget all: the training has begun anew."""
        self.series = {metric: Series() for metric in self.metrics}

    @property
    def has_objective(self) -> bool:
        """Tell whether the objective's metric was found."""
        return self.series[self.metrics[0]].count > 0


def as_number(text: str) -> float | None:
    """Return a value as a number; None for what is none, or not a number (nan)."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number == number else None
