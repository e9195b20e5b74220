"""A world for tuning's operator: a cluster in memory whose node "runs" Jobs' commands, an algorithm that counts.

Words of a Job's command: `score N` tells a metric, `early N` is stopped early, `nothing` tells none, `fail` fails,
`wait` goes on, `broken` has a collector that crashes, `pull` has an image that is not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from proa.client.fake import FakeClient
from proa.client.protocol import Object
from proa.ml.tuning.algorithms.errors import AlgorithmFailed
from proa.ml.tuning.collector import wire
from proa.ml.tuning.injection.collection import read_collection
from proa.ml.tuning.kinds import COLLECTOR_CONTAINER, EXPERIMENTS, SUGGESTIONS, TRIAL_LABEL, TRIALS
from proa.ml.tuning.observations.observations import Observations, open_observations
from proa.ml.tuning.operator.operator import make_controllers
from proa.ml.tuning.operator.parts import OperatorSettings, Parts
from proa.ml.tuning.records import MetricPoint, Problem, Rule, Study, Suggested, Suggestions
from proa.objects import meta
from proa.objects.errors import ApiError, NotFound
from proa.objects.resource import EVENTS, JOBS, PODS
from proa.reconcile.manager import Manager
from support.pipelines_operator import Crash, Mortal

NAMESPACE = "default"
PATIENCE_SECONDS = 60.0
CALLS = ("get", "create", "update", "patch", "delete", "read")


class ClusterClient(FakeClient):
    """Serves discovery of Jobs, and collectors' logs."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(now=now)
        self.logs: dict[str, str] = {}

    async def request(self, method: str, path: str, body: object = None) -> Object:
        if path == "/apis/batch/v1":
            return {"resources": [{"name": "jobs", "kind": "Job", "namespaced": True}]}
        return await super().request(method, path, body)

    async def read(self, path: str, *, limit_bytes: int = 0) -> bytes:
        pod = path.split("/")[6]
        if pod not in self.logs:
            raise NotFound(f'pods "{pod}" not found')
        return self.logs[pod].encode()


class Node:
    """Makes the pods of Jobs and ends them; deletes what lost its owner."""

    def __init__(self, client: ClusterClient) -> None:
        self.client = client
        self.began: dict[str, int] = {}
        self.most_at_once = 0
        self.is_paused = False

    async def run(self) -> None:
        while True:
            if not self.is_paused:
                for job in self.client.all(JOBS):
                    self._advance(job)
                self._collect_garbage()
            await asyncio.sleep(0.001)

    def _advance(self, job: Object) -> None:
        name = f"{meta.name(job)}-pod"
        pod = self.client.peek(PODS, name, NAMESPACE)
        if pod is None:
            template = job["spec"]["template"]
            labels = (template.get("metadata") or {}).get("labels") or {}
            self.began[meta.name(job)] = self.began.get(meta.name(job), 0) + 1
            metadata = {
                "name": name,
                "namespace": NAMESPACE,
                "labels": labels,
                "ownerReferences": [meta.make_owner_reference(job, JOBS)],
            }
            made = {"metadata": metadata, "spec": template["spec"], "status": {"phase": "Running"}}
            self.client.add(PODS, made)
            running = sum(not _finished(other) for other in self.client.all(JOBS))
            self.most_at_once = max(self.most_at_once, running)
        elif pod["status"]["phase"] == "Running" and not _finished(job):
            self._end(job, pod)

    def _end(self, job: Object, pod: Object) -> None:
        word, _, value = _command(job).partition(" ")
        if word == "wait":
            return
        if word == "pull":
            waiting = {"reason": "ErrImagePull", "message": "no such image"}
            status = {"name": "main", "state": {"waiting": waiting}}
            self.client.add(PODS, {**pod, "status": {"phase": "Pending", "containerStatuses": [status]}})
            return
        trial = self.client.peek(TRIALS, meta.labels(pod)[TRIAL_LABEL], NAMESPACE)
        if trial is None:
            return
        self.client.add(PODS, {**pod, "status": self._status(pod, trial, word, value)})
        type = "Failed" if word == "fail" else "Complete"
        condition = {"type": type, "status": "True", "reason": "Said", "message": f"it said {word}"}
        self.client.add(JOBS, {**job, "status": {"conditions": [condition]}})

    def _status(self, pod: Object, trial: Object, word: str, value: str) -> Object:
        outcome = {"early": "early-stopped", "nothing": "no-metrics"}.get(word, "succeeded")
        points = {"score": [(1000.0, value)]} if value else {}
        collection = read_collection(trial)
        assert not isinstance(collection, Problem)
        lines = [*wire.encode_points(collection.marker, points)]
        self.client.logs[meta.name(pod)] = "training\n" + "".join(lines)
        extremes = {"score": {"latest": points["score"][0]}} if value else {}
        message = "" if word == "broken" else wire.encode_message(outcome, "so it is", len(lines), extremes)
        ended = {"exitCode": int(word == "broken"), "message": message}
        main = {"exitCode": int(word == "fail"), "reason": "Error", "message": "out of luck"}
        return {
            "phase": "Failed" if word == "fail" else "Succeeded",
            "initContainerStatuses": [{"name": COLLECTOR_CONTAINER, "state": {"terminated": ended}}],
            "containerStatuses": [{"name": "main", "state": {"terminated": main}}],
        }

    def _collect_garbage(self) -> None:
        uids = {meta.uid(o) for r in (EXPERIMENTS, TRIALS, JOBS) for o in self.client.all(r)}
        for resource in (SUGGESTIONS, TRIALS, JOBS, PODS):
            for obj in self.client.all(resource):
                owner = meta.controller_of(obj)
                if owner is not None and owner["uid"] not in uids:
                    self.client._store.remove(resource, obj)


