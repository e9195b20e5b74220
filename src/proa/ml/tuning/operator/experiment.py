"""Keep as many of an Experiment's Trials running as it wants, until its goal, its maximum or the end is reached.

Watches Experiments, their Trials and Suggestions; writes Trials, the Suggestion and the Experiment's status. Everything
made is owned by the Experiment, so that all goes with it. What is wrong with an Experiment ends it before anything is
made. Source: pkg/controller.v1beta1/experiment/experiment_controller.go of kubeflow/katib.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from proa.client.protocol import Object
from proa.ml.database.errors import Unavailable
from proa.ml.tuning.kinds import EXPERIMENT_LABEL, EXPERIMENTS, SUGGESTIONS, TRIALS
from proa.ml.tuning.kinds import ExperimentCondition as Type
from proa.ml.tuning.operator import conditions, experiment_plan
from proa.ml.tuning.operator.experiment_plan import Plan, plan, refuse
from proa.ml.tuning.operator.parts import ACCOUNT, Parts
from proa.ml.tuning.operator.tally import Summaries, state_of, summarise
from proa.ml.tuning.operator.template import BadTemplate, find_text
from proa.ml.tuning.operator.trial_object import make_trial, rehearse
from proa.ml.tuning.spec.checks import check_experiment
from proa.ml.tuning.spec.defaults import with_defaults
from proa.ml.tuning.spec.search_space import read_objective
from proa.objects import meta
from proa.objects.errors import AlreadyExists, Conflict, NotFound
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 1.0
REST_SECONDS = 0.2
"""Between two writes of a status that differs only in counts: trials come and go in bursts."""


def _keys_of_owned(obj: Object) -> Iterable[Key]:
    owner = meta.controller_of(obj)
    if owner is not None and owner.get("kind") == EXPERIMENTS.kind:
        yield Key(meta.namespace(obj), owner["name"])


def _is_same_trial(old: Object, new: Object) -> bool:
    """Tell whether a trial's change says nothing to its experiment."""
    if state_of(old) != state_of(new) or meta.is_deleting(old) != meta.is_deleting(new):
        return False
    return bool(_observation(old) == _observation(new))


def _observation(trial: Object) -> Any:
    return (trial.get("status") or {}).get("observation")


