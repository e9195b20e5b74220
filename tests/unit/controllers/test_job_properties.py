"""Whatever becomes of a Job's pods, its controller and its requests: each pod counts once, and the Job ends."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.apiserver.resources.batch.job import DEFINITION as JOB
from proa.client.fake import FakeClient
from proa.controllers.job.controller import JobController
from proa.controllers.job.intervals import Intervals, parse_intervals
from proa.controllers.job.tally import FINALIZER
from proa.objects import meta
from proa.objects.errors import ApiError, Conflict, ServiceUnavailable
from proa.objects.pods import is_active, is_terminated
from proa.objects.resource import JOBS, PODS

LABELS = {"batch.kubernetes.io/job-name": "train"}
CALLS = [("update", JOBS), ("patch", PODS), ("create", PODS), ("delete", PODS)]


def make_job(**spec: Any) -> dict[str, Any]:
    template = {
        "metadata": {"labels": LABELS},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "python"}]},
    }
    common = {"backoffLimit": 1000, "selector": {"matchLabels": LABELS}, "template": template}
    return {"metadata": {"name": "train", "namespace": "default"}, "spec": {**common, **spec}}


class StrictClient(FakeClient):
    """Remembers what the API server would have refused of a Job's status."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.refused: list[Any] = []

    async def update(self, resource: Any, obj: Any, subresource: str = "") -> Any:
        if resource == JOBS and subresource == "status":
            old = self.peek(JOBS, meta.name(obj), meta.namespace(obj))
            new = {**old, "status": obj["status"]}
            self.refused += JOB.validate_status_update(copy.deepcopy(new), old)
        return await super().update(resource, obj, subresource)


class Play:
    """A Job, the world that it is in, and what has become of its pods."""

    def __init__(self, world: Any, spec: Any) -> None:
        self.make_world = world
        self.client = StrictClient(now=lambda: self.now)
        self.now = 1_750_000_000.0
        self.spec = spec
        self.ended: dict[str, str] = {}
        self.world: Any = None

    async def start(self) -> None:
        self.world = await self.make_world([JobController()], client=self.client).__aenter__()
        self.world.time = self.now

    async def stop(self) -> None:
        self.now = self.world.time
        await self.world.__aexit__()

    def pods(self) -> list[Any]:
        """Return the pods that a kubelet would run and the Job awaits."""
        return [p for p in self.client.all(PODS) if is_active(p) and FINALIZER in meta.finalizers(p)]

    def job(self) -> Any:
        return self.client.peek(JOBS, "train", "default")

    def is_over(self) -> bool:
        return meta.has_condition(self.job(), "Complete") or meta.has_condition(self.job(), "Failed")

    async def settle(self) -> None:
        """Let the controller work until nothing more changes, whatever requests failed on the way."""
        before = None
        while before != (before := (self.client._store.version, len(self.client._failures))):
            await self.world.reconcile_all()

    def end(self, pod: Any, phase: str) -> None:
        ended = {"state": {"terminated": {"finishedAt": meta.format_time(self.world.time)}}}
        status = {**(pod.get("status") or {}), "containerStatuses": [ended]}
        self.ended[meta.uid(pod)] = phase
        self.world.set_pod({**pod, "status": status}, phase=phase, ready=False)

    async def delete(self, pod: Any) -> None:
        """Delete a pod, which counts as failed now or, by the replacement policy, when it has ended."""
        try:
            await self.client.delete(PODS, meta.name(pod), "default")
        except ApiError:
            return
        if self.spec.get("podReplacementPolicy") != "Failed":
            self.ended[meta.uid(pod)] = "Failed"

    def finish_deleted(self) -> None:
        """Do what a kubelet does with pods that are being deleted."""
        for pod in self.client.all(PODS):
            if meta.is_deleting(pod) and not is_terminated(pod):
                if FINALIZER in meta.finalizers(pod):
                    self.end(pod, "Failed")
                else:
                    self.world.set_pod(pod, phase="Failed", ready=False)

    async def act(self, action: tuple[str, int]) -> None:
        what, number = action
        pods = self.pods()
        match what:
            case "Succeeded" | "Failed" if pods:
                self.end(pods[number % len(pods)], what)
            case "node" if pods:
                self.world.set_pod(pods[number % len(pods)], node="proa-1")
            case "delete" if pods:
                await self.delete(pods[number % len(pods)])
            case "kubelet":
                self.finish_deleted()
            case "parallelism" if not self.is_over():
                await self.client.patch(JOBS, "train", {"spec": {"parallelism": number % 5}}, "default")
            case "suspend" if not self.is_over():
                await self.client.patch(JOBS, "train", {"spec": {"suspend": bool(number % 2)}}, "default")
            case "error":
                error = Conflict("moved") if number % 2 else ServiceUnavailable("down")
                self.client.fail_next(error, *CALLS[number % len(CALLS)])
            case "restart":
                await self.stop()
                await self.start()
            case "time":
                self.world.advance(number * 20)

    def check(self) -> None:
        """What must hold whenever the controller has come to rest."""
        spec, status = self.job()["spec"], self.job()["status"]
        if self.client._failures:
            return
        assert len(self.pods()) <= (0 if spec.get("suspend") else spec["parallelism"])
        lists = status["uncountedTerminatedPods"]
        assert lists == {}
        assert status.get("active", 0) == len(self.pods())
        assert status.get("failed", 0) == sum(how == "Failed" for how in self.ended.values())
        if spec.get("completionMode") == "Indexed":
            done = parse_intervals(status.get("completedIndexes") or "", spec["completions"])
            assert done.total() == status.get("succeeded", 0)
        else:
            assert status.get("succeeded", 0) == sum(how == "Succeeded" for how in self.ended.values())

    async def run(self, actions: list[tuple[str, int]]) -> None:
        await self.client.create(JOBS, make_job(**self.spec), "default")
        await self.start()
        for action in actions:
            await self.act(action)
            await self.settle()
            if not self.is_over():
                self.check()
        await self.finish()
        await self.stop()

    async def finish(self) -> None:
        """Let all that runs succeed: the Job is complete soon, and nothing is left that is not counted."""
        self.client._failures.clear()
        if not self.is_over():
            await self.client.patch(JOBS, "train", {"spec": {"parallelism": 3, "suspend": False}}, "default")
        for _ in range(40):
            self.world.advance(601)
            self.finish_deleted()
            for pod in self.pods():
                self.end(pod, "Succeeded")
            await self.settle()
            if self.is_over():
                break
        status = self.job()["status"]
        assert meta.has_condition(self.job(), "Complete")
        assert status["succeeded"] >= self.spec["completions"]
        assert (status.get("active", 0), status["terminating"]) == (0, 0)
        assert status["uncountedTerminatedPods"] == {}
        assert not [p for p in self.client.all(PODS) if FINALIZER in meta.finalizers(p)]
        assert self.client.refused == []


