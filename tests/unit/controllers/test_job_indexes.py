"""Indexed Jobs: each index is retried, or fails, on its own account."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from proa.controllers.job.controller import JobController
from proa.controllers.job.indexes import NewPod, index_of, replacement, with_index
from proa.controllers.job.tally import FINALIZER, MAX_UNCOUNTED, tally, track
from proa.objects import meta
from proa.objects.pods import is_active
from proa.objects.resource import JOBS, PODS

LABELS = {"batch.kubernetes.io/job-name": "train"}
FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"


def make_job(**spec: Any) -> dict[str, Any]:
    template = {
        "metadata": {"labels": LABELS},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "python"}]},
    }
    common = {
        "parallelism": 3,
        "completions": 3,
        "completionMode": "Indexed",
        "backoffLimit": 2**31 - 1,
        "selector": {"matchLabels": LABELS},
        "template": template,
    }
    metadata = {"name": "train", "namespace": "default", "uid": "job"}
    return {"metadata": metadata, "spec": {**common, **spec}}


def make_pod(index: int, phase: str = "Failed", **metadata: Any) -> dict[str, Any]:
    annotations = {"batch.kubernetes.io/job-completion-index": str(index)}
    common = {
        "name": f"p{index}",
        "namespace": "default",
        "uid": f"p{index}",
        "annotations": annotations,
        "finalizers": [FINALIZER],
        "creationTimestamp": "2025-01-01T00:00:00Z",
    }
    return {"metadata": {**common, **metadata}, "spec": {}, "status": {"phase": phase}}


def run(world: Any, scenario: Callable[[Any], Any], **spec: Any) -> None:
    async def all_of_it() -> None:
        async with world([JobController()]) as w:
            await w.client.create(JOBS, make_job(**spec), "default")
            await w.settle()
            await scenario(w)

    asyncio.run(all_of_it())


def active(w: Any) -> dict[int, Any]:
    return {index_of(pod): pod for pod in w.pods() if is_active(pod)}


def status(w: Any) -> dict[str, Any]:
    return w.client.peek(JOBS, "train", "default")["status"]


async def end(w: Any, index: int, phase: str, code: int = 1, **condition: str) -> None:
    pod = active(w)[index]
    ended = {"exitCode": 0 if phase == "Succeeded" else code, "finishedAt": meta.format_time(w.time)}
    conditions = [condition] if condition else []
    before = {
        "containerStatuses": [{"name": "main", "state": {"terminated": ended}}],
        "conditions": conditions,
    }
    w.set_pod({**pod, "status": {**pod["status"], **before}}, phase=phase, ready=False)
    await w.settle()


async def wait(w: Any, seconds: float) -> None:
    w.advance(seconds)
    await w.reconcile_all()


def test_each_index_is_retried_by_itself_and_its_failures_are_counted(world: Any) -> None:
    async def scenario(w: Any) -> None:
        assert [meta.annotations(pod)[FAILURES] for pod in active(w).values()] == ["0"] * 3
        await end(w, 0, "Failed")
        first = next(pod for pod in w.pods() if index_of(pod) == 0)
        assert FINALIZER in meta.finalizers(first)  # kept until its successor has its count
        await end(w, 1, "Succeeded")
        assert sorted(active(w)) == [2]
        await wait(w, 10)
        assert sorted(active(w)) == [0, 2]
        assert meta.annotations(active(w)[0])[FAILURES] == "1"
        await end(w, 0, "Failed")
        assert (status(w)["failedIndexes"], status(w)["completedIndexes"]) == ("0", "1")
        await end(w, 2, "Succeeded")
        assert w.conditions(JOBS, "train") == {
            "FailureTarget": ("True", "FailedIndexes"),
            "Failed": ("True", "FailedIndexes"),
        }
        found = status(w)
        assert (found["failed"], found["succeeded"], found["completedIndexes"]) == (2, 2, "1,2")
        assert not any(FINALIZER in meta.finalizers(pod) for pod in w.pods())
        assert ("Warning", "FailedIndexes", "Job has failed indexes") in w.events

    run(world, scenario, backoffLimitPerIndex=1)


def test_the_back_off_of_an_index_doubles(world: Any) -> None:
    async def scenario(w: Any) -> None:
        for seconds in (10, 20, 40):
            await end(w, 0, "Failed")
            await wait(w, seconds - 1)
            assert 0 not in active(w)
            await wait(w, 1)
            assert 0 in active(w)

    run(world, scenario, backoffLimitPerIndex=5)


def test_too_many_failed_indexes_end_the_job(world: Any) -> None:
    async def scenario(w: Any) -> None:
        await end(w, 0, "Failed")
        assert status(w)["failedIndexes"] == "0"
        await end(w, 1, "Failed")
        reason = ("True", "MaxFailedIndexesExceeded")
        assert w.conditions(JOBS, "train") == {"FailureTarget": reason, "Failed": reason}
        assert active(w) == {}
        assert (status(w)["failed"], status(w)["failedIndexes"]) == (3, "0,1")

    run(world, scenario, backoffLimitPerIndex=0, maxFailedIndexes=1)


RULES = [
    {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}},
    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
]


def test_a_rule_may_fail_an_index_at_once_and_another_ignore_its_failure(world: Any) -> None:
    async def scenario(w: Any) -> None:
        await end(w, 0, "Failed", 42)
        assert status(w)["failedIndexes"] == "0"
        await end(w, 1, "Failed", 1, type="DisruptionTarget", status="True")
        await wait(w, 10)
        again = meta.annotations(active(w)[1])
        assert (again[FAILURES], again[IGNORED]) == ("0", "1")
        assert (status(w)["failedIndexes"], status(w)["failed"]) == ("0", 1)

    policy = {"podFailurePolicy": {"rules": RULES}, "podReplacementPolicy": "Failed"}
    run(world, scenario, backoffLimitPerIndex=3, **policy)


def test_without_failures_the_failed_indexes_are_empty(world: Any) -> None:
    async def scenario(w: Any) -> None:
        assert status(w)["failedIndexes"] == ""
        for index in range(3):
            await end(w, index, "Succeeded")
        assert meta.has_condition(w.client.peek(JOBS, "train", "default"), "Complete")
        assert status(w)["failedIndexes"] == ""

    run(world, scenario, backoffLimitPerIndex=1)


@pytest.mark.parametrize(("size", "indexes", "succeeded"), [(2, [0], 1), (5, [0, 2, 3, 4], 1)])
def test_an_elastic_job_grows_and_shrinks(world: Any, size: int, indexes: Any, succeeded: int) -> None:
    async def scenario(w: Any) -> None:
        await end(w, 1, "Succeeded")
        patch = {"spec": {"parallelism": size, "completions": size}}
        await w.client.patch(JOBS, "train", patch, "default")
        await w.settle()
        assert sorted(active(w)) == indexes
        assert (status(w)["completedIndexes"], status(w)["succeeded"]) == ("1", succeeded)

    run(world, scenario)


def test_shrinking_forgets_indexes_that_are_no_more(world: Any) -> None:
    async def scenario(w: Any) -> None:
        await end(w, 2, "Succeeded")
        await w.client.patch(JOBS, "train", {"spec": {"parallelism": 1, "completions": 1}}, "default")
        await w.settle()
        assert "completedIndexes" not in status(w)
        await end(w, 0, "Succeeded")
        assert status(w)["succeeded"] == 1
        assert meta.has_condition(w.client.peek(JOBS, "train", "default"), "Complete")

    run(world, scenario)


def test_of_two_pods_with_an_index_one_stays(world: Any) -> None:
    async def scenario(w: Any) -> None:
        pod = active(w)[0]
        twin = {**pod, "metadata": {**pod["metadata"], "name": "twin", "uid": "twin"}}
        w.set_pod(pod)
        w.client.add(PODS, twin)
        await w.settle()
        assert len([pod for pod in w.pods() if is_active(pod)]) == 3
        assert meta.name(active(w)[0]) == meta.name(pod)  # the one that is ready

    run(world, scenario)


def test_a_success_policy_ends_the_rest_uncounted(world: Any) -> None:
    async def scenario(w: Any) -> None:
        await end(w, 0, "Succeeded")
        assert w.conditions(JOBS, "train") == {
            "SuccessCriteriaMet": ("True", "SuccessPolicy"),
            "Complete": ("True", "SuccessPolicy"),
        }
        assert "failed" not in status(w)
        assert (status(w)["succeeded"], active(w)) == (1, {})

    run(world, scenario, successPolicy={"rules": [{"succeededIndexes": "0"}]})


def test_so_many_pods_are_counted_at_a_time() -> None:
    pods = [make_pod(i) for i in range(MAX_UNCOUNTED + 7)]
    job = make_job(completions=1000, parallelism=1000)
    first = track(job, pods, tally(job, pods), "")
    assert len(first.uncounted_failed) == len(first.release) == MAX_UNCOUNTED
    job["status"] = {"uncountedTerminatedPods": {"failed": list(first.uncounted_failed)}}
    left = [pod for pod in pods if pod not in first.release]
    second = track(job, left, tally(job, left), "")
    assert (second.counted_failed, len(second.uncounted_failed)) == (MAX_UNCOUNTED, 7)


def test_a_job_that_fails_takes_all_its_pods_for_failed() -> None:
    pods = [make_pod(0, "Running"), make_pod(1, "Succeeded"), make_pod(7, "Running")]
    job = make_job()
    tracked = track(job, pods, tally(job, pods), "FailureTarget")
    assert (tracked.uncounted_failed, tracked.completed.text()) == (("p0",), "1")
    assert len(tracked.release) == 3


def test_a_job_that_is_deleted_keeps_no_pod() -> None:
    job = make_job()
    job["metadata"]["deletionTimestamp"] = "2025-01-01T00:00:00Z"
    tracked = track(job, [make_pod(0, "Running")], tally(job, [make_pod(0, "Running")]), "")
    assert (len(tracked.release), tracked.uncounted_failed) == (1, ())


def test_a_pod_carries_its_index_in_a_name_that_is_not_too_long() -> None:
    job = make_job(backoffLimitPerIndex=2)
    job["metadata"]["name"] = "n" * 63
    pod = {"metadata": {"generateName": "x-"}, "spec": {"hostname": "mine", "containers": [{"name": "c"}]}}
    made = with_index(pod, job, replacement(job, 12, make_pod(12, annotations={FAILURES: "3"})))
    assert made["metadata"]["generateName"] == "n" * 54 + "-12-"
    assert made["spec"]["hostname"] == "n" * 63 + "-12"
    assert meta.annotations(made)[FAILURES] == "4"
    assert replacement(job, 5, None) == NewPod(5)
