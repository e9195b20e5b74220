"""Answer Katib's DBManager: take what trials push, tell what is known, to those whose it is.

Upstream asks nobody who they are. Here a pod may push for the trial that it belongs to (or, where its labels do not
say, a trial of its namespace) while that trial runs and its collector is Push or Custom; it may read what its
namespace's trials told. This machine's user may do both, and delete, for any trial, by the loopback. A trial is found
by its name in the caller's namespace, or as `namespace/name`.

Source: cmd/db-manager/v1beta1/main.go of kubeflow/katib.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from proa.client.protocol import Client, Object
from proa.ml.database.errors import Invalid, Unavailable
from proa.ml.grpc.codec import Message
from proa.ml.grpc.connection import Caller
from proa.ml.grpc.server import Method
from proa.ml.grpc.status import CallFailed, Code
from proa.ml.tuning.grpc.callers import is_own_user
from proa.ml.tuning.grpc.messages import DB_MANAGER, HEALTH
from proa.ml.tuning.grpc.times import read_time, write_time
from proa.ml.tuning.kinds import TRIAL_LABEL, TRIALS
from proa.ml.tuning.kinds import TrialCondition as Type
from proa.ml.tuning.observations.observations import Observations, Observed
from proa.ml.tuning.records import MetricPoint
from proa.objects import meta
from proa.objects.errors import ApiError, NotFound

COLLECTORS = ("Push", "Custom")
"""Kinds of collectors by which a trial tells its metrics itself."""
_OVER = (Type.SUCCEEDED, Type.KILLED, Type.FAILED, Type.METRICS_UNAVAILABLE, Type.EARLY_STOPPED)
_SHOWN = 5


class PodFinder(Protocol):
    """`callers.Callers`."""

    async def find_pod(self, caller: Caller) -> Object | None: ...


class DbManager:
    """The methods. `client` reads Trials and pods."""

    def __init__(
        self,
        client: Client,
        observations: Observations,
        pods: PodFinder,
        *,
        is_own_user: Callable[[Caller], Awaitable[bool]] = is_own_user,
        pushed: Callable[[Object], None] = lambda trial: None,
    ) -> None:
        """`pushed` hears of each trial that has told something."""
        self._client = client
        self._observations = observations
        self._pods = pods
        self._is_own_user = is_own_user
        self._pushed = pushed

    @property
    def methods(self) -> dict[str, Method]:
        """Return what a server serves."""
        return {
            f"/{DB_MANAGER}/ReportObservationLog": _answering(self.report),
            f"/{DB_MANAGER}/GetObservationLog": _answering(self.get),
            f"/{DB_MANAGER}/DeleteObservationLog": _answering(self.delete),
            f"/{HEALTH}/Check": _answering(self.check),
        }

    async def report(self, request: Message, caller: Caller) -> Message:
        """Add points to what a running trial has told."""
        points = [
            _read_point(number, entry)
            for number, entry in enumerate((request["observation_log"] or {}).get("metric_logs", ()))
            if entry["time_stamp"]  # upstream skips those without
        ]
        trial = await self._find_trial(request["trial_name"], caller, is_writing=True)
        _check_may_push(trial)
        await self._observations.add(_observed(trial), points)
        self._pushed(trial)
        return {}

    async def get(self, request: Message, caller: Caller) -> Message:
        """Return a trial's points by time."""
        times = {name: _read_range(name, request[name]) for name in ("start_time", "end_time")}
        trial = await self._find_trial(request["trial_name"], caller, is_writing=False)
        points = await self._observations.read(
            meta.uid(trial), request["metric_name"], since=times["start_time"], until=times["end_time"]
        )
        logs = [
            {
                "time_stamp": write_time(point.time),
                "metric": {"name": point.metric, "value": point.value.encode(errors="replace").decode()},
            }
            for point in points
        ]
        return {"observation_log": {"metric_logs": logs}}

    async def delete(self, request: Message, caller: Caller) -> Message:
        """Forget what a trial told; for this machine's user alone."""
        if not caller.is_host:
            words = "what a trial told goes with the trial: kubectl delete trial"
            raise CallFailed(Code.PERMISSION_DENIED, words)
        trial = await self._find_trial(request["trial_name"], caller, is_writing=False)
        await self._observations.delete([meta.uid(trial)])
        return {}

    async def check(self, request: Message, caller: Caller) -> Message:
        """Say whether the database answers."""
        if request["service"] not in ("", HEALTH):
            words = f"{HEALTH} can only be accepted if you specify service name."
            raise CallFailed(Code.UNKNOWN, words)
        try:
            await self._observations.check()
        except Unavailable:
            return {"status": "NOT_SERVING"}
        return {"status": "SERVING"}

    async def _find_trial(self, name: str, caller: Caller, *, is_writing: bool) -> Object:
        """Return the trial that a caller may ask for; raise CallFailed."""
        namespace, _, name = name.rpartition("/")
        if not name:
            raise CallFailed(Code.INVALID_ARGUMENT, "trial_name is empty: it is the name of a Trial")
        if caller.is_host:
            if not await self._is_own_user(caller):
                words = "this address answers the user who runs the cluster, not other users of this machine"
                raise CallFailed(Code.PERMISSION_DENIED, words)
            return await self._get(name, namespace) if namespace else await self._find_anywhere(name)
        pod = await self._pods.find_pod(caller)
        if pod is None:
            words = f"{caller.address[0]} is no pod's address: metrics are for pods of the trial's namespace"
            raise CallFailed(Code.PERMISSION_DENIED, words)
        where = f"pod {meta.namespace(pod)}/{meta.name(pod)}"
        if namespace not in ("", meta.namespace(pod)):
            raise CallFailed(Code.PERMISSION_DENIED, f"{where} may not ask for trials of {namespace}")
        label = meta.labels(pod).get(TRIAL_LABEL, name)
        if is_writing and label != name:
            raise CallFailed(Code.PERMISSION_DENIED, f"{where} is of trial {label}, not of {name}")
        return await self._get(name, meta.namespace(pod))

    async def _get(self, name: str, namespace: str) -> Object:
        try:
            return await self._client.get(TRIALS, name, namespace)
        except NotFound:
            raise CallFailed(Code.NOT_FOUND, f"there is no trial {namespace}/{name}") from None

    async def _find_anywhere(self, name: str) -> Object:
        found = (await self._client.list(TRIALS, field_selector=f"metadata.name={name}")).items
        if not found:
            raise CallFailed(Code.NOT_FOUND, f"there is no trial {name} in any namespace")
        if len(found) > 1:
            names = ", ".join(f"{meta.namespace(trial)}/{name}" for trial in found[:_SHOWN])
            words = f"{len(found)} trials are called {name}: ask for one as {names}"
            raise CallFailed(Code.FAILED_PRECONDITION, words)
        return found[0]


