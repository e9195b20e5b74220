"""Ask the algorithm for as many suggestions as an Experiment wants, and keep its answers where Trials are made from.

Watches Suggestions, and Trials that end (some algorithms wait for results); writes the Suggestion's status. What an
algorithm says is in the status before any Trial is made of it. An algorithm that fails ends the Suggestion, with its
words. Source: pkg/controller.v1beta1/suggestion/suggestion_controller.go of kubeflow/katib.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

from proa.client.protocol import Object
from proa.ml.database.errors import Unavailable
from proa.ml.tuning.algorithms.errors import SuggestionError, WorkerLost
from proa.ml.tuning.kinds import EXPERIMENT_LABEL, EXPERIMENTS, SUGGESTIONS, TRIALS
from proa.ml.tuning.operator import remote, suggestion_plan
from proa.ml.tuning.operator.parts import ACCOUNT, Advisor, Parts
from proa.ml.tuning.operator.tally import is_over
from proa.ml.tuning.records import MetricPoint, Problem, Rule, Study
from proa.ml.tuning.spec.search_space import read_objective, read_parameters
from proa.objects import meta
from proa.objects.errors import RequestEntityTooLarge, ServiceUnavailable
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch, no_keys

logger = logging.getLogger(__name__)

FIRST_POINTS = 1000
"""Of each trial, for early stopping: it compares how trials began."""
NOT_READY_SECONDS = 1.0
"""How often it is asked whether an algorithm's own service is ready."""
MOST_AT_ONCE = 500
"""Suggestions of one answer; the rest is asked for when they are written."""
MOST_LOST = 3
"""How often the worker may be lost over one request."""


def _keys_of_trial(trial: Object) -> Iterable[Key]:
    """A trial's Suggestion has its experiment's name."""
    if experiment := meta.labels(trial).get(EXPERIMENT_LABEL):
        yield Key(meta.namespace(trial), experiment)


def _goes_on(old: Object, new: Object) -> bool:
    return is_over(old) == is_over(new)


