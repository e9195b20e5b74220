"""What begins when: dependencies, failures, skipped and exit tasks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.pipeline_runs import (
    PlannedRun,
    const,
    dag,
    declare,
    optional,
    out,
    outer,
    pipeline,
    step,
    task,
)

from proa.ml.pipelines.records import RunState

STEP = step(declare(x=optional(int)), declare(o=int))


def run_of(tasks: dict[str, object], **components: object) -> PlannedRun:
    return PlannedRun(pipeline(dag(tasks), s=STEP, **components)).start()  # type: ignore[arg-type]


def test_a_task_begins_when_all_that_it_waits_for_has_ended_well() -> None:
    run = run_of({"a": task("s"), "b": task("s"), "c": task("s", after=["a"], inputs={"x": out("b.o")})})
    assert run.launched == [("a", 0), ("b", 0)]
    run.succeed("a")
    assert "c" not in run.open
    run.succeed("b", o=7)
    assert run.open["c"].inputs.parameters == {"x": 7}
    run.succeed("c")
    assert run.result == "SUCCEEDED"


def test_a_failure_leaves_out_what_waits_for_it_and_nothing_else() -> None:
    run = run_of(
        {"a": task("s"), "b": task("s"), "after-a": task("s", after=["a"]), "after-b": task("s", after=["b"])}
    )
    run.fail("a", "out of memory").succeed("b")
    assert run.result == ""
    run.succeed("after-b")
    assert run.states() == {
        "a": "FAILED",
        "after-a": "NOT_TRIGGERED",
        "after-b": "SUCCEEDED",
        "b": "SUCCEEDED",
    }
    assert (run.result, run.finish and run.finish.error) == ("FAILED", "out of memory")


def test_a_false_condition_skips_the_task_and_what_waits_for_it_and_the_run_ends_well() -> None:
    gate = task("s", inputs={"x": out("a.o")}, when="inputs.parameter_values['x'] > 3")
    run = run_of({"a": task("s"), "gate": gate, "behind": task("s", after=["gate"])})
    run.succeed("a", o=3)
    assert run.states() == {"a": "SUCCEEDED", "behind": "SKIPPED", "gate": "SKIPPED"}
    assert run.result == "SUCCEEDED"


@pytest.mark.parametrize(
    ("condition", "value", "holds"),
    [
        ("inputs.parameter_values['x'] == 'yes'", "yes", True),
        ("inputs.parameter_values['x'] == 'yes'", "no", False),
        ("int(inputs.parameter_values['x']) > 1", "2", True),
        ("inputs.parameter_values['x'] >= 2", 2, True),
        ("inputs.parameter_values['x'] == 2.0", 2, True),
        ("inputs.parameter_values['x'] / 2.0 > 1.2", 2.5, True),
        ("!(inputs.parameter_values['x'] == true)", True, False),
        ("parseJson(inputs.parameter_values['x'])['k'] == 'v'", '{"k": "v"}', True),
        ("inputs.parameter_values['x'] != 1 && inputs.parameter_values['x'] < 5", 3, True),
    ],
)
def test_conditions_are_worked_out_as_upstream_does(condition: str, value: object, holds: bool) -> None:
    spec = pipeline(
        dag({"a": task("s", inputs={"x": const(value)}, when=condition)}), s=step(declare(x=type(value)))
    )
    run = PlannedRun(spec).start()
    assert bool(run.open) is holds


def test_a_condition_that_cannot_be_worked_out_fails_its_task() -> None:
    run = run_of({"a": task("s", when="inputs.parameter_values['nothing'] == 1")})
    assert run.result == "FAILED"
    assert run.records["a"].error.startswith("task 'a': its condition cannot be worked out: ")


EXIT = step(declare(status={"parameterType": "TASK_FINAL_STATUS", "isOptional": True}))


def exit_run() -> PlannedRun:
    handler = task("body")
    bye = task(
        "bye", after=["body"], always=True, inputs={"status": {"taskFinalStatus": {"producerTask": "body"}}}
    )
    body = dag({"one": task("s"), "two": task("s", after=["one"])})
    return PlannedRun(pipeline(dag({"body": handler, "bye": bye}), s=STEP, body=body, bye=EXIT)).start()


@pytest.mark.parametrize(
    ("act", "state", "error", "result"),
    [
        (lambda run: run.succeed("body/one").succeed("body/two"), "COMPLETE", {}, "SUCCEEDED"),
        (lambda run: run.fail("body/one", "no"), "FAILED", {"code": 2, "message": "no"}, "FAILED"),
        (
            lambda run: run.terminate(RunState.FAILED, "too long").stopped("body/one"),
            "CANCELED",
            {"code": 1, "message": ""},
            "FAILED",
        ),
    ],
    ids=["after success", "after failure", "when its time is over"],
)
def test_an_exit_task_is_told_how_the_others_ended(
    act: Callable[[PlannedRun], object], state: str, error: object, result: str
) -> None:
    run = exit_run()
    assert "bye" not in run.open
    act(run)
    assert run.open["bye"].inputs.parameters["status"] == {
        "state": state,
        "pipelineJobResourceName": "p-abc",
        "pipelineTaskName": "body",
        "error": error,
    }
    run.succeed("bye")
    assert run.result == result


def test_an_exit_task_does_not_run_when_the_run_is_canceled() -> None:
    run = exit_run().terminate().stopped("body/one")
    assert run.launched == [("body/one", 0)]
    assert run.states() == {"body": "CANCELED", "body/one": "CANCELED"}
    assert (run.result, run.finish and run.finish.error) == ("CANCELED", "asked for")


def test_a_task_that_ignores_failures_runs_with_defaults() -> None:
    after = task("d", inputs={"x": out("a.o")}, always=True)
    run = PlannedRun(
        pipeline(dag({"a": task("s"), "b": after}), s=STEP, d=step(declare(x=optional(int, 9))))
    ).start()
    run.fail("a")
    assert run.open["b"].inputs.parameters == {"x": 9}
    run.succeed("b")
    assert run.result == "FAILED"


def test_a_dag_without_tasks_that_run_has_ended() -> None:
    inner = dag(
        {"a": task("s", when="inputs.parameter_values['x'] == 1", inputs={"x": outer("x")})}, declare(x=int)
    )
    run = PlannedRun(pipeline(dag({"d": task("inner", inputs={"x": const(2)})}), inner=inner, s=STEP)).start()
    assert run.states() == {"d": "SUCCEEDED", "d/a": "SKIPPED"}
    assert run.result == "SUCCEEDED"


def test_a_run_with_several_failures_tells_the_first_and_how_many_there_are() -> None:
    run = run_of({"a": task("s"), "b": task("s"), "c": task("s")})
    run.fail("b", "first").fail("a", "second").succeed("c")
    assert run.finish is not None
    assert run.finish.error == "first (and 1 more of its tasks failed)"
