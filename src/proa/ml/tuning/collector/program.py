"""Collect a trial's metrics in its pod: print the training's lines, find values, stop it early, tell all at the end.

It runs beside the training as a sidecar, and is told to end (SIGTERM) when the training has. It reads what is left
then, prints the points and leaves a message (wire.py). It writes nothing else, asks no API and needs no credentials.
Standard library only; what one kind of collector needs is imported for that kind.
"""

from __future__ import annotations

import os
import time

from proa.ml.tuning.collector import ends, wire
from proa.ml.tuning.collector.points import Points
from proa.ml.tuning.collector.printing import write
from proa.ml.tuning.collector.rules import Rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    from proa.ml.tuning.collector.asked import Asked
    from proa.ml.tuning.collector.stopping import Stopper

    class Source(Protocol):
        """Where metrics come from."""

        def poll(self) -> bool:
            """Take in what is new; tell whether there was anything."""

        def end(self, deadline: float) -> None:
            """Take in what is left, until a time (monotonic seconds)."""

        @property
        def note(self) -> str:
            """Say what was not taken in, "" for nothing."""

        def explain(self) -> str:
            """Say where metrics were looked for, and what was there instead."""


DRAIN_SECONDS = 20.0
"""For what is left at the end; a pod has 30 seconds, unless its author says otherwise."""
TERMINATION_LOG = "/dev/termination-log"


class Collector:
    """One trial's collector, by the settings that injection gave it."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._rules = Rules(asked.rules, asked.metrics[0], is_maximized=bool(asked.get("maximized")))
        self._points = Points(asked.metrics, self._rules.hear)
        self._source, self._slowest = make_source(asked, self._points)
        self._is_primary = all(os.environ.get(name) == value for name, value in asked.primary)
        self._stopper: Stopper | None = None
        if asked.get("stop"):
            from proa.ml.tuning.collector.stopping import Stopper

            self._stopper = Stopper(asked.get("stop"))

    def run(self) -> None:
        """Follow the training until this process is told to end; then tell."""
        pause = 0.01
        while True:
            pause = 0.01 if self._source.poll() else min(pause * 1.5, self._slowest)
            if self._stopper is not None and self._is_primary and self._rules.reason:
                self._stop(self._stopper)
            if ends.wait(pause):
                break
        self._source.end(time.monotonic() + DRAIN_SECONDS)
        self._tell()

    def _stop(self, stopper: Stopper) -> None:
        before = stopper.has_stopped
        stopper.stop()
        if stopper.has_stopped and not before:
            write(f"The training is stopped early: {self._rules.reason}\n".encode())

    def _tell(self) -> None:
        outcome, message = self._judge()
        lines: list[str] = []
        if outcome != wire.NOT_PRIMARY:
            series = self._points.series
            lines = list(
                wire.encode_points(self._asked.get("marker"), {m: s.points for m, s in series.items()})
            )
        extremes = {m: s.extremes for m, s in self._points.series.items() if s.count} if lines else {}
        write(f"{message}\n{''.join(lines)}".encode())
        say(self._asked, wire.encode_message(outcome, message, len(lines), extremes))

    def _judge(self) -> tuple[str, str]:
        if not self._is_primary:
            return wire.NOT_PRIMARY, "This pod is not the trial's primary one: its metrics do not count."
        if not self._points.has_objective:
            return (
                wire.NO_METRICS,
                f"Metric {self._points.metrics[0]} was not found: {self._source.explain()}{self._source.note}",
            )
        found = "; ".join(_describe(m, s.count, s.extremes) for m, s in self._points.series.items())
        found += f".{self._source.note}" if self._source.note else ""
        if self._stopper is not None and self._stopper.has_stopped:
            return wire.EARLY_STOPPED, f"Stopped early: {self._rules.reason}. {found}"
        return wire.SUCCEEDED, found


def say(asked: Asked, text: str) -> None:
    """Leave words for whoever looks at the pod's status: they replace earlier ones."""
    try:
        with open(asked.get("message", TERMINATION_LOG), "w") as file:
            file.write(text)
    except OSError as error:
        write(f"This could not be told in the pod's status: {error}\n".encode())


def make_source(asked: Asked, points: Points) -> tuple[Source, float]:
    """Return where metrics are to be read, and how many seconds it may go unread when nothing happens."""
    needs_haste = bool(asked.rules)
    kind = asked.get("kind")
    if kind == "TensorFlowEvent":
        from proa.ml.tuning.collector.sources import EventSource

        return EventSource(asked.get("path"), points), 0.25 if needs_haste else 2.0
    if kind == "PrometheusMetric":
        from proa.ml.tuning.collector.sources import PrometheusSource

        return PrometheusSource(asked, points), 1.0
    from proa.ml.tuning.collector.text_source import TextSource

    return TextSource(asked, points), 0.1 if needs_haste else 0.25


def _describe(metric: str, count: int, extremes: Mapping[str, wire.Point]) -> str:
    if not count:
        return f"{metric}: no value"
    said = ", ".join(f"{name} {point[1]}" for name, point in extremes.items())
    return f"{metric}: {count} value{'s' if count > 1 else ''}, {said}"
