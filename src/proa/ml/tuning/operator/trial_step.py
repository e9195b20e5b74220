"""Bring one Trial a step on: its run is made, waited for, its metrics are kept, and then the run is removed.

Each step can be repeated: metrics are kept before the status says so, the status is written before the run is removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.client.protocol import Object
from proa.ml.database.errors import Invalid as TooMuch
from proa.ml.tuning.injection.places import find_places
from proa.ml.tuning.injection.trainjob import is_train_job
from proa.ml.tuning.kinds import EXPERIMENT_LABEL, EXPERIMENTS, TRIAL_LABEL, TRIALS
from proa.ml.tuning.kinds import TrialCondition as Type
from proa.ml.tuning.observations.observation import is_available, make_observation
from proa.ml.tuning.observations.observations import Observed
from proa.ml.tuning.operator import pod_trouble, trial_plan
from proa.ml.tuning.operator.making import ALLOW, CannotMake, NotYet, make_run, remove_before
from proa.ml.tuning.operator.parts import DEADLINE_ANNOTATION, Parts
from proa.ml.tuning.operator.pod_trouble import Trouble
from proa.ml.tuning.operator.reports import Report, find_report, has_stopped_early
from proa.ml.tuning.operator.runs import Runs
from proa.ml.tuning.operator.silence import explain_silence
from proa.ml.tuning.operator.trial_plan import End, Verdict, judge
from proa.ml.tuning.spec.search_space import read_objective
from proa.objects import meta
from proa.objects.errors import Conflict, Forbidden, MethodNotAllowed, NotFound
from proa.objects.gjson_parser import BadPath
from proa.objects.resource import PODS, Resource
from proa.reconcile.informer import Informer
from proa.reconcile.kinds import UnknownKind
from proa.reconcile.protocol import DONE, Context, Result

AGAIN_SECONDS = 1.0
STUCK_SECONDS = 60.0
"""How often a trial in trouble is looked at, at least: others' moving is no event of its own."""


