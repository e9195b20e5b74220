"""A study's trials as numbers: their points in the cube (space.py) and their losses, lower being better.

It is kept in the algorithm's memory, and reads only trials that are new or have changed. A value that is not a finite
number is not known. What a trial without a known value stands for (running, failed, without metrics) is the
algorithm's to say: most take it for as bad as the worst (a constant lie), which keeps others away from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proa.ml.tuning.algorithms.space import Space
from proa.ml.tuning.records import Study, TrialRecord

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]


class History:
    """Arrays with a row for each trial, in the order of suggestion."""

    def __init__(self, study: Study) -> None:
        self.parameters = study.parameters
        self.space = Space(study.parameters)
        self._is_maximized = study.objective.is_maximized
        self._trials: list[TrialRecord] = []
        self._points = np.empty((0, len(study.parameters)))
        self._losses = np.empty(0)
        self._runs = np.empty(0, dtype=bool)
        self._tried: dict[tuple[str, ...], int] = {}

    def __len__(self) -> int:
        return len(self._trials)

    @property
    def points(self) -> Floats:
        """float[trials, parameters]; a row of NaN for a trial of another space."""
        return self._points[: len(self)]

    @property
    def losses(self) -> Floats:
        """float[trials], NaN where it is not known."""
        return self._losses[: len(self)]

    @property
    def known(self) -> Booleans:
        """bool[trials]: the point and the loss are known."""
        return ~np.isnan(self.losses) & self.placed

    @property
    def placed(self) -> Booleans:
        """bool[trials]: the point is of this space."""
        placed: Booleans = ~np.isnan(self.points[:, 0])
        return placed

    @property
    def running(self) -> Booleans:
        """bool[trials]: the trial has not ended."""
        return self._runs[: len(self)]

    def update(self, trials: tuple[TrialRecord, ...]) -> None:
        """Take in what the trials are now."""
        self._shorten(len(trials))
        self._grow(len(trials))
        for index, trial in enumerate(trials):
            if index == len(self._trials):
                self._trials.append(trial)
                self._read(index, trial)
            elif trial is not self._trials[index] and trial != self._trials[index]:
                self._tried[self._key(self._trials[index].assignments)] -= 1
                self._trials[index] = trial
                self._read(index, trial)

    def add_pending(self, assignments: Mapping[str, str]) -> None:
        """Add a suggestion as if it ran already, until the next update."""
        self.update((*self._trials, TrialRecord("", assignments, "running")))

    def is_tried(self, assignments: Mapping[str, str]) -> bool:
        """Tell whether a trial has these assignments."""
        return self._tried.get(self._key(assignments), 0) > 0

    def _read(self, index: int, trial: TrialRecord) -> None:
        key = self._key(trial.assignments)
        self._tried[key] = self._tried.get(key, 0) + 1
        try:
            self._points[index] = self.space.place(trial.assignments)
        except ValueError:
            self._points[index] = np.nan
        value = trial.value
        is_known = (
            trial.state in ("succeeded", "early-stopped") and value is not None and math.isfinite(value)
        )
        self._losses[index] = (
            (-value if self._is_maximized else value) if is_known and value is not None else np.nan
        )
        self._runs[index] = trial.state == "running"

    def _shorten(self, length: int) -> None:
        for trial in self._trials[length:]:
            self._tried[self._key(trial.assignments)] -= 1
        del self._trials[length:]

    def _grow(self, length: int) -> None:
        room = len(self._losses)
        if length > room:
            more = max(length - room, room, 64)
            self._points = np.concatenate([self._points, np.empty((more, self._points.shape[1]))])
            self._losses = np.concatenate([self._losses, np.empty(more)])
            self._runs = np.concatenate([self._runs, np.zeros(more, dtype=bool)])

    def _key(self, assignments: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(assignments.get(parameter.name, "") for parameter in self.parameters)


def find_history(study: Study, memory: dict[str, Any]) -> History:
    """Return the history of a study, as of now."""
    history = memory.get("history")
    if not isinstance(history, History) or history.parameters != study.parameters:
        history = memory["history"] = History(study)
    history.update(study.trials)
    return history
