"""Hyperband: many trials with little of a resource (epochs, samples), the best of them again with more, and so on.

Brackets s = s_max ... 0 trade one for the other. A bracket begins with n = ceil((s_max + 1) * eta**s / (s + 1)) random
trials of r = r_l / eta**s each; of a rung's trials the best ceil(1 / eta) go to the next with eta times the resource,
until it is r_l; then the next bracket begins. Each trial is a run of its own: a rung starts anew.

A trial's labels say its bracket and rung, so all follows from the trials. Where fewer are asked for than a rung has,
the rest comes later; a rung waits for the one before. What `Suggestions.settings` has are upstream's names for where it
is. Rungs, settings and refusals as upstream's (pkg/suggestion/v1beta1/hyperband/service.py), but for n: there each
bracket is as wide as `parallelTrialCount`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proa.ml.tuning.algorithms.seeds import SETTING, make_random
from proa.ml.tuning.algorithms.settings import FIELD, SEED, Setting, check_settings, read_settings
from proa.ml.tuning.algorithms.space import Space
from proa.ml.tuning.records import Problem, Study, Suggested, Suggestions, TrialRecord

NAME = "hyperband"
SETTINGS = {
    "r_l": Setting("float", minimum=1, is_required=True),
    "eta": Setting("float", default=3.0, above=1),
    "resource_name": Setting("text", is_required=True),
    SETTING: SEED,
}
STATE = ("s_max", "b_l", "r", "n", "current_s", "current_i", "evaluating_trials")
"""What it asks to remember, and finds among its settings."""
BRACKET_LABEL = "hyperband.suggestion.katib.kubeflow.org/bracket"
RUNG_LABEL = "hyperband.suggestion.katib.kubeflow.org/rung"


def check(study: Study) -> Sequence[Problem]:
    """Return what is wrong: settings, the resource, too few trials in parallel."""
    written = {name: text for name, text in study.settings.items() if name not in STATE}
    problems = check_settings(NAME, SETTINGS, written)
    if problems:
        return problems
    plan = _Plan.of(study)
    names = [parameter.name for parameter in study.parameters]
    if plan.resource not in names:
        words = f"value of resource_name setting must be in parameters: {plan.resource} is none of {', '.join(names)}"
        problems.append(Problem(FIELD, words))
    widest = math.ceil(plan.eta**plan.s_max)
    if study.parallel < widest:
        words = f"parallelTrialCount must be not less than {widest}; or set r_l less, or eta more"
        problems.append(Problem("spec.parallelTrialCount", words))
    return problems


def suggest(study: Study, count: int, memory: dict[str, Any]) -> Suggestions:
    """Return what there is to do of the current rung; nothing while the one before runs."""
    plan = _Plan.of(study)
    rungs = _group(study.trials)
    bracket, rung = plan.s_max, 0
    while bracket >= 0:
        members = rungs.get((bracket, rung), [])
        wanted = _wanted(plan, rungs, bracket, rung)
        if len(members) < wanted:
            suggested = _fill(study, plan, rungs, (bracket, rung), min(count, wanted - len(members)))
            state = plan.state(bracket, rung, wanted, len(members) + len(suggested))
            return Suggestions(tuple(suggested), settings=state)
        if any(trial.state == "running" for trial in members):
            return Suggestions((), settings=plan.state(bracket, rung, wanted, len(members)))
        bracket, rung = (bracket, rung + 1) if rung < bracket and _rank(study, members) else (bracket - 1, 0)
    return Suggestions((), has_ended=True, settings=plan.state(-1, 0, 0, 0))


@dataclass(frozen=True)
class _Plan:
    r_l: float
    eta: float
    s_max: int
    resource: str

    @staticmethod
    def of(study: Study) -> _Plan:
        settings = read_settings(SETTINGS, study.settings)
        s_max = int(math.log(settings["r_l"]) / math.log(settings["eta"]))
        return _Plan(settings["r_l"], settings["eta"], s_max, settings["resource_name"])

    def width(self, bracket: int) -> int:
        """Return how many trials a bracket begins with."""
        return math.ceil((self.s_max + 1) * self.eta**bracket / (bracket + 1))

    def resource_of(self, bracket: int, rung: int) -> int:
        return max(int(self.r_l * self.eta ** (rung - bracket) + 1e-9), 1)

    def state(self, bracket: int, rung: int, wanted: int, issued: int) -> dict[str, str]:
        """Return where it is, in upstream's words."""
        return {
            "eta": f"{self.eta:g}",
            "s_max": str(self.s_max),
            "r_l": f"{self.r_l:g}",
            "b_l": f"{(self.s_max + 1) * self.r_l:g}",
            "r": f"{self.r_l * self.eta**-bracket:g}" if bracket >= 0 else "0",
            "n": str(wanted),
            "current_s": str(bracket),
            "current_i": str(rung),
            "resource_name": self.resource,
            "evaluating_trials": str(issued),
        }


Rungs = dict[tuple[int, int], list[TrialRecord]]


def _group(trials: Sequence[TrialRecord]) -> Rungs:
    rungs: Rungs = {}
    for trial in trials:
        if BRACKET_LABEL in trial.labels:
            place = int(trial.labels[BRACKET_LABEL]), int(trial.labels[RUNG_LABEL])
            rungs.setdefault(place, []).append(trial)
    return rungs


def _wanted(plan: _Plan, rungs: Rungs, bracket: int, rung: int) -> int:
    """Return how many trials a rung has: of those before that ended with a value, the best part."""
    if rung == 0:
        return plan.width(bracket)
    before = rungs.get((bracket, rung - 1), [])
    return min(math.ceil(len(before) / plan.eta), sum(_has_value(trial) for trial in before))


def _fill(study: Study, plan: _Plan, rungs: Rungs, place: tuple[int, int], count: int) -> list[Suggested]:
    """Return the next trials of a rung: drawn in the first, else the best of the one before that are not there yet."""
    bracket, rung = place
    labels = {BRACKET_LABEL: str(bracket), RUNG_LABEL: str(rung)}
    issued = len(rungs.get(place, []))
    if rung == 0:
        space = Space(study.parameters)
        first = len(study.trials)
        chosen = [space.draw(make_random(study, number)) for number in range(first, first + count)]
    else:
        ranked = _rank(study, rungs[bracket, rung - 1])
        chosen = [dict(trial.assignments) for trial in ranked[issued : issued + count]]
    resource = str(plan.resource_of(bracket, rung))
    return [Suggested({**values, plan.resource: resource}, labels) for values in chosen]


def _rank(study: Study, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials that have a value, the best first."""
    sign = -1.0 if study.objective.is_maximized else 1.0
    return sorted(filter(_has_value, trials), key=lambda trial: sign * (trial.value or 0.0))


def _has_value(trial: TrialRecord) -> bool:
    ended = trial.state in ("succeeded", "early-stopped")
    return ended and trial.value is not None and math.isfinite(trial.value)