class SuggestionController:
    """`reconcile.protocol.Controller`; remembers the points that early stopping learns from, and lost workers."""

    NAME = "suggestion"
    ACCOUNT = ACCOUNT
    WATCHES: Sequence[Watch] = (
        Watch(SUGGESTIONS),
        Watch(TRIALS, keys_of=_keys_of_trial, ignores=_goes_on),
        Watch(EXPERIMENTS, keys_of=no_keys),
    )

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lost: dict[Key, int] = {}
        self._records: dict[str, dict[str, suggestion_plan.KnownRecord]] = {}
        self._points: dict[str, dict[str, Sequence[MetricPoint]]] = {}

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Bring one Suggestion to what is asked of it."""
        suggestion = context.caches(SUGGESTIONS).get(key.name, key.namespace)
        experiment = context.caches(EXPERIMENTS).get(key.name, key.namespace)
        if (
            suggestion is None
            or experiment is None
            or not meta.is_controlled_by(suggestion, experiment)
            or meta.is_deleting(suggestion)
            or suggestion_plan.is_over(suggestion)
        ):
            self._forget(key, experiment)
            if (
                suggestion is not None
                and suggestion_plan.is_over(suggestion)
                and remote.was_deployed(suggestion)
            ):
                await remote.remove(context.client, suggestion)
            return DONE
        wanted = suggestion_plan.missing(suggestion)
        if not wanted and suggestion_plan.is_running(suggestion):
            return DONE
        result = DONE
        try:
            status = await self._ask(context, suggestion, experiment, wanted, key)
        except remote.NotReady as why:
            seconds = self._parts.settings.start_deadline_seconds
            status = suggestion_plan.waiting(suggestion, str(why), context.now(), seconds)
            result = Result(requeue_after=NOT_READY_SECONDS)
        try:
            await _write(context, suggestion, status)
        except RequestEntityTooLarge:
            full = suggestion_plan.failed(suggestion, suggestion_plan.too_many(suggestion), context.now())
            await _write(context, suggestion, full)
        return result

    async def _ask(
        self, context: Context, suggestion: Object, experiment: Object, wanted: int, key: Key
    ) -> Object:
        """Return the status that the Suggestion is to have; raise ServiceUnavailable where another try may help."""
        trials = {
            meta.name(t): t for t in context.caches(TRIALS).by_index("controller", meta.uid(experiment))
        }
        spec, known = experiment["spec"], self._records.setdefault(meta.uid(experiment), {})
        objective = read_objective(spec)
        study = suggestion_plan.make_study(
            experiment, suggestion, read_parameters(spec), objective, trials, known
        )
        algorithm, advisor = suggestion_plan.algorithm_of(suggestion), self._parts.advisor
        try:
            if remote.is_remote(suggestion):
                found = (self._parts.dial, advisor, suggestion, experiment, trials)
                advisor = await remote.find_advisor(context.client, *found)
                suggestion = suggestion_plan.deployed(suggestion, context.now())
            if not suggestion_plan.is_running(suggestion):
                problems = await self._check(advisor, suggestion, algorithm, study)
                if problems:
                    words = "; ".join(f"{problem.field}: {problem.message}" for problem in problems)
                    return suggestion_plan.failed(suggestion, f"Validation failed: {words}", context.now())
            answer = await advisor.suggest(algorithm, study, min(wanted, MOST_AT_ONCE)) if wanted else None
            if answer is not None and suggestion_plan.leads_nowhere(answer, study):
                words = f"{algorithm} suggested nothing, though no trial is under way that it could wait for"
                return suggestion_plan.failed(suggestion, words, context.now())
            rules = (
                await self._rules(advisor, suggestion, study, trials) if answer and answer.suggested else ()
            )
        except Unavailable as error:
            raise ServiceUnavailable(f"observations wait for their database: {error}") from error
        except WorkerLost as error:
            self._lost[key] = lost = self._lost.get(key, 0) + 1
            if lost < MOST_LOST:
                raise ServiceUnavailable(str(error)) from error
            return suggestion_plan.failed(suggestion, f"{algorithm}: {error}", context.now())
        except SuggestionError as error:
            return suggestion_plan.failed(suggestion, str(error), context.now())
        self._lost.pop(key, None)
        if answer is None:
            return suggestion_plan.begun(suggestion, context.now())
        return suggestion_plan.answered(suggestion, experiment, answer, rules, context.now())

    def _forget(self, key: Key, experiment: Object | None) -> None:
        self._lost.pop(key, None)
        if experiment is not None:
            self._points.pop(meta.uid(experiment), None)
            self._records.pop(meta.uid(experiment), None)

    async def _check(
        self, advisor: Advisor, suggestion: Object, algorithm: str, study: Study
    ) -> Sequence[Problem]:
        problems = await advisor.check(algorithm, study)
        early = suggestion["spec"].get("earlyStopping")
        if problems or not early:
            return problems
        return await advisor.check_early_stopping(early["algorithmName"], suggestion_plan.settings_of(early))

    async def _rules(
        self, advisor: Advisor, suggestion: Object, study: Study, trials: Mapping[str, Object]
    ) -> Sequence[Rule]:
        early = suggestion["spec"].get("earlyStopping")
        if not early:
            return ()
        known = self._points.setdefault(study.key, {})
        uids = suggestion_plan.finished_uids(trials.values())
        new = {uid: name for name, uid in uids.items() if name not in known}
        read = await self._parts.observations.read_many([*new], study.objective.metric, first=FIRST_POINTS)
        known.update({name: read.get(uid, ()) for uid, name in new.items()})
        settings = suggestion_plan.settings_of(early)
        return await advisor.rules(early["algorithmName"], study, settings, known)


async def _write(context: Context, suggestion: Object, status: Object) -> None:
    """Write the status over the one that it was made from, though the specification may have changed meanwhile."""
    latest = context.caches(SUGGESTIONS).get(meta.name(suggestion), meta.namespace(suggestion))
    if latest is None or meta.uid(latest) != meta.uid(suggestion) or latest.get("status") == status:
        return
    base = latest if latest.get("status") == suggestion.get("status") else suggestion
    await context.client.update(SUGGESTIONS, {**base, "status": status}, "status")