class ExperimentController:
    """`reconcile.protocol.Controller`; remembers what it has read of each Trial."""

    NAME = "experiment"
    ACCOUNT = ACCOUNT
    WATCHES: Sequence[Watch] = (
        Watch(EXPERIMENTS),
        Watch(TRIALS, keys_of=_keys_of_owned, ignores=_is_same_trial),
        Watch(SUGGESTIONS, keys_of=_keys_of_owned),
    )

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._known: dict[Key, tuple[str, Summaries]] = {}
        self._wrote: dict[Key, float] = {}

    async def run(self, context: Context, enqueue: Callable[[Key], None]) -> None:
        """Forget what trials told whose experiments went while nobody watched."""
        while True:
            try:
                known = await self._parts.observations.experiment_uids()
                there = {meta.uid(experiment) for experiment in context.caches(EXPERIMENTS).list()}
                for uid in known - there:
                    await self._parts.observations.delete_experiment(uid)
                return
            except Unavailable as error:
                logger.warning("observations wait for their database: %s", error)
            await asyncio.sleep(AGAIN_SECONDS)

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Bring one Experiment a step on."""
        written = context.caches(EXPERIMENTS).get(key.name, key.namespace)
        if written is None or meta.is_deleting(written):
            try:
                await self._forget(key)
            except Unavailable as error:
                logger.warning("observations wait for their database: %s", error)
                return Result(AGAIN_SECONDS)
            return DONE
        if not conditions.has((written.get("status") or {}).get("conditions") or (), Type.CREATED):
            problem = await _find_problem(context, written)
            if problem:
                return await self._write(context, key, written, refuse(written, problem, context.now()))
        experiment = with_defaults(written)
        objective = read_objective(experiment["spec"])
        trials = context.caches(TRIALS).by_index("controller", meta.uid(written))
        summaries = summarise(trials, objective, self._recall(key, meta.uid(written)))
        self._known[key] = (meta.uid(written), summaries)
        suggestion = context.caches(SUGGESTIONS).get(key.name, key.namespace)
        if suggestion is not None and not meta.is_controlled_by(suggestion, written):
            if _is_of_an_earlier(suggestion):
                return Result(AGAIN_SECONDS)
            words = f"Suggestion {key.name} exists and is not this experiment's: delete it"
            return await self._write(context, key, written, refuse(experiment, words, context.now()))
        decided = plan(experiment, objective, summaries, suggestion, context.now())
        try:
            await self._act(context, experiment, suggestion, decided)
        except BadTemplate as error:
            decided = refuse(experiment, str(error), context.now())
        return await self._write(context, key, written, decided)

    async def _act(
        self, context: Context, experiment: Object, suggestion: Object | None, decided: Plan
    ) -> None:
        namespace = meta.namespace(experiment)
        for name in decided.delete:
            try:
                await context.client.delete(TRIALS, name, namespace, propagation_policy="Background")
            except NotFound:
                continue
        if decided.suggestion_status is not None and suggestion is not None:
            status = {**suggestion, "status": decided.suggestion_status}
            await context.client.update(SUGGESTIONS, status, "status")
        if decided.requests is not None:
            await _request(context, experiment, suggestion, decided.requests)
        if decided.create:
            await self._create(context, experiment, decided.create)

    async def _create(self, context: Context, experiment: Object, assignments: Sequence[Object]) -> None:
        text = await find_text(context.client, experiment)
        trials = [make_trial(experiment, text, assignment) for assignment in assignments]
        at_once = asyncio.Semaphore(self._parts.settings.create_at_once)

        async def create(trial: Object) -> None:
            async with at_once:
                try:
                    await context.client.create(TRIALS, trial, meta.namespace(experiment))
                except AlreadyExists:
                    await _see_existing(context, trial)

        await asyncio.gather(*map(create, trials))

    def _recall(self, key: Key, uid: str) -> Summaries:
        known = self._known.get(key)
        return known[1] if known is not None and known[0] == uid else {}

    async def _forget(self, key: Key) -> None:
        """Forget what its trials told, too, once the Experiment goes."""
        self._wrote.pop(key, None)
        if (known := self._known.get(key)) is not None:
            await self._parts.observations.delete_experiment(known[0])
            self._known.pop(key, None)

    async def _write(self, context: Context, key: Key, experiment: Object, decided: Plan) -> Result:
        """Write the status where it is another; only counts that change may rest a little."""
        if decided.status == (experiment.get("status") or {}):
            return DONE
        left = self._wrote.get(key, 0.0) + REST_SECONDS - context.now()
        if 0 < left <= REST_SECONDS and _is_same_condition(decided.status, experiment):
            return Result(left)
        self._wrote[key] = context.now()
        await context.client.update(EXPERIMENTS, {**experiment, "status": decided.status}, "status")
        return DONE


def _is_same_condition(status: Object, experiment: Object) -> bool:
    return bool(status.get("conditions") == (experiment.get("status") or {}).get("conditions"))


async def _request(context: Context, experiment: Object, suggestion: Object | None, requests: int) -> None:
    """Ask for so many suggestions altogether."""
    namespace = meta.namespace(experiment)
    if suggestion is not None:
        patch = {
            "metadata": {"resourceVersion": meta.resource_version(suggestion)},
            "spec": {"requests": requests},
        }
        await context.client.patch(SUGGESTIONS, meta.name(suggestion), patch, namespace)
        return
    made = {
        "apiVersion": SUGGESTIONS.api_version,
        "kind": SUGGESTIONS.kind,
        "metadata": {
            "name": meta.name(experiment),
            "namespace": namespace,
            "labels": {**meta.labels(experiment), EXPERIMENT_LABEL: meta.name(experiment)},
            "ownerReferences": [meta.make_owner_reference(experiment, EXPERIMENTS)],
        },
        "spec": experiment_plan.make_suggestion_spec(experiment, requests),
    }
    try:
        await context.client.create(SUGGESTIONS, made, namespace)
    except AlreadyExists:
        raise Conflict(f"Suggestion {meta.name(experiment)} is there already") from None


async def _see_existing(context: Context, trial: Object) -> None:
    """Take in a Trial that the cache was without; refuse one that is somebody else's."""
    name, namespace = meta.name(trial), meta.namespace(trial)
    found = await context.client.get(TRIALS, name, namespace)
    owner = meta.controller_of(trial) or {}
    if (meta.controller_of(found) or {}).get("uid") != owner.get("uid") and not meta.is_deleting(found):
        raise BadTemplate(f"Trial {name} exists and is not this experiment's: delete it")
    context.caches(TRIALS).wrote(found)


def _is_of_an_earlier(suggestion: Object) -> bool:
    """Tell whether a Suggestion is of an experiment that had this one's name: it will be gone soon."""
    owner = meta.controller_of(suggestion) or {}
    named = owner.get("kind") == EXPERIMENTS.kind and owner.get("name") == meta.name(suggestion)
    return named or meta.is_deleting(suggestion)


async def _find_problem(context: Context, experiment: Object) -> str:
    """Return what is wrong with an Experiment, "" for nothing."""
    problems = check_experiment(experiment)
    if not problems:
        try:
            text = await find_text(context.client, experiment)
            problems = [] if text is None else check_experiment(experiment, text)
            problems = problems or rehearse(experiment, text)
        except BadTemplate as error:
            return str(error)
    return "; ".join(f"{problem.field}: {problem.message}" for problem in problems)
