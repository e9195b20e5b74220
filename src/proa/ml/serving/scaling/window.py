"""Keep the mean of a rate over the last seconds, and the most of a number: incremental, whatever has been added.

As Knative's pkg/autoscaler/aggregation (bucketing.go, max/window.go): buckets of a second in a ring with a running sum;
the mean of a window that has just begun is over what there is. A rate here holds for a span of time, so that a sample
that comes late, or that was missed, weighs what it should. Times are seconds that only grow.
"""

from __future__ import annotations

import math
from collections import deque

from proa.ml.serving.scaling.annotations import BUCKET_SECONDS


class Window:
    """The mean of a rate over `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._size = max(1, math.ceil(seconds / BUCKET_SECONDS))
        self._amounts = [0.0] * self._size
        self._spans = [0.0] * self._size
        self._amount, self._span = 0.0, 0.0
        self._head = 0

    def add(self, start: float, end: float, rate: float) -> None:
        """Take in that the rate held from `start` to `end`."""
        self._move(_bucket_of(end))
        start = max(start, (self._head - self._size + 1) * BUCKET_SECONDS)
        for bucket in range(math.floor(start / BUCKET_SECONDS), _bucket_of(end) + 1):
            span = min(end, (bucket + 1) * BUCKET_SECONDS) - max(start, bucket * BUCKET_SECONDS)
            if span > 0:
                place = bucket % self._size
                self._amounts[place] += rate * span
                self._spans[place] += span
                self._amount += rate * span
                self._span += span

    def mean(self, now: float) -> float | None:
        """Return the mean of what was added of the window that ends now, None where that is nothing."""
        self._move(_bucket_of(now))
        return round(self._amount / self._span, 6) if self._span > 1e-9 else None

    def _move(self, bucket: int) -> None:
        """Let the window end with this bucket: what is older than the window counts no more."""
        if bucket <= self._head:
            return
        for passed in range(max(self._head + 1, bucket - self._size + 1), bucket + 1):
            place = passed % self._size
            self._amount -= self._amounts[place]
            self._span -= self._spans[place]
            self._amounts[place] = self._spans[place] = 0.0
        if bucket // self._size != self._head // self._size:  # once a round: errors of rounding do not add up
            self._amount, self._span = math.fsum(self._amounts), math.fsum(self._spans)
        self._head = bucket


class MaxWindow:
    """The most of a number over `seconds`: what cannot be the most any more is forgotten at once."""

    def __init__(self, seconds: float) -> None:
        self._size = max(1, math.ceil(seconds / BUCKET_SECONDS))
        self._maxima: deque[tuple[int, int]] = deque()

    def record(self, now: float, value: int) -> int:
        """Take in a value; return the most of the window that ends now."""
        bucket, maxima = _bucket_of(now), self._maxima
        while maxima and maxima[-1][1] <= value:
            maxima.pop()
        if not maxima or maxima[-1][0] < bucket:
            maxima.append((bucket, value))
        while bucket - maxima[0][0] >= self._size:
            maxima.popleft()
        return maxima[0][1]


def _bucket_of(time: float) -> int:
    """Return the bucket that a span which ends then ends in: a full second is the end of one, not the next one's."""
    return math.ceil(time / BUCKET_SECONDS) - 1