def _answering(method: Method) -> Method:
    """Return a method whose errors are the wire's."""

    async def answer(request: Message, caller: Caller) -> Message:
        try:
            return await method(request, caller)
        except Invalid as error:
            raise CallFailed(Code.INVALID_ARGUMENT, str(error)) from None
        except Unavailable as error:
            raise CallFailed(Code.UNAVAILABLE, str(error)) from None
        except ApiError as error:
            code = Code.UNAVAILABLE if error.code >= 429 else Code.INTERNAL
            raise CallFailed(code, f"the API server refuses: {error.message}") from None

    return answer


def _check_may_push(trial: Object) -> None:
    """Refuse what is not a running trial that tells its metrics itself."""
    name = meta.key_of(trial)
    collector = (trial["spec"].get("metricsCollector") or {}).get("collector") or {}
    kind = collector.get("kind") or "StdOut"
    if kind not in COLLECTORS:
        words = f"trial {name} has the collector {kind}: set spec.metricsCollectorSpec.collector.kind to Push to report"
        raise CallFailed(Code.FAILED_PRECONDITION, words)
    for condition in _OVER:
        if meta.has_condition(trial, condition):
            raise CallFailed(Code.FAILED_PRECONDITION, f"trial {name} is over: it is {condition}")


def _read_point(number: int, entry: Message) -> MetricPoint:
    metric = entry["metric"] or {"name": "", "value": ""}
    try:
        return MetricPoint(read_time(entry["time_stamp"]), metric["name"], metric["value"])
    except ValueError as error:
        path = f"observation_log.metric_logs[{number}].time_stamp"
        raise CallFailed(Code.INVALID_ARGUMENT, f"{path}: {error}") from None


def _read_range(name: str, text: str) -> float | None:
    try:
        return read_time(text) if text else None
    except ValueError as error:
        raise CallFailed(Code.INVALID_ARGUMENT, f"{name}: {error}") from None


def _observed(trial: Object) -> Observed:
    owner = meta.controller_of(trial)
    return Observed(meta.uid(trial), meta.namespace(trial), meta.name(trial), owner["uid"] if owner else "")
