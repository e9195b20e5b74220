"""Population based training: generations of trials that go on from checkpoints of the one before.

The first generation is drawn. Of each that has ended, the worst (`truncation_threshold` of them) go on as one of the
best: with its values, from its checkpoint (exploit). The others go on from their own with other values (explore): each
drawn anew with `resample_probability`, or, without that setting, moved to 0.8 or 1.2 of what it was; a value of a list,
to the one beside it.

A trial's labels say its generation and its parent, the name of the trial whose checkpoint it goes on from: whoever
makes its pod copies that folder of the volume at `suggestion_trial_dir`. A trial that failed is tried again as it was.
All follows from the trials; a generation begins when all of the one before have ended. Settings, labels and refusals as
upstream's (pkg/suggestion/v1beta1/pbt/service.py), which has what exploits go on from its own, worse, checkpoint.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

from proa.ml.tuning.algorithms.seeds import SETTING, make_random
from proa.ml.tuning.algorithms.settings import SEED, Setting, check_settings, read_settings
from proa.ml.tuning.algorithms.space import Dimension, Space
from proa.ml.tuning.records import Problem, Study, Suggested, Suggestions, TrialRecord

NAME = "pbt"
SETTINGS = {
    "suggestion_trial_dir": Setting("text", is_required=True),
    "n_population": Setting("int", minimum=5, maximum=10_000, is_required=True),
    "truncation_threshold": Setting("float", minimum=0, maximum=1, is_required=True),
    "resample_probability": Setting("float", minimum=0, maximum=1),
    SETTING: SEED,
}
GENERATION_LABEL = "pbt.suggestion.katib.kubeflow.org/generation"
PARENT_LABEL = "pbt.suggestion.katib.kubeflow.org/parent"
FACTORS = (0.8, 1.2)
Member = tuple[tuple[tuple[str, str], ...], str]
"""A trial's assignments and its parent: two with the same are one member, tried again."""


def check(study: Study) -> Sequence[Problem]:
    """Return what is wrong with the settings."""
    return check_settings(NAME, SETTINGS, study.settings)


def suggest(study: Study, count: int, memory: dict[str, Any]) -> Suggestions:
    """Return members of the current generation that are to be tried, again or at all."""
    settings = read_settings(SETTINGS, study.settings)
    generations = _group(study.trials)
    current = max(generations, default=0)
    if generations and _has_ended(generations[current], settings["n_population"]):
        current += 1
    plan = _plan(study, settings, generations.get(current - 1, []), current)
    tried = Counter(_member(trial) for trial in generations.get(current, []) if trial.state not in _AGAIN)
    missing = []
    for suggested in plan:
        member = (tuple(sorted(suggested.assignments.items())), suggested.labels.get(PARENT_LABEL, ""))
        if tried[member]:
            tried[member] -= 1
        else:
            missing.append(suggested)
    return Suggestions(tuple(missing[:count]))


_AGAIN = ("failed", "killed", "metrics-unavailable")


def _group(trials: Sequence[TrialRecord]) -> dict[int, list[TrialRecord]]:
    generations: dict[int, list[TrialRecord]] = {}
    for trial in trials:
        if GENERATION_LABEL in trial.labels:
            generations.setdefault(int(trial.labels[GENERATION_LABEL]), []).append(trial)
    return generations


def _has_ended(trials: Sequence[TrialRecord], size: int) -> bool:
    return sum(_has_succeeded(trial) for trial in trials) >= size


def _has_succeeded(trial: TrialRecord) -> bool:
    return trial.state in ("succeeded", "early-stopped")


def _member(trial: TrialRecord) -> Member:
    return tuple(sorted(trial.assignments.items())), trial.labels.get(PARENT_LABEL, "")


def _plan(
    study: Study, settings: dict[str, Any], parents: Sequence[TrialRecord], current: int
) -> list[Suggested]:
    """Return all members of a generation."""
    space = Space(study.parameters)
    random = make_random(study, "generation", current)
    size = settings["n_population"]
    if current == 0:
        drawn = [space.draw(random) for _ in range(size)]
        return [Suggested(values, {GENERATION_LABEL: "0"}) for values in drawn]
    ranked = sorted(filter(_has_succeeded, parents), key=lambda trial: _loss(study, trial))[:size]
    cut = int(size * settings["truncation_threshold"])
    best = ranked[: max(cut, 1)]
    children = []
    for place, trial in enumerate(ranked):
        labels = {GENERATION_LABEL: str(current)}
        if place >= max(size - cut, 1):
            winner = random.choice(best)
            children.append(Suggested(dict(winner.assignments), {**labels, PARENT_LABEL: winner.name}))
        else:
            values = _explore(space, trial, random, settings["resample_probability"])
            children.append(Suggested(values, {**labels, PARENT_LABEL: trial.name}))
    return children


def _loss(study: Study, trial: TrialRecord) -> float:
    if trial.value is None or not math.isfinite(trial.value):
        return math.inf
    return -trial.value if study.objective.is_maximized else trial.value


def _explore(space: Space, trial: TrialRecord, random: Random, probability: float | None) -> dict[str, str]:
    values = dict(trial.assignments)
    for dimension in space.dimensions:
        if probability is None:
            values[dimension.name] = _perturb(dimension, values[dimension.name], random)
        elif random.random() < probability:
            values[dimension.name] = dimension.value(random.random())
    return values


def _perturb(dimension: Dimension, text: str, random: Random) -> str:
    listed = dimension.parameter.values
    if listed:
        index = listed.index(text) + random.choice((-1, 1))
        return listed[index % len(listed)]
    number = float(text) * random.choice(FACTORS)
    low, high = dimension.parameter.minimum, dimension.parameter.maximum
    return dimension.value(dimension.place(repr(min(max(number, low), high))))
