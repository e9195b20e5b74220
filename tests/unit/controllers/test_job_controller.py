"""A Job run against a fake API with the real manager; pods end as the test says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proa.controllers.job.controller import JobController
from proa.controllers.job.intervals import Intervals, parse_intervals
from proa.controllers.job.policies import counts_as_failure, failure_message, success_message
from proa.controllers.job.tally import FINALIZER
from proa.objects import meta
from proa.objects.errors import ServiceUnavailable
from proa.objects.pods import is_active, phase
from proa.objects.resource import JOBS, PODS

LABELS = {"batch.kubernetes.io/job-name": "train"}


def make_job(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "train", "namespace": "default"},
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 6,
            "selector": {"matchLabels": LABELS},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "python"}]},
            },
            **spec,
        },
    }


async def create(w: Any, **spec: Any) -> None:
    await w.client.create(JOBS, make_job(**spec), "default")
    await w.settle()


async def end(w: Any, result: str, count: int = 1) -> None:
    """Let `count` active pods end."""
    for pod in [pod for pod in w.pods() if is_active(pod)][:count]:
        ended = {"containerStatuses": [{"state": {"terminated": {"finishedAt": meta.format_time(w.time)}}}]}
        w.set_pod({**pod, "status": {**pod["status"], **ended}}, phase=result, ready=False)
    await w.settle()


def status(w: Any) -> dict[str, Any]:
    found = dict(w.client.peek(JOBS, "train", "default")["status"])
    found.pop("conditions", None)
    return found


def active(w: Any) -> int:
    return sum(map(is_active, w.pods()))


def test_a_job_runs_its_pod_and_completes(world: Any) -> None:
    async def scenario() -> None:
        async with world([JobController()]) as w:
            await create(w)
            started = meta.format_time(w.time)
            assert status(w) == {
                "startTime": started,
                "active": 1,
                "ready": 0,
                "terminating": 0,
                "uncountedTerminatedPods": {},
            }
            assert [meta.finalizers(pod) for pod in w.pods()] == [[FINALIZER]]
            w.advance(5)
            await end(w, "Succeeded")
            assert status(w) == {
                "startTime": started,
                "completionTime": meta.format_time(w.time),
                "succeeded": 1,
                "ready": 0,
                "terminating": 0,
                "uncountedTerminatedPods": {},
            }
            reached = ("True", "CompletionsReached")
            assert list(w.conditions(JOBS, "train").items()) == [
                ("SuccessCriteriaMet", reached),
                ("Complete", reached),
            ]
            assert [meta.finalizers(pod) for pod in w.pods()] == [[]]
            assert ("Normal", "Completed", "Job completed") in w.events
            calls = len(w.client.calls)
            await w.reconcile_all()
            assert w.client.calls[calls:] == []

    asyncio.run(scenario())


def test_failed_pods_are_replaced_after_a_back_off_that_doubles(world: Any) -> None:
    async def scenario() -> None:
        async with world([JobController()]) as w:
            await create(w, backoffLimit=3)
            for wait in (10, 20, 40):
                await end(w, "Failed")
                assert active(w) == 0
                w.advance(wait - 1)
                await w.reconcile_all()
                assert active(w) == 0
                w.advance(1)
                await w.reconcile_all()
                assert active(w) == 1
            await end(w, "Failed")
            assert status(w)["failed"] == 4
            exceeded = ("True", "BackoffLimitExceeded")
            assert list(w.conditions(JOBS, "train").items()) == [
                ("FailureTarget", exceeded),
                ("Failed", exceeded),
            ]
            message = "Job has reached the specified backoff limit"
            assert ("Warning", "BackoffLimitExceeded", message) in w.events

    asyncio.run(scenario())


def test_a_job_past_its_deadline_ends_its_pods_and_fails(world: Any) -> None:
    async def scenario() -> None:
        async with world([JobController()]) as w:
            await create(w, activeDeadlineSeconds=60, parallelism=2, completions=2)
            w.advance(60)
            await w.reconcile_all()
            assert active(w) == 0
            assert status(w)["failed"] == 2
            assert w.conditions(JOBS, "train")["Failed"] == ("True", "DeadlineExceeded")

    asyncio.run(scenario())


def test_parallel_completions_never_exceed_what_is_missing(world: Any) -> None:
    async def scenario() -> None:
        async with world([JobController()]) as w:
            await create(w, parallelism=3, completions=5)
            assert active(w) == 3
            await end(w, "Succeeded", 2)
            assert active(w) == 3
            await end(w, "Succeeded")
            assert active(w) == 2
            await end(w, "Succeeded", 2)
            assert status(w)["succeeded"] == 5
            assert len(w.pods()) == 5

    asyncio.run(scenario())


def test_suspending_deletes_the_pods_uncounted_and_resuming_begins_anew(world: Any) -> None:
    async def scenario() -> None:
        async with world([JobController()]) as w:
            await create(w, parallelism=2, completions=2)
            for suspend, pods in ((True, 0), (False, 2)):
                existing = w.client.peek(JOBS, "train", "default")
                await w.client.update(JOBS, {**existing, "spec": {**existing["spec"], "suspend": suspend}})
                await w.settle()
                assert active(w) == pods
                assert ("startTime" in status(w)) is not suspend
            assert "failed" not in status(w)
            assert w.conditions(JOBS, "train")["Suspended"] == ("False", "JobResumed")
            assert [event[1] for event in w.events if event[1] in ("Suspended", "Resumed")] == [
                "Suspended",
                "Resumed",
            ]

    asyncio.run(scenario())


def test_a_job_that_fails_while_it_is_suspended_keeps_its_start(world: Any) -> None:
    async def scenario() -> None:
        async with world([JobController()]) as w:
            await create(w, backoffLimit=0)
            w.set_pod(w.pods()[0], phase="Failed", ready=False)
            existing = w.client.peek(JOBS, "train", "default")
            await w.client.update(JOBS, {**existing, "spec": {**existing["spec"], "suspend": True}})
            await w.settle()
            assert w.conditions(JOBS, "train")["Failed"] == ("True", "BackoffLimitExceeded")
            assert status(w)["startTime"]  # without which the API server refuses a job that has ended

    asyncio.run(scenario())


def test_an_indexed_job_gives_each_pod_a_number_and_retries_that_number(world: Any) -> None:
    async def scenario() -> None:
        async with world([JobController()]) as w:
            await create(w, parallelism=2, completions=3, completionMode="Indexed")
            numbers = [meta.annotations(pod)["batch.kubernetes.io/job-completion-index"] for pod in w.pods()]
            assert sorted(numbers) == ["0", "1"]
            first = next(pod for pod in w.pods() if pod["spec"]["hostname"] == "train-0")
            assert first["metadata"]["name"].startswith("train-0-")
            assert first["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"
            w.set_pod(first, phase="Failed", ready=False)
            await w.settle()
            w.advance(11)
            await w.reconcile_all()
            for _ in range(3):
                await end(w, "Succeeded")
            assert status(w)["completedIndexes"] == "0-2"
            assert status(w)["succeeded"] == 3
            assert status(w)["failed"] == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("cut", range(6))
def test_a_finished_pod_counts_once_wherever_a_write_fails(world: Any, cut: int) -> None:
    async def scenario() -> None:
        async with world([JobController()]) as w:
            await create(w, parallelism=2, completions=3)
            verb, resource = [("update", JOBS), ("patch", PODS)][cut % 2]
            for _ in range(cut // 2 + 1):
                w.client.fail_next(ServiceUnavailable("cut"), verb, resource)
            await end(w, "Succeeded", 2)
            for _ in range(20):
                await w.reconcile_all()
            assert status(w)["succeeded"] == 2
            assert active(w) == 1
            await end(w, "Succeeded")
            assert status(w)["succeeded"] == 3
            assert w.conditions(JOBS, "train")["Complete"] == ("True", "CompletionsReached")
            assert all(phase(pod) == "Succeeded" and not meta.finalizers(pod) for pod in w.pods())

    asyncio.run(scenario())


def test_pods_of_a_job_that_is_gone_are_let_go(world: Any) -> None:
    async def scenario() -> None:
        async with world([JobController()]) as w:
            await create(w)
            await w.client.delete(JOBS, "train", "default")
            await w.settle()
            await w.reconcile_all()
            assert [meta.finalizers(pod) for pod in w.pods()] == [[]]

    asyncio.run(scenario())


@pytest.mark.parametrize("text", ["", "3", "0-2,5", "0,1,3-6", "1,3,5-7,9,10"])
def test_indexes_are_written_as_they_are_read(text: str) -> None:
    assert parse_intervals(text, 100).text() == text


def failed_pod(code: int = 1, *, disrupted: bool = False) -> dict[str, Any]:
    conditions = [{"type": "DisruptionTarget", "status": "True"}] if disrupted else []
    ended = {"name": "main", "state": {"terminated": {"exitCode": code}}}
    status = {"phase": "Failed", "conditions": conditions, "containerStatuses": [ended]}
    return {"metadata": {"name": "p", "namespace": "default"}, "spec": {}, "status": status}


def on_exit(action: str, operator: str, *values: int, **more: str) -> dict[str, Any]:
    return {"action": action, "onExitCodes": {"operator": operator, "values": list(values), **more}}


DISRUPTED = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
EXIT_42 = "Container main for pod default/p failed with exit code 42 matching FailJob rule at index"
POLICIES = [
    ("no rule", [], failed_pod(), True, ""),
    ("ignored disruption", [DISRUPTED], failed_pod(disrupted=True), False, ""),
    ("no disruption", [DISRUPTED], failed_pod(), True, ""),
    ("fatal code", [DISRUPTED, on_exit("FailJob", "In", 42)], failed_pod(42), True, f"{EXIT_42} 1"),
    ("another code", [on_exit("FailJob", "In", 42)], failed_pod(1), True, ""),
    ("not in", [on_exit("FailJob", "NotIn", 1, 2)], failed_pod(42), True, f"{EXIT_42} 0"),
    ("another container", [on_exit("FailJob", "In", 42, containerName="side")], failed_pod(42), True, ""),
    ("first rule wins", [on_exit("Count", "In", 42), on_exit("FailJob", "In", 42)], failed_pod(42), True, ""),
]


@pytest.mark.parametrize(("_name", "rules", "pod", "counts", "fatal"), POLICIES, ids=[c[0] for c in POLICIES])
def test_pod_failure_policy(_name: str, rules: Any, pod: Any, counts: bool, fatal: str) -> None:
    body = make_job(podFailurePolicy={"rules": rules})
    assert counts_as_failure(body, pod) is counts
    assert failure_message(body, [pod]) == fatal


SUCCESSES = [
    ("no policy", [], {0, 1}, ""),
    ("leader is done", [{"succeededIndexes": "0"}], {0}, "Matched rules at index 0"),
    ("leader is not", [{"succeededIndexes": "0"}], {1, 2}, ""),
    ("any two", [{"succeededCount": 2}], {1, 2}, "Matched rules at index 0"),
    ("one of the first", [{"succeededIndexes": "0-1", "succeededCount": 1}], {1}, "Matched rules at index 0"),
    ("second rule", [{"succeededIndexes": "0"}, {"succeededCount": 1}], {3}, "Matched rules at index 1"),
]


@pytest.mark.parametrize(
    ("_name", "rules", "completed", "expected"), SUCCESSES, ids=[c[0] for c in SUCCESSES]
)
def test_success_policy(_name: str, rules: Any, completed: set[int], expected: str) -> None:
    assert (
        success_message(
            make_job(completions=9, successPolicy={"rules": rules}), Intervals().with_numbers(completed)
        )
        == expected
    )


def test_a_job_managed_by_another_is_left_alone(world: Any) -> None:
    async def scenario() -> None:
        async with world([JobController()]) as w:
            await create(w, managedBy="example.com/controller")
            assert w.pods() == []
            assert "status" not in w.client.peek(JOBS, "train", "default")

    asyncio.run(scenario())


def test_a_fatal_exit_code_fails_the_job_at_once(world: Any) -> None:
    async def scenario() -> None:
        async with world([JobController()]) as w:
            rules = [on_exit("FailJob", "In", 42)]
            await create(
                w,
                podFailurePolicy={"rules": rules},
                podReplacementPolicy="Failed",
                parallelism=2,
                completions=2,
            )
            first = w.pods()[0]
            ended = {"containerStatuses": failed_pod(42)["status"]["containerStatuses"]}
            w.set_pod({**first, "status": {**first["status"], **ended}}, phase="Failed", ready=False)
            await w.settle()
            assert active(w) == 0
            assert w.conditions(JOBS, "train")["Failed"] == ("True", "PodFailurePolicy")

    asyncio.run(scenario())


def test_failures_are_remembered_though_their_pods_are_deleted(world: Any) -> None:
    async def scenario() -> None:
        async with world([JobController()]) as w:
            await create(w)
            await end(w, "Failed")
            w.advance(10)
            await w.reconcile_all()
            for pod in [pod for pod in w.pods() if not is_active(pod)]:
                await w.client.delete(PODS, meta.name(pod), "default")
            await end(w, "Failed")
            w.advance(19)
            await w.reconcile_all()
            assert active(w) == 0
            w.advance(1)
            await w.reconcile_all()
            assert active(w) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(("policy", "expected"), [("TerminatingOrFailed", (1, 1)), ("Failed", (0, 0))])
def test_the_replacement_policy_says_whether_a_terminating_pod_is_replaced(
    world: Any, policy: str, expected: tuple[int, int]
) -> None:
    async def scenario() -> None:
        async with world([JobController()]) as w:
            await create(w, podReplacementPolicy=policy)
            pod = w.set_pod(w.pods()[0], node="proa-1")
            await w.client.delete(PODS, meta.name(pod), "default")
            await w.settle()
            w.advance(10)
            await w.reconcile_all()
            assert (active(w), status(w).get("failed", 0)) == expected
            assert status(w)["terminating"] == 1

    asyncio.run(scenario())


def test_an_orphan_loses_the_finalizer_that_nobody_will_take(world: Any) -> None:
    async def scenario() -> None:
        async with world([JobController()]) as w:
            await create(w)
            orphan = {"name": "orphan", "namespace": "default", "labels": {}, "finalizers": [FINALIZER]}
            w.client.add(PODS, {"metadata": orphan, "spec": {}, "status": {"phase": "Running"}})
            strange = {
                "apiVersion": "example.com/v1",
                "kind": "Job",
                "name": "x",
                "uid": "x",
                "controller": True,
            }
            foreign = {**orphan, "name": "foreign", "ownerReferences": [strange]}
            w.client.add(PODS, {"metadata": foreign, "spec": {}, "status": {"phase": "Running"}})
            await w.settle()
            kept = {meta.name(pod): meta.finalizers(pod) for pod in w.pods()}
            assert (kept["orphan"], kept["foreign"]) == ([], [FINALIZER])

    asyncio.run(scenario())


def test_a_work_queue_waits_for_the_rest_after_the_first_success(world: Any) -> None:
    async def scenario() -> None:
        async with world([JobController()]) as w:
            await create(w, parallelism=3, completions=None)
            await end(w, "Succeeded")
            assert active(w) == 2
            await end(w, "Failed")
            assert active(w) == 1
            await end(w, "Succeeded")
            assert w.conditions(JOBS, "train")["Complete"] == ("True", "CompletionsReached")
            assert (status(w)["succeeded"], status(w)["failed"]) == (2, 1)

    asyncio.run(scenario())


def test_restarts_in_place_count_against_the_limit(world: Any) -> None:
    async def scenario() -> None:
        async with world([JobController()]) as w:
            template = {**make_job()["spec"]["template"]}
            template["spec"] = {**template["spec"], "restartPolicy": "OnFailure"}
            await create(w, backoffLimit=2, template=template)
            pod = w.pods()[0]
            restarted = {**pod["status"], "containerStatuses": [{"name": "main", "restartCount": 2}]}
            w.set_pod({**pod, "status": restarted})
            await w.settle()
            assert w.conditions(JOBS, "train")["Failed"] == ("True", "BackoffLimitExceeded")

    asyncio.run(scenario())


def test_too_many_successes_are_told_of(world: Any) -> None:
    async def scenario() -> None:
        async with world([JobController()]) as w:
            await create(w, parallelism=2, completions=2)
            pods = w.pods()
            await w.client.patch(JOBS, "train", {"spec": {"completions": 1}}, "default")
            for pod in pods:
                w.set_pod(pod, phase="Succeeded", ready=False)
            await w.settle()
            message = "Too many succeeded pods running after completion count reached"
            assert ("Warning", "TooManySucceededPods", message) in w.events

    asyncio.run(scenario())
