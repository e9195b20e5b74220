"""Runs are brought to their end: what is asked of them on the way, and what is left afterwards."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from proa.ml.pipelines.operator.settings import OperatorSettings
from proa.ml.pipelines.records import Run, RunState, TaskState
from proa.ml.pipelines.run_objects import RUNS
from proa.objects import meta
from proa.objects.errors import Forbidden, Invalid, NotFound
from proa.objects.resource import EVENTS, PODS, ROLE_BINDINGS, SERVICE_ACCOUNTS
from proa.reconcile.events import EventSink
from proa.reconcile.leader_election import LeaderElector, Lock, Timing
from support.pipelines_operator import (
    NAMESPACE,
    PATIENCE_SECONDS,
    World,
    add,
    add_to,
    end,
    in_world,
    make_spec,
    write,
)

QUICK = OperatorSettings(status_seconds=0.0, longest_back_off=0.2)


def run_in_world(
    folder: Path, act: Callable[[World], Awaitable[None]], settings: OperatorSettings = QUICK
) -> None:
    """Act in a world in which an operator works."""

    async def with_operator(world: World) -> None:
        working = asyncio.create_task(world.make_operator().run())
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await act(world)
        finally:
            await end(working)

    asyncio.run(in_world(folder, with_operator, settings))


async def finish(world: World, spec: dict[str, Any], **fields: Any) -> Run:
    return await world.until_over(await world.add_run(spec, **fields))


async def until_running(world: World, run: Run) -> None:
    async def is_running() -> bool:
        return any(path for id, path, _ in world.node.began if id == run.id)

    await world.until("a step runs", is_running)


async def reasons(world: World, run: Run) -> dict[str, str]:
    return {path: task.caching.reason for path, task in (await world.tasks_of(run)).items() if task.caching}


def test_what_a_namespace_needs_is_made(tmp_path: Path):
    async def act(world: World) -> None:
        await finish(world, make_spec({"one": add(1, 2)}))
        assert [meta.name(found) for found in world.client.all(SERVICE_ACCOUNTS)] == ["pipeline-runner"]
        [binding] = world.client.all(ROLE_BINDINGS)
        assert binding["subjects"][0]["namespace"] == NAMESPACE
        [pod] = world.client.all(PODS)
        assert meta.owner_references(pod)[0]["name"] == meta.name(world.client.all(RUNS)[0])

    run_in_world(tmp_path, act)


def test_a_task_that_did_the_same_before_is_answered_from_the_cache(tmp_path: Path):
    async def act(world: World) -> None:
        spec = make_spec({"one": add(1, 2), "two": add_to("one", 4), "data": write(5)})
        first = await finish(world, spec)
        second = await finish(world, spec)
        assert len(world.client.all(PODS)) == 3
        tasks = await world.tasks_of(second)
        assert {tasks[path].state for path in ("one", "two", "data")} == {TaskState.CACHED}
        assert tasks["two"].outputs.parameters == {"sum": 7}
        assert (await reasons(world, first))["one"] == "miss: no earlier run with these inputs"
        assert (await reasons(world, second))["one"] == f"hit: from run {first.id}"

    run_in_world(tmp_path, act)


def test_a_result_whose_artifact_is_gone_or_another_is_no_answer(tmp_path: Path):
    async def act(world: World) -> None:
        spec = make_spec({"data": write(5)})
        first = await finish(world, spec)
        [artifact] = (await world.tasks_of(first))["data"].outputs.artifacts["data"]
        world.store.objects[artifact.uri] = b"changed"
        world.now += 1
        second = await finish(world, spec)
        assert (await reasons(world, second))[
            "data"
        ] == f"miss: artifact 'data' of run {first.id} is not what it was"
        [artifact] = (await world.tasks_of(second))["data"].outputs.artifacts["data"]
        del world.store.objects[artifact.uri]
        world.now += 1
        third = await finish(world, spec)
        assert (await reasons(world, third))["data"] == f"miss: artifact 'data' of run {second.id} is gone"

    run_in_world(tmp_path, act)


def test_the_cache_is_not_asked_where_run_or_task_say_so(tmp_path: Path):
    async def act(world: World) -> None:
        await finish(world, make_spec({"one": add(1, 2)}))
        off = await finish(world, make_spec({"one": {**add(1, 2), "cachingOptions": {}}}))
        assert (await reasons(world, off))["one"].startswith("off: the task")
        bypassed = await finish(world, make_spec({"one": add(1, 2)}), cache_enabled=False)
        assert (await reasons(world, bypassed))["one"].startswith("off: the run")
        assert len(world.client.all(PODS)) == 3

    run_in_world(tmp_path, act)


def test_a_result_that_is_too_old_is_no_answer(tmp_path: Path):
    async def act(world: World) -> None:
        await finish(world, make_spec({"one": add(1, 2)}))
        world.now += 61
        late = await finish(world, make_spec({"one": add(1, 2)}))
        assert (await reasons(world, late))["one"].endswith("in the last 60 seconds")

    run_in_world(tmp_path, act, replace(QUICK, cache_ttl_seconds=60))


def test_a_run_that_is_asked_to_end_stops_its_pods(tmp_path: Path):
    async def act(world: World) -> None:
        run = await world.add_run(
            make_spec({"long": {"do": ["wait"]}, "next": {"do": ["x"], "dependentTasks": ["long"]}})
        )
        await until_running(world, run)
        await world.client.patch(RUNS, run.name, {"spec": {"terminate": True}}, NAMESPACE)
        over = await world.until_over(run)
        assert over.state is RunState.CANCELED
        assert [state for state, _ in over.states] == ["PENDING", "RUNNING", "CANCELING", "CANCELED"]
        assert (await world.tasks_of(run))["long"].state is TaskState.CANCELED
        assert world.client.all(PODS) == []

    run_in_world(tmp_path, act)


def test_a_run_may_be_asked_to_end_at_any_moment(tmp_path: Path):
    async def act(world: World) -> None:
        for turns in range(60):
            run = await world.add_run(make_spec({"long": {"do": ["wait"]}}))
            await world.until("its pod is made", partial(has_pod, world, run))
            for _ in range(turns):
                await asyncio.sleep(0)
            await world.client.patch(RUNS, run.name, {"spec": {"terminate": True}}, NAMESPACE)
            assert (await world.until_over(run)).state is RunState.CANCELED, f"asked after {turns} turns"

    async def has_pod(world: World, run: Run) -> bool:
        return any(meta.labels(pod)["pipeline/runid"] == run.id for pod in world.client.all(PODS))

    run_in_world(tmp_path, act)


def test_a_run_whose_object_is_deleted_is_ended_before_it_goes(tmp_path: Path):
    async def act(world: World) -> None:
        run = await world.add_run(make_spec({"long": {"do": ["wait"]}}))
        await until_running(world, run)
        await world.client.delete(RUNS, run.name, NAMESPACE)
        assert (await world.until_over(run)).state is RunState.CANCELED
        assert world.client.all(RUNS) == []

    run_in_world(tmp_path, act)


def test_a_pod_that_someone_deletes_is_a_failed_attempt(tmp_path: Path):
    async def act(world: World) -> None:
        run = await world.add_run(make_spec({"long": {"do": ["wait"]}}))
        await until_running(world, run)
        [pod] = world.client.all(PODS)
        await world.client.delete(PODS, meta.name(pod), NAMESPACE)
        over = await world.until_over(run)
        assert over.state is RunState.FAILED
        assert "task 'long'" in (await world.tasks_of(run))["long"].error

    run_in_world(tmp_path, act)


def test_a_run_that_failed_goes_on_where_it_failed(tmp_path: Path):
    async def act(world: World) -> None:
        spec = make_spec({"one": add(1, 2), "bad": {"do": ["fail"], "dependentTasks": ["one"]}})
        run = await world.add_run(spec, cache_enabled=False)
        assert (await world.until_over(run)).state is RunState.FAILED
        assert (await world.tasks_of(run))["bad"].exit_code == 1
        await world.client.patch(RUNS, run.name, {"spec": {"retries": 1}}, NAMESPACE)

        async def has_failed_again() -> bool:
            row = await world.database.runs.get(run.id)
            return row.retries == 1 and row.state is RunState.FAILED

        await world.until("it has failed again", has_failed_again)
        await world.until_over(run)
        assert world.node.began == {(run.id, "one", "0"): 1, (run.id, "bad", "0"): 1, (run.id, "bad", "1"): 1}

    run_in_world(tmp_path, act)


def test_the_object_of_a_finished_run_goes_with_its_time(tmp_path: Path):
    async def act(world: World) -> None:
        run = await finish(world, make_spec({"one": add(1, 2)}))

        async def is_gone() -> bool:
            return not world.client.all(RUNS)

        await world.until("the object is gone", is_gone)
        assert (await world.database.runs.get(run.id)).state is RunState.SUCCEEDED

    run_in_world(tmp_path, act, replace(QUICK, object_ttl_seconds=0))


def test_a_pod_that_is_refused_fails_its_task_with_the_servers_words(tmp_path: Path):
    async def act(world: World) -> None:
        world.client.fail_next(
            Invalid('Pod "x" is invalid: spec.containers[0].image: Required value'), "create", PODS
        )
        run = await finish(world, make_spec({"one": add(1, 2)}))
        assert run.state is RunState.FAILED
        assert "spec.containers[0].image: Required value" in run.error

    run_in_world(tmp_path, act)


def test_a_pod_beyond_the_quota_waits_for_room(tmp_path: Path):
    async def act(world: World) -> None:
        refusal = Forbidden('pods "x" is forbidden: exceeded quota: small, requested: pods=1')
        world.client.fail_next(refusal, "create", PODS)
        run = await finish(world, make_spec({"one": add(1, 2)}))
        assert run.state is RunState.SUCCEEDED

        async def is_told() -> bool:
            return any("exceeded quota" in event["message"] for event in world.client.all(EVENTS))

        await world.until("people know why it waited", is_told)

    run_in_world(tmp_path, act)


def test_no_more_pods_are_made_than_are_allowed(tmp_path: Path):
    async def act(world: World) -> None:
        run = await world.add_run(make_spec({f"w{n}": {"do": ["wait"]} for n in range(6)}))

        async def has_begun() -> bool:
            return len(world.node.began) == 2

        await world.until("two steps run", has_begun)
        await world.client.patch(RUNS, run.name, {"spec": {"terminate": True}}, NAMESPACE)
        await world.until_over(run)
        assert len(world.node.began) == 2

    run_in_world(tmp_path, act, replace(QUICK, pods_of_a_run=2))


def test_a_run_that_was_applied_by_hand_is_carried_out(tmp_path: Path):
    async def act(world: World) -> None:
        made = await world.client.create(RUNS, make_inline_run(make_spec({"one": add(1, 2)})), NAMESPACE)

        async def is_stored() -> bool:
            return bool(await world.database.runs.get_many([meta.uid(made)]))

        await world.until("it is stored", is_stored)
        run = await world.until_over(await world.database.runs.get(meta.uid(made)))
        assert (run.state, run.name) == (RunState.SUCCEEDED, "by-hand")

    run_in_world(tmp_path, act)


def test_nobody_asks_for_another_ones_run_by_naming_it(tmp_path: Path):
    def name(run: Run, name: str, **spec: Any) -> dict[str, Any]:
        head = {
            "apiVersion": RUNS.api_version,
            "kind": "Run",
            "metadata": {"name": name, "namespace": "mallory"},
        }
        return {**head, "spec": {"runId": run.id, **spec}}

    async def act(world: World) -> None:
        async def is_refused() -> bool:
            found = [obj for obj in world.client.all(RUNS) if meta.namespace(obj) == "mallory"]
            return all("no run" in (obj.get("status") or {}).get("message", "") for obj in found)

        failed = await finish(world, make_spec({"one": {"do": ["fail"]}}))
        assert failed.state is RunState.FAILED
        working = await world.add_run(make_spec({"long": {"do": ["wait"]}}))
        await until_running(world, working)
        await world.client.create(RUNS, name(working, "ender", terminate=True), "mallory")
        await world.client.create(RUNS, name(failed, "again", retries=1), "mallory")
        await world.client.create(RUNS, name(failed, failed.name, retries=1), "mallory")
        await world.until("they are refused", is_refused)
        await world.client.delete(RUNS, "ender", "mallory")
        assert (await world.database.runs.get(failed.id)).retries == 0
        assert (await world.database.runs.get(working.id)).state is RunState.RUNNING

    run_in_world(tmp_path, act)


def test_a_run_that_cannot_be_says_where_it_is_wrong(tmp_path: Path):
    async def act(world: World) -> None:
        spec = make_spec({"one": {**add(1, 2), "dependentTasks": ["nobody"]}})
        await world.client.create(RUNS, make_inline_run(spec), NAMESPACE)

        async def is_told() -> bool:
            return "status" in world.client.all(RUNS)[0]

        await world.until("it is told", is_told)
        status = world.client.all(RUNS)[0]["status"]
        assert status["state"] == "FAILED"
        assert "nobody" in status["message"]

    run_in_world(tmp_path, act)


def make_inline_run(spec: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "by-hand"}, "spec": {"pipelineSpec": spec}}


def test_a_run_whose_pods_can_have_no_account_fails_at_once(tmp_path: Path):
    async def act(world: World) -> None:
        refusal = Forbidden(
            'serviceaccounts is forbidden: unable to create in namespace "default": it is ending'
        )
        world.client.fail_next(refusal, "create", SERVICE_ACCOUNTS)
        run = await finish(world, make_spec({"one": add(1, 2)}))
        assert run.state is RunState.FAILED
        assert "it is ending" in run.error

    run_in_world(tmp_path, act)


def test_a_run_whose_object_can_never_be_made_is_over(tmp_path: Path):
    async def act(world: World) -> None:
        run = Run("id", "run-1", "gone", "A run", RunState.PENDING, world.now, pipeline_spec=make_spec({}))
        await world.database.runs.insert(run)
        world.client.fail_next(NotFound('namespaces "gone" not found'), "create", RUNS)
        working = asyncio.create_task(world.make_operator().run())
        over = await world.until_over(run)
        await end(working)
        assert (over.state, over.error.endswith('namespaces "gone" not found')) == (RunState.FAILED, True)

    asyncio.run(in_world(tmp_path, act))


def test_a_deadline_begins_anew_when_a_run_is_tried_again(tmp_path: Path):
    async def act(world: World) -> None:
        platform = {"platforms": {"kubernetes": {"pipelineConfig": {"activeDeadlineSeconds": 60}}}}
        run = await world.add_run(make_spec({"bad": {"do": ["fail"]}}), platform_spec=platform)
        assert (await world.until_over(run)).state is RunState.FAILED
        world.now += 120
        await world.client.patch(RUNS, run.name, {"spec": {"retries": 1}}, NAMESPACE)

        async def has_failed_again() -> bool:
            row = await world.database.runs.get(run.id)
            return row.retries == 1 and row.state is RunState.FAILED

        await world.until("it has failed again", has_failed_again)
        assert "activeDeadlineSeconds" not in (await world.until_over(run)).error

    run_in_world(tmp_path, act)


def test_of_two_operators_one_works_and_the_other_goes_on_after_it(tmp_path: Path):
    async def act(world: World) -> None:
        def begin(name: str) -> asyncio.Task[None]:
            recorder = EventSink(world.client, time.time).recorder("test")
            lock, timing = Lock("operator", name), Timing(1, 0.5, 0.05)
            elector = LeaderElector(world.client, recorder, lock, timing)
            return asyncio.create_task(elector.run(world.make_operator().run))

        first = begin("a")
        run = await world.add_run(make_spec({"long": {"do": ["wait"]}}))
        await until_running(world, run)
        second = begin("b")
        await end(first)
        await world.client.patch(RUNS, run.name, {"spec": {"terminate": True}}, NAMESPACE)
        assert (await world.until_over(run)).state is RunState.CANCELED
        await end(second)
        assert world.node.began == {(run.id, "long", "0"): 1}

    asyncio.run(in_world(tmp_path, act))


def test_a_step_costs_the_same_in_a_large_run(tmp_path: Path):
    async def seconds_of(world: World, steps: int) -> float:
        spec = make_spec({f"t{n}": add(n, 1) for n in range(steps)})
        gc.disable()  # what other tests have left would be walked here
        try:
            begun = time.thread_time()
            await finish(world, spec, cache_enabled=False)
            return (time.thread_time() - begun) / steps
        finally:
            gc.enable()

    async def act(world: World) -> None:
        await seconds_of(world, 20)
        small = await seconds_of(world, 50)
        assert await seconds_of(world, 500) < 5 * small

    run_in_world(tmp_path, act)


def test_a_run_that_is_deleted_from_the_database_leaves_nothing(tmp_path: Path):
    async def act(world: World) -> None:
        run = await world.add_run(make_spec({"long": {"do": ["wait"]}}))
        await until_running(world, run)
        await world.client.delete(RUNS, run.name, NAMESPACE)
        await world.database.runs.delete(run.id)

        async def is_gone() -> bool:
            return not world.client.all(RUNS) and not world.client.all(PODS)

        await world.until("nothing is left", is_gone)

    run_in_world(tmp_path, act)