class Step:
    """One reconcile of one Trial, as it was when that began."""

    def __init__(
        self, parts: Parts, context: Context, trial: Object, runs: Runs, owing: dict[str, float]
    ) -> None:
        self._parts = parts
        self._settings = parts.settings
        self._context = context
        self._trial = trial
        self._run_spec: Object = trial["spec"].get("runSpec") or {}
        self._runs = runs
        self._owing = owing
        self._now = context.now()

    # A trial that has ended

    async def clear_away(self) -> Result:
        """Remove the run, unless it is to be kept."""
        self._owing.pop(meta.uid(self._trial), None)
        if self._trial["spec"].get("retainRun"):
            return DONE
        try:
            resource = await self._runs.find_resource(self._run_spec)
            run = (await self._runs.follow(resource)).get(*self._place)
        except (UnknownKind, Forbidden, MethodNotAllowed, NotFound):
            return DONE  # then there was never a run
        if run is None or meta.is_deleting(run) or not meta.is_controlled_by(run, self._trial):
            return DONE
        try:
            await remove_before(self._context.client, self._trial)
            await self._context.client.delete(
                resource, *self._place, propagation_policy="Background", uid=meta.uid(run)
            )
        except (NotFound, Conflict):
            return DONE
        self._tell("Normal", "JobDeleted", f"Job {meta.name(run)} has been deleted")
        return DONE

    # A trial that has not

    async def advance(self) -> Result:
        """Make the run, wait for it, or end the trial."""
        try:
            resource = await self._runs.find_resource(self._run_spec)
            cache = await self._runs.follow(resource)
        except UnknownKind as error:
            return await self._end(Type.FAILED, f"{error}: {_INSTALL}")
        except (Forbidden, MethodNotAllowed, NotFound) as error:
            return await self._end(Type.FAILED, f"{error.message}: {ALLOW}")
        run = cache.get(*self._place)
        if run is None or not meta.is_controlled_by(run, self._trial):
            return await self._without_run(resource, cache, run)
        try:
            verdict = judge(run, self._trial["spec"])
        except BadPath as error:
            return await self._end(
                Type.FAILED, f"spec.trialTemplate: a condition cannot be followed: {error}"
            )
        if verdict.state == "running":
            return await self._wait(run)
        pods = self._pods()
        if verdict.state == "succeeded" or has_stopped_early(pods):
            return await self._collect(run, verdict, pods)
        return await self._fail(run, verdict, pods)

    async def _without_run(self, resource: Resource, cache: Informer, other: Object | None) -> Result:
        name = self._place[0]
        if other is not None and not _is_of_an_earlier(other, self._trial):
            kind = resource.kind
            message = (
                f"{kind} {name} exists, and is not this trial's: delete it, or name the experiment otherwise"
            )
            return await self._end(Type.FAILED, message)
        if other is not None:
            return Result(AGAIN_SECONDS)
        if trial_plan.has_run(self._trial):
            return await self._gone(resource, cache)
        try:
            run = await make_run(
                self._context.client, self._trial, self._experiment, resource, self._settings
            )
        except CannotMake as error:
            return await self._end(Type.FAILED, str(error))
        except NotYet as error:
            return await self._stuck(error.trouble, is_made=False)
        cache.wrote(run)
        self._tell("Normal", "JobCreated", f"Job {name} has been created")
        self._tell("Normal", "JobRunning", f"Job {name} is running")
        await self._write(trial_plan.running(self._trial, None, self._now))
        return Result(self._quiet_seconds)

    async def _gone(self, resource: Resource, cache: Informer) -> Result:
        """End a trial whose run somebody has deleted; the cache may be without it for another reason."""
        try:
            run = await self._context.client.get(resource, *self._place)
        except NotFound:
            message = (
                f"{resource.kind} {self._place[0]} was deleted before it had ended{_hint(self._run_spec)}"
            )
            return await self._end(Type.KILLED, message)
        if meta.labels(run).get(TRIAL_LABEL) == self._place[0]:
            cache.wrote(run)
            return Result(AGAIN_SECONDS)
        message = (
            f"{resource.kind} {self._place[0]} has lost its label {TRIAL_LABEL}, by which it is followed"
        )
        return await self._end(Type.FAILED, message)

    # A run that goes on

    async def _wait(self, run: Object) -> Result:
        pods = self._pods()
        trouble = pod_trouble.find_trouble(pods)
        if trouble is not None:
            return await self._stuck(trouble, is_made=True)
        if (
            not pod_trouble.is_moving(pods)
            and _has_known_pods(run, self._container)
            and not _is_suspended(run)
        ):
            quiet = self._now - meta.parse_time(run["metadata"]["creationTimestamp"])
            if quiet < self._quiet_seconds:
                await self._write(trial_plan.running(self._trial, None, self._now))
                return Result(self._quiet_seconds - quiet + 0.1)
            words = await explain_silence(self._context.client, run, pods, self._container)
            return await self._stuck(words, is_made=True)
        await self._write(trial_plan.running(self._trial, None, self._now))
        return DONE

    async def _stuck(self, trouble: Trouble, *, is_made: bool) -> Result:
        """Say what keeps the trial from starting; end it once nothing in its experiment has moved for too long."""
        known = trial_plan.stuck_since(self._trial)
        if known is None or known[0] != trouble.reason:
            self._tell("Warning", trouble.reason, trouble.message)
            if (experiment := self._experiment) is not None:
                told = f"Trial {self._place[0]}: {trouble.message}"
                self._context.events.event(experiment, "Warning", trouble.reason, told)
        make = trial_plan.running if is_made else trial_plan.waiting
        status = make(self._trial, trouble, self._now)
        deadline = self._deadline_seconds()
        left = trial_plan.seconds_left({**self._trial, "status": status}, self._others(), deadline, self._now)
        if left <= 0:
            end = trial_plan.give_up(trouble, deadline)
            return await self._end(end.type, end.message, reason=end.reason)
        await self._write(status)
        return Result(min(left, STUCK_SECONDS, *(() if is_made else (AGAIN_SECONDS * 5,))))

    @property
    def _quiet_seconds(self) -> float:
        return min(self._settings.quiet_seconds, max(self._deadline_seconds(), AGAIN_SECONDS))

    @property
    def _experiment(self) -> Object | None:
        name = meta.labels(self._trial).get(EXPERIMENT_LABEL, "")
        return self._context.caches(EXPERIMENTS).get(name, self._place[1])

    def _deadline_seconds(self) -> float:
        asked = meta.annotations(self._experiment or {}).get(DEADLINE_ANNOTATION, "")
        return float(asked) if asked.isdecimal() else self._settings.start_deadline_seconds

    def _others(self) -> list[Object]:
        owner = meta.controller_of(self._trial)
        found = self._context.caches(TRIALS).by_index("controller", owner["uid"]) if owner else ()
        return [trial for trial in found if meta.name(trial) != self._place[0]]

    # A run that has ended

    async def _collect(self, run: Object, verdict: Verdict, pods: Sequence[Object]) -> Result:
        uid = meta.uid(self._trial)
        late_at = self._owing.setdefault(uid, self._now) + self._settings.report_seconds
        report = await find_report(
            self._context.client, self._parts.observations, self._trial, pods, is_late=self._now >= late_at
        )
        if report is None:
            return Result(max(late_at - self._now, 0.05))
        objective = read_objective(self._trial["spec"])
        observation = make_observation(objective, report.points)
        if report.origin == "log":
            try:
                await self._parts.observations.record(_observed(self._trial), report.points)
            except TooMuch as error:
                return await self._end(Type.METRICS_UNAVAILABLE, f"Metrics are not available. {error}")
        job = f"Job {meta.name(run)}"
        if report.is_early_stopped:
            self._tell("Normal", "TrialEarlyStopped", f"{job} was stopped early")
            return await self._end(Type.EARLY_STOPPED, "Trial is early stopped", observation=observation)
        if not is_available(objective, observation):
            return await self._without_metrics(job, verdict, report, observation)
        self._tell("Normal", "JobSucceeded", f"{job} has succeeded")
        message = _with_job("Trial has succeeded", verdict)
        return await self._end(Type.SUCCEEDED, message, observation=observation)

    async def _without_metrics(
        self, job: str, verdict: Verdict, report: Report, observation: Object | None
    ) -> Result:
        self._tell("Warning", "MetricsUnavailable", f"Metrics are not available for {job}")
        message = _with_job("Metrics are not available", verdict)
        message = f"{message}. {report.message}" if report.message else message
        return await self._end(Type.METRICS_UNAVAILABLE, message, observation=observation)

    async def _fail(self, run: Object, verdict: Verdict, pods: Sequence[Object]) -> Result:
        words = pod_trouble.describe_failure(pods, self._container)
        told = " ".join(filter(None, (f"Job {meta.name(run)} has failed.", verdict.message, verdict.reason)))
        self._tell("Warning", "JobFailed", told)
        message = _with_job("Trial has failed", verdict)
        return await self._end(Type.FAILED, f"{message}. {words}" if words else message)

    # Writing

    async def _end(
        self, type: Type, message: str, *, reason: str = "", observation: Object | None = None
    ) -> Result:
        status = trial_plan.ended(self._trial, End(type, message, reason, observation), self._now)
        await self._write(status)
        return DONE  # what was written brings it here again, to be cleared away

    async def _write(self, status: Object) -> None:
        if status != self._trial.get("status"):
            await self._context.client.update(TRIALS, {**self._trial, "status": status}, "status")

    def _tell(self, type: str, reason: str, message: str) -> None:
        self._context.events.event(self._trial, type, reason, message)

    @property
    def _place(self) -> tuple[str, str]:
        return meta.name(self._trial), meta.namespace(self._trial)

    @property
    def _container(self) -> str:
        return str(self._trial["spec"].get("primaryContainerName") or "")

    def _pods(self) -> list[Object]:
        """Return the trial's pods; not those of an earlier trial of its name."""
        name, namespace = self._place
        since = self._trial["metadata"].get("creationTimestamp", "")
        found = self._context.caches(PODS, "", TRIAL_LABEL).by_index("label", f"{TRIAL_LABEL}={name}")
        return [
            p for p in found if meta.namespace(p) == namespace and p["metadata"]["creationTimestamp"] >= since
        ]