def _command(job: Object) -> str:
    return str(job["spec"]["template"]["spec"]["containers"][0]["args"][0])


def _finished(job: Object) -> bool:
    return bool((job.get("status") or {}).get("conditions"))


class Counting:
    """An algorithm whose n-th suggestion is `words[n]`, from a list that may end."""

    def __init__(self, words: Sequence[str] = (), *, end: int | None = None) -> None:
        self.words = words
        self.end = end
        self.problems: Sequence[Problem] = ()
        self.error: Exception | None = None
        self.asked: list[tuple[int, int]] = []

    async def check(self, algorithm: str, study: Study) -> Sequence[Problem]:
        return self.problems

    async def check_early_stopping(self, algorithm: str, settings: Mapping[str, str]) -> Sequence[Problem]:
        return [] if algorithm == "medianstop" else [Problem("algorithmName", "there is medianstop")]

    async def suggest(self, algorithm: str, study: Study, count: int) -> Suggestions:
        if self.error is not None:
            raise self.error
        self.asked.append((len(study.trials), count))
        if len({trial.name for trial in study.trials}) != len(study.trials):
            raise AlgorithmFailed("a trial comes twice")
        first = len(study.trials)
        last = first + count if self.end is None else min(first + count, self.end)
        made = tuple(Suggested({"x": self._word(number)}) for number in range(first, last))
        return Suggestions(made, has_ended=self.end is not None and last >= self.end)

    async def rules(
        self,
        algorithm: str,
        study: Study,
        settings: Mapping[str, str],
        points: Mapping[str, Sequence[MetricPoint]],
    ) -> Sequence[Rule]:
        return [Rule("score", str(len(points)), "less", 2)]

    def _word(self, number: int) -> str:
        return self.words[number] if number < len(self.words) else f"score 0.{number:03}"


