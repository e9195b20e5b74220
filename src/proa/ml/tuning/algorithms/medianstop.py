"""The median stopping rule: stop a trial whose objective is worse than what trials have usually been at that step.

Of each trial that succeeded its mean over the first `start_step` points is taken, of these the median. A trial that
starts later is stopped once it has reported `start_step` points and its best is still on the wrong side of it (the
collector compares). There is no rule before `min_trials_required` trials have succeeded.
Settings as upstream's (pkg/earlystopping/v1beta1/medianstop/service.py), which takes the mean of the means.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from proa.ml.tuning.algorithms.settings import EARLY_STOPPING_FIELD, Setting, check_settings, read_settings
from proa.ml.tuning.records import Comparison, MetricPoint, Problem, Rule, Study

NAME = "medianstop"
SETTINGS = {
    "min_trials_required": Setting("int", default=3, minimum=1),
    "start_step": Setting("int", default=4, minimum=1),
}


def check(settings: Mapping[str, str]) -> Sequence[Problem]:
    """Return what is wrong with the settings."""
    return check_settings(NAME, SETTINGS, settings, EARLY_STOPPING_FIELD)


def rules(
    study: Study, settings: Mapping[str, str], points: Mapping[str, Sequence[MetricPoint]]
) -> Sequence[Rule]:
    """Return the rule for the objective, none while too few trials have succeeded."""
    values = read_settings(SETTINGS, settings)
    succeeded = [trial.name for trial in study.trials if trial.state == "succeeded"]
    means = [
        mean
        for name in succeeded
        if (mean := _mean(points.get(name, ()), study.objective.metric, values["start_step"])) is not None
    ]
    if len(means) < values["min_trials_required"]:
        return ()
    comparison: Comparison = "less" if study.objective.is_maximized else "greater"
    return (Rule(study.objective.metric, repr(statistics.median(means)), comparison, values["start_step"]),)


def _mean(points: Sequence[MetricPoint], metric: str, count: int) -> float | None:
    """Return the mean of the first points that are numbers, None where there is none."""
    numbers = [
        number for point in points if point.metric == metric and (number := _number(point.value)) is not None
    ]
    return statistics.fmean(numbers[:count]) if numbers else None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
