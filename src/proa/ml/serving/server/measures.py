"""What /metrics tells: KServe's histograms by model, by its names and buckets, and the load.

Source: python/kserve/kserve/metrics.py; prometheus_client's default buckets.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import TYPE_CHECKING

from proa.ml.serving.wire.load_counter import LoadCounter
from proa.observability.metrics import Gauge, Histogram, exposition

if TYPE_CHECKING:
    from proa.ml.serving.payloads.logger import PayloadLogger

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

Observe = Callable[[float], None]


class ModelMeasures:
    """One model's, as functions that take a number: labels are looked up once."""

    def __init__(self, measures: Measures, model: str) -> None:
        labels = (model,)
        self.preprocess = _bind(measures.preprocess, labels)
        self.predict = _bind(measures.predict, labels)
        self.postprocess = _bind(measures.postprocess, labels)
        self.explain = _bind(measures.explain, labels)
        self.rows = _bind(measures.rows, labels)


class Measures:
    """All of a server's."""

    def __init__(self, load: LoadCounter, payloads: PayloadLogger | None = None) -> None:
        self.preprocess = _make("request_preprocess_seconds", "pre-process request latency")
        self.predict = _make("request_predict_seconds", "predict request latency")
        self.postprocess = _make("request_postprocess_seconds", "post-process request latency")
        self.explain = _make("request_explain_seconds", "explain request latency")
        self.rows = Histogram("request_batch_rows", "rows of one call of a model", ["model_name"], _ROWS)
        self._load = [
            Gauge("requests_in_hand", "requests that are answered or wait now", lambda: load.in_hand),
            Gauge("requests_total", "requests that came", lambda: load.requests, kind="counter"),
            Gauge(
                "requests_busy_seconds_total",
                "requests in hand, summed up over time",
                lambda: load.read().busy_seconds,
                kind="counter",
            ),
        ]
        if payloads is not None:
            told = payloads
            self._load.append(
                Gauge(
                    "payload_events_total",
                    "payloads that were logged, and those that were not",
                    label="result",
                    read_all=lambda: told.counts._asdict(),
                    kind="counter",
                )
            )
        self._models: dict[str, ModelMeasures] = {}

    def of(self, model: str) -> ModelMeasures:
        """Return a model's, which stay when it goes: counters only grow."""
        found = self._models.get(model)
        if found is None:
            found = self._models[model] = ModelMeasures(self, model)
        return found

    def write(self) -> bytes:
        """Return the text format of Prometheus."""
        histograms = (self.preprocess, self.predict, self.postprocess, self.explain, self.rows)
        return exposition([*(one for one in histograms if one.values), *self._load]).encode()


def _make(name: str, help: str) -> Histogram:
    return Histogram(name, help, ["model_name"], _BOUNDS)


def _bind(histogram: Histogram, labels: tuple[str]) -> Observe:
    """Return what takes in a number under these labels, as Histogram.observe does."""
    bounds = histogram.bounds
    found: list[float] = []

    def observe(number: float) -> None:
        if not found:
            found.extend([0.0] * (len(bounds) + 2))
            histogram.values[labels] = found
        found[bisect_left(bounds, number)] += 1
        found[-1] += number

    return observe