class World:
    """A cluster in memory, a database and, while `operating`, an operator."""

    def __init__(self, observations: Observations, advisor: Counting, settings: OperatorSettings) -> None:
        self.time = 1_750_000_000.0
        self.client = ClusterClient(lambda: self.time)
        self.node = Node(self.client)
        self.observations = observations
        self.advisor = advisor
        self.settings = settings

    def make_manager(self, crash: Crash | None = None) -> Manager:
        client: Any = self.client if crash is None else Mortal(self.client, crash, CALLS)
        observations: Any = self.observations
        if crash is not None:
            observations = Mortal(observations, crash, ("record", "read", "read_many"))
        parts = Parts(self.advisor, observations, self.settings)
        return Manager(client, make_controllers(parts), now=lambda: self.time, random=lambda: 0.5)

    @asynccontextmanager
    async def operating(self) -> AsyncIterator[World]:
        manager = self.make_manager()
        await manager.start()
        try:
            yield self
        finally:
            await manager.stop()

    async def apply(self, **spec: Any) -> None:
        await self.client.create(EXPERIMENTS, make_experiment(**spec), NAMESPACE)

    def experiment(self, name: str = "e") -> Object:
        found = self.client.peek(EXPERIMENTS, name, NAMESPACE)
        assert found is not None
        return found

    def suggestion(self, name: str = "e") -> Object:
        found = self.client.peek(SUGGESTIONS, name, NAMESPACE)
        assert found is not None
        return found

    def trials(self) -> list[Object]:
        """Return the trials in the order that they were suggested in."""
        order = [entry["name"] for entry in (self.suggestion().get("status") or {}).get("suggestions") or ()]
        return sorted(self.client.all(TRIALS), key=lambda trial: order.index(meta.name(trial)))

    def status(self) -> dict[str, Any]:
        return self.experiment().get("status") or {}

    async def until(self, holds: Callable[[], bool], what: str = "") -> None:
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while not holds():
            assert asyncio.get_running_loop().time() < deadline, f"{what or holds}: {self.status()}"
            await asyncio.sleep(0.002)

    async def until_condition(self, type: str) -> Object:
        """Wait for a condition of the experiment, and until all is cleared away."""

        def holds() -> bool:
            found = meta.find_condition(self.experiment(), type)
            return found is not None and found["status"] == "True" and not self.unfinished()

        await self.until(holds, type)
        return meta.find_condition(self.experiment(), type) or {}

    def unfinished(self) -> list[str]:
        """Return runs that are to be removed."""
        over = {
            meta.name(t) for t in self.client.all(TRIALS) if (t.get("status") or {}).get("completionTime")
        }
        return [meta.name(job) for job in self.client.all(JOBS) if meta.name(job) in over]

    def events(self) -> set[str]:
        return {reason for _, reason in self.told()}

    def told(self) -> set[tuple[str, str]]:
        """Return the kind and the reason of all events."""
        return {(event["involvedObject"]["kind"], event["reason"]) for event in self.client.all(EVENTS)}


async def in_world(
    folder: Path,
    act: Callable[[World], Any],
    advisor: Counting | None = None,
    settings: OperatorSettings | None = None,
) -> Any:
    """Run a test in a world of its own."""
    observations = await open_observations(folder / "observations.db")
    world = World(observations, advisor or Counting(), settings or OperatorSettings())
    node = asyncio.create_task(world.node.run())
    try:
        return await act(world)
    finally:
        node.cancel()
        await asyncio.gather(node, return_exceptions=True)
        await observations.close()


def make_experiment(name: str = "e", **spec: Any) -> Object:
    """Return an experiment whose trials' command is what the algorithm suggests as `x`."""
    container = {"name": "main", "image": "i", "command": ["run"], "args": ["${trialParameters.x}"]}
    template = {
        "primaryContainerName": "main",
        "trialParameters": [{"name": "x", "reference": "x"}],
        "trialSpec": {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
        },
        **spec.pop("trialTemplate", {}),
    }
    metadata = {"name": name, "namespace": NAMESPACE, **spec.pop("metadata", {})}
    filled = {
        "objective": {"type": "maximize", "objectiveMetricName": "score"},
        "algorithm": {"algorithmName": "random"},
        "parameters": [{"name": "x", "parameterType": "categorical", "feasibleSpace": {"list": ["a", "b"]}}],
        "parallelTrialCount": 2,
        "maxTrialCount": 4,
        "maxFailedTrialCount": None,
        "trialTemplate": _without_none(template),
        **spec,
    }
    kind = {"apiVersion": EXPERIMENTS.api_version, "kind": EXPERIMENTS.kind}
    return {**kind, "metadata": metadata, "spec": _without_none(filled)}


def _without_none(said: Mapping[str, Any]) -> Object:
    return {key: value for key, value in said.items() if value is not None}


__all__ = ["ApiError", "Counting", "Crash", "World", "in_world", "make_experiment"]
