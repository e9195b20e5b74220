"""Remember what the worker was told of each study, so that it is told what is new alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from proa.ml.tuning.algorithms import wire
from proa.ml.tuning.records import MetricPoint, Study, TrialRecord

MAX_STUDIES = 256


class _Told:
    def __init__(self) -> None:
        self.revision = 0
        self.trials: list[TrialRecord] = []
        self.points: dict[str, int] = {}


class SentStudies:
    """What one worker process has been told; a new process has been told nothing."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, _Told] = OrderedDict()

    def clear(self) -> None:
        """Forget all: there is a new worker."""
        self._told.clear()

    def forget(self, key: str) -> None:
        """Forget a study: its next request says all of it."""
        self._told.pop(key, None)

    def say_study(
        self, study: Study, points: Mapping[str, Sequence[MetricPoint]] | None = None
    ) -> dict[str, Any]:
        """Return a request's `study`: its head and what is new of its trials and their points."""
        told = self._told.setdefault(study.key, _Told())
        self._told.move_to_end(study.key)
        while len(self._told) > MAX_STUDIES:
            self._told.popitem(last=False)
        base, told.revision = told.revision, told.revision + 1
        said = {
            "key": study.key,
            "base": base,
            "head": wire.study_head(study),
            "size": len(study.trials),
            "trials": _say_trials(told, study.trials),
        }
        if points is not None:
            said["points"] = wire.points_body(_find_new(told, points))
        return said


def _say_trials(told: _Told, trials: Sequence[TrialRecord]) -> list[list[Any]]:
    known = told.trials
    del known[len(trials) :]
    shared = len(known)
    changed = [
        index
        for index, trial in enumerate(trials[:shared])
        if trial is not known[index] and trial != known[index]
    ]
    known[:] = trials
    return [[index, *wire.trial_line(trials[index])] for index in (*changed, *range(shared, len(trials)))]


def _find_new(told: _Told, points: Mapping[str, Sequence[MetricPoint]]) -> dict[str, Sequence[MetricPoint]]:
    """Return the points of trials that have more or fewer than were told."""
    new = {name: some for name, some in points.items() if told.points.get(name) != len(some)}
    told.points.update({name: len(some) for name, some in new.items()})
    return new