KINDS = ["Succeeded", "Failed", "Failed", "node", "delete", "kubelet", "parallelism", "suspend"]
ACTIONS = st.lists(
    st.tuples(st.sampled_from([*KINDS, "error", "error", "restart", "time"]), st.integers(0, 12)),
    min_size=4,
    max_size=14,
)
SPECS = st.fixed_dictionaries(
    {
        "parallelism": st.integers(0, 4),
        "completions": st.integers(1, 6),
        "completionMode": st.sampled_from(["NonIndexed", "Indexed"]),
        "podReplacementPolicy": st.sampled_from(["TerminatingOrFailed", "Failed"]),
    }
)


@settings(max_examples=50)
@given(SPECS, ACTIONS)
def test_every_pod_counts_once_and_the_job_ends(world: Any, spec: Any, actions: Any) -> None:
    asyncio.run(Play(world, spec).run(actions))


@pytest.mark.parametrize("mode", ["NonIndexed", "Indexed"])
@pytest.mark.parametrize("error", range(2 * len(CALLS)))
def test_every_pod_counts_once_whichever_request_fails(world: Any, mode: str, error: int) -> None:
    again = [("time", 3), ("error", error)]
    actions = [
        ("error", error),
        ("Failed", 0),
        *again,
        ("Succeeded", 0),
        *again,
        ("delete", 0),
        ("restart", 0),
    ]
    spec = {"parallelism": 2, "completions": 4, "completionMode": mode}
    asyncio.run(Play(world, spec).run([*actions, *again, ("parallelism", 1), ("suspend", 1)]))


NUMBERS = st.sets(st.integers(0, 40))


@given(NUMBERS, NUMBERS, st.integers(0, 45))
def test_intervals_are_sets(some: set[int], others: set[int], end: int) -> None:
    intervals, more = Intervals().with_numbers(some), Intervals().with_numbers(others)
    assert intervals.total() == len(some)
    assert [n for n in range(45) if intervals.has(n)] == sorted(some)
    assert intervals.union(more.ranges) == Intervals().with_numbers(some | others)
    assert intervals.common(more) == len(some & others)
    assert list(intervals.free(end)) == sorted(set(range(end)) - some)
    assert parse_intervals(intervals.text(), end) == Intervals().with_numbers(n for n in some if n < end)