_INSTALL = "install the operator that has this kind, or use another kind in spec.trialTemplate"


def _hint(run_spec: Object) -> str:
    """Say what may have deleted a run, where its template asks for that."""
    if (run_spec.get("spec") or {}).get("ttlSecondsAfterFinished") is None:
        return ""
    return (
        ", or at once when it had: leave ttlSecondsAfterFinished out of the template, runs are removed anyway"
    )


def _with_job(words: str, verdict: Verdict) -> str:
    return f"{words}. Job message: {verdict.message}" if verdict.message else words


def _observed(trial: Object) -> Observed:
    owner: dict[str, Any] = meta.controller_of(trial) or {}
    return Observed(meta.uid(trial), meta.namespace(trial), meta.name(trial), owner.get("uid", ""))


def _is_of_an_earlier(run: Object, trial: Object) -> bool:
    """Tell whether a run is of a trial that had this one's name: it will be gone soon."""
    owner = meta.controller_of(run)
    return owner is not None and owner.get("kind") == TRIALS.kind and owner.get("name") == meta.name(trial)


def _is_suspended(run: Object) -> bool:
    return bool((run.get("spec") or {}).get("suspend"))


def _has_known_pods(run: Object, container: str) -> bool:
    """Tell whether the run's pods carry the trial's label: they do where its templates could be found."""
    return is_train_job(run) or bool(find_places(run, container))
