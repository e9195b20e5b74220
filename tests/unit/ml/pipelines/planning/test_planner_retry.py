"""Attempts: retry policies of steps and DAGs, :retry, ends that were asked for, and crashes among them."""

from __future__ import annotations

from tests.support.pipeline_runs import (
    PlannedRun,
    const,
    dag,
    declare,
    loop,
    outer,
    pipeline,
    retries,
    step,
    task,
)

from proa.ml.pipelines.planning.messages import BackoffOver, Failed, Started, Stopped, Succeeded, Terminate
from proa.ml.pipelines.records import RunState

STEP = step()


def flaky(count: int, **policy: object) -> PlannedRun:
    tasks = {"a": task("s", **retries(count, **policy))}  # type: ignore[arg-type]
    return PlannedRun(pipeline(dag(tasks), s=STEP)).start()


def test_a_step_is_tried_again_after_waits_that_grow_up_to_the_longest() -> None:
    run = flaky(4, backoff="10s", factor=3.0, longest="60s")
    waits = []
    for _ in range(4):
        run.fail("a")
        assert run.state("a") == "PENDING"
        waits.append(run.waits["a"].seconds)
        run.pass_back_off("a")
    run.fail("a", "for good")
    assert waits == [10, 30, 60, 60]
    assert run.launched == [("a", n) for n in range(5)]
    assert (run.result, run.records["a"].error) == ("FAILED", "for good")


def test_what_cannot_be_mended_is_not_tried_again() -> None:
    run = flaky(3).fail("a", "no such image", can_retry=False)
    assert run.result == "FAILED"


def test_events_of_attempts_that_are_over_change_nothing() -> None:
    run = flaky(1).fail("a")
    before = dict(run.records)
    late = (Started("a", 0), Succeeded("a", 0), Failed("a", 0, ""), Stopped("a", 0), BackoffOver("a", 0))
    for event in (*late, Started("a", 1), Succeeded("a", 1), Succeeded("nothing", 0)):
        run.say(event)
    assert run.records == before
    run.pass_back_off("a").succeed("a")
    assert run.result == "SUCCEEDED"
    assert run.planner.handle(Terminate(RunState.CANCELED, "late")) == []


def test_a_back_off_goes_on_for_the_rest_of_its_time_after_a_crash() -> None:
    run = flaky(2, backoff="10s").fail("a")
    run.clock += 4
    run.crash().start()
    assert (run.open, run.waits["a"].seconds) == ({}, 6)
    run.pass_back_off("a")
    run.crash().start()
    assert run.launched[-1] == ("a", 1)
    run.fail("a").pass_back_off("a")
    run.fail("a")
    assert run.result == "FAILED"


def nested(policy: dict[str, object]) -> PlannedRun:
    inner = dag({"a": task("s"), "b": task("s"), "c": task("s", after=["b"])})
    return PlannedRun(pipeline(dag({"d": task("inner", **policy)}), inner=inner, s=STEP)).start()  # type: ignore[arg-type]


def test_a_dag_that_is_tried_again_goes_on_from_what_failed() -> None:
    run = nested(retries(1, backoff="5s"))
    run.succeed("d/a").fail("d/b")
    assert (run.state("d"), run.waits["d"].seconds, run.result) == ("PENDING", 5, "")
    run.crash().start().pass_back_off("d")
    assert run.launched == [("d/a", 0), ("d/b", 0), ("d/b", 1)]
    run.succeed("d/b").succeed("d/c")
    assert run.result == "SUCCEEDED"


def test_a_dag_is_tried_no_more_often_than_it_may_be() -> None:
    run = nested(retries(1))
    run.succeed("d/a").fail("d/b").pass_back_off("d").fail("d/b")
    assert run.result == "FAILED"


def test_retry_goes_on_from_what_failed_and_attempts_count_up() -> None:
    run = nested({})
    run.succeed("d/a").fail("d/b")
    assert (run.result, run.state("d/c")) == ("FAILED", "NOT_TRIGGERED")
    run.retry()
    assert (run.open.keys(), run.state("d"), run.state("d/a")) == ({"d/b"}, "RUNNING", "SUCCEEDED")
    run.fail("d/b").retry().succeed("d/b").succeed("d/c")
    assert run.launched == [("d/a", 0), ("d/b", 0), ("d/b", 1), ("d/b", 2), ("d/c", 0)]
    assert run.result == "SUCCEEDED"


def test_retry_gives_a_step_all_its_tries_again() -> None:
    run = flaky(1).fail("a").pass_back_off("a").fail("a").retry()
    run.fail("a")
    assert run.result == ""
    run.pass_back_off("a").fail("a")
    assert run.launched == [("a", n) for n in range(4)]


def test_retry_of_a_canceled_run_begins_what_had_not_begun() -> None:
    run = nested({}).terminate().stopped("d/a").stopped("d/b")
    assert (run.result, "d/c" in run.records) == ("CANCELED", False)
    run.retry().succeed("d/a").succeed("d/b").succeed("d/c")
    assert run.result == "SUCCEEDED"


def test_retry_tells_an_exit_task_again() -> None:
    status = {"status": {"taskFinalStatus": {"producerTask": "a"}}}
    bye = task("bye", after=["a"], always=True, inputs=status)
    exit_step = step({"status": {"parameterType": "TASK_FINAL_STATUS"}})
    run = PlannedRun(pipeline(dag({"a": task("s"), "bye": bye}), s=STEP, bye=exit_step)).start()
    run.fail("a").succeed("bye").retry()
    assert run.open.keys() == {"a"}
    run.succeed("a")
    assert run.open["bye"].inputs.parameters["status"]["state"] == "COMPLETE"
    run.succeed("bye")
    assert (run.result, run.launched[-1]) == ("SUCCEEDED", ("bye", 1))


def test_an_end_that_was_asked_for_goes_on_after_a_crash() -> None:
    run = nested({}).terminate()
    assert run.states() == {"d": "RUNNING", "d/a": "CANCELING", "d/b": "CANCELING"}
    run.crash().start()
    assert (run.open, run.stops.keys()) == ({}, {"d/a", "d/b"})
    run.terminate().stopped("d/b")
    run.crash().start().terminate().stopped("d/a")
    assert (run.result, run.states()) == ("CANCELED", {"d": "CANCELED", "d/a": "CANCELED", "d/b": "CANCELED"})


def test_a_step_that_ends_well_while_it_is_stopped_has_ended_well() -> None:
    run = nested({}).terminate()
    run.succeed("d/a").stopped("d/b")
    assert (run.state("d/a"), run.result) == ("SUCCEEDED", "CANCELED")


def test_iterations_that_have_not_begun_do_not_when_the_run_ends() -> None:
    body = dag({"w": task("s", inputs={"x": outer("x")})}, declare(x=int))
    looping = task("body", **loop("x", [1, 2, 3], 1))
    run = PlannedRun(pipeline(dag({"l": looping}), body=body, s=step(declare(x=int)))).start()
    run.terminate().stopped("l[0]/w")
    assert (run.launched, run.result) == ([("l[0]/w", 0)], "CANCELED")
    run.retry().succeed("l[0]/w").succeed("l[1]/w").succeed("l[2]/w")
    assert run.result == "SUCCEEDED"


def test_a_planner_of_a_run_that_is_over_says_so_again() -> None:
    run = PlannedRun(pipeline(dag({"a": task("s", inputs={"x": const(1)})}), s=STEP)).start().succeed("a")
    run.finish = None
    run.crash().start()
    assert (run.result, run.launched) == ("SUCCEEDED", [("a", 0)])
