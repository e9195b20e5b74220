"""What goes between tasks: inputs, defaults, constants, loops' items, collected lists, OneOf."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.pipeline_runs import (
    PlannedRun,
    const,
    dag,
    declare,
    loop,
    made,
    make_artifact,
    optional,
    out,
    outer,
    pipeline,
    step,
    task,
)

from proa.ml.pipelines.planning import tree
from proa.ml.pipelines.records import TaskKind

Json = dict[str, Any]


def one_task(inputs: Json, declared: Json, **run: Any) -> PlannedRun:
    root = dag({"a": task("s", inputs=inputs)}, run.pop("given", {}))
    return PlannedRun(pipeline(root, s=step(declared)), **run).start()


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (3, float, 3),
        (3.0, int, 3),
        (3, str, "3"),
        (2.5, str, "2.5"),
        (True, str, "true"),
        ([1, "a"], str, '[1,"a"]'),
        ({"k": 1}, str, '{"k":1}'),
        ([1], list, [1]),
        ({"k": 1}, dict, {"k": 1}),
        (False, bool, False),
    ],
)
def test_values_become_of_the_type_that_an_input_has(value: Any, kind: type, expected: Any) -> None:
    found = one_task({"x": const(value)}, declare(x=kind)).open["a"].inputs.parameters["x"]
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        ("3", int, "expect NUMBER_INTEGER, got string"),
        (True, float, "expect NUMBER_DOUBLE, got bool"),
        (1, bool, "expect BOOLEAN, got number"),
        ({}, list, "expect LIST, got struct"),
        ([], dict, "expect STRUCT, got list"),
    ],
)
def test_a_value_of_another_type_fails_the_task(value: Any, kind: type, words: str) -> None:
    run = one_task({"x": const(value)}, declare(x=kind))
    assert run.records["a"].error == f"task 'a': input parameter \"x\" type mismatch: {words}"
    assert run.result == "FAILED"


def test_a_value_that_is_none_of_the_literals_fails_the_task() -> None:
    declared = {"x": {"parameterType": "STRING", "literals": ["adam", "sgd"]}}
    assert one_task({"x": const("sgd")}, declared).open
    run = one_task({"x": const("rprop")}, declared)
    assert (
        'value "rprop" does not match any of the allowed literal values: ["adam","sgd"]'
        in run.records["a"].error
    )


def test_inputs_left_out_have_their_defaults_or_stay_away() -> None:
    declared = declare(a=optional(int, 5), b=optional(str), c=optional(str), d={"parameterType": "STRING"})
    root = declare(given=str, nothing=optional(str))
    inputs = {"c": outer("nothing"), "d": outer("given")}
    run = one_task(inputs, declared, given=root, parameters={"given": "here"})
    assert run.open["a"].inputs.parameters == {"a": 5, "d": "here"}


def test_a_required_input_without_a_value_fails_the_task_and_says_why() -> None:
    declared = declare(nothing=optional(str))
    run = one_task({"x": outer("nothing")}, declare(x=str), given=declared)
    assert run.records["a"].error == (
        "task 'a': the pipeline's input 'nothing' was left out, so that there is neither value nor default value"
        ' provided for parameter "x"'
    )


def test_task_configs_are_left_to_who_makes_the_pod() -> None:
    run = one_task({}, {"x": {"parameterType": "TASK_CONFIG"}})
    assert run.open["a"].inputs.parameters == {}


def test_a_selector_picks_a_part_of_a_value() -> None:
    source = {**const('{"k": {"n": 3}}'), "parameterExpressionSelector": 'parseJson(string_value)["k"]["n"]'}
    assert one_task({"x": source}, declare(x=int)).open["a"].inputs.parameters == {"x": 3}


def test_constants_of_dags_are_filled_with_what_the_dag_is_given_and_values_are_not_looked_through() -> None:
    text = "{{$.pipeline_job_name}}/{{$.inputs.parameters['pipelinechannel--n']}}/{{$.pipeline_root}}"
    inputs = {"x": const([text, 1]), "pipelinechannel--n": outer("n")}
    inner = dag({"a": task("s", inputs={"x": outer("x")})}, declare(x=list))
    root = dag({"d": task("inner", inputs=inputs)}, declare(n=str))
    run = PlannedRun(
        pipeline(root, inner=inner, s=step(declare(x=list))), {"n": "{{$.pipeline_job_uuid}}"}
    ).start()
    expected = ["my run/{{$.pipeline_job_uuid}}/{{$.pipeline_root}}", 1]
    assert run.open["d/a"].inputs.parameters == {"x": expected}


def test_constants_of_steps_are_left_to_who_makes_the_pod() -> None:
    text = "{{$.inputs.parameters['pipelinechannel--n']}}"
    run = one_task({"x": const(text), "pipelinechannel--n": const(3)}, declare(x=str))
    assert run.open["a"].inputs.parameters == {"x": text, "pipelinechannel--n": 3}


BODY = dag({"w": task("w", inputs={"x": outer("x")})}, {"x": {}}, {"r": "w.y"}, {"m": "w.m"})
WORK = step({"x": {"isOptional": True}}, declare(y=int), artifacts_out=["m"])
COLLECT = step(declare(v=list), artifacts_in=["ms"])


def looping(items: Any, **fields: Any) -> PlannedRun:
    """Run a loop over an input of the run, and what collects its outputs."""
    looped = task("body", inputs={"xs": outer("xs")}, **loop("x", "xs"), **fields)
    collect = task("collect", inputs={"v": out("l.r")}, artifacts={"ms": made("l.m")})
    spec = pipeline(dag({"l": looped, "c": collect}, {"xs": {}}), body=BODY, w=WORK, collect=COLLECT)
    return PlannedRun(spec, {"xs": items}).start()


@pytest.mark.parametrize("items", [[1, "a", {"k": [2]}], '[1, "a", {"k": [2]}]'], ids=["list", "JSON"])
def test_a_loop_goes_over_a_list_and_collects_in_its_order(items: Any) -> None:
    run = looping(items)
    assert [run.open[f"l[{i}]/w"].inputs.parameters["x"] for i in range(3)] == [1, "a", {"k": [2]}]
    for index in (2, 0, 1):
        run.succeed(f"l[{index}]/w", {"m": make_artifact(f"m{index}")}, y=index * 10)
    inputs = run.open["c"].inputs
    assert inputs.parameters == {"v": [0, 10, 20]}
    assert [one.name for one in inputs.artifacts["ms"]] == ["m0", "m1", "m2"]
    assert "xs" not in run.records["l[0]"].inputs.parameters


def test_a_loop_over_nothing_gives_empty_lists() -> None:
    run = looping([])
    assert (run.open["c"].inputs.parameters, run.open["c"].inputs.artifacts) == ({"v": []}, {"ms": ()})


@pytest.mark.parametrize("items", [3, "no JSON", '{"a": 1}'])
def test_a_loop_over_what_is_no_list_fails(items: Any) -> None:
    run = looping(items)
    assert run.records["l"].error.startswith("task 'l': it loops over input \"xs\", which is ")
    assert run.states() == {"c": "NOT_TRIGGERED", "l": "FAILED"}


def test_a_failed_iteration_fails_the_loop_when_the_others_are_over() -> None:
    run = looping([1, 2]).fail("l[0]/w", "bad")
    assert run.state("l") == "RUNNING"
    run.succeed("l[1]/w", y=1)
    assert (run.state("l"), run.records["l"].error, run.result) == ("FAILED", "bad", "FAILED")


def test_nested_loops_collect_nested_lists_of_parameters_and_flat_lists_of_artifacts() -> None:
    middle = dag(
        {"in": task("body", inputs={"o": outer("o")}, **loop("x", [1, 2]))},
        {"o": {}},
        {"r": "in.r"},
        {"m": "in.m"},
    )
    root = dag(
        {
            "l": task("middle", **loop("o", ["a", "b"])),
            "c": task("collect", inputs={"v": out("l.r")}, artifacts={"ms": made("l.m")}),
        }
    )
    run = PlannedRun(pipeline(root, middle=middle, body=BODY, w=WORK, collect=COLLECT)).start()
    for outside in (1, 0):
        for inside in (0, 1):
            name = f"{outside}{inside}"
            run.succeed(f"l[{outside}]/in[{inside}]/w", {"m": make_artifact(name)}, y=int(name))
    assert run.open["c"].inputs.parameters == {"v": [[0, 1], [10, 11]]}
    assert [one.name for one in run.open["c"].inputs.artifacts["ms"]] == ["00", "01", "10", "11"]


def test_a_step_itself_can_be_looped_over() -> None:
    root = dag({"l": task("w", **loop("x", [1, 2], 1)), "c": task("collect", inputs={"v": out("l.y")})})
    run = PlannedRun(pipeline(root, w=WORK, collect=step(declare(v=list)))).start()
    assert run.launched == [("l[0]", 0)]
    assert (run.records["l[0]"].kind, run.records["l[0]"].iteration) == (TaskKind.CONTAINER, 0)
    run.succeed("l[0]", y=1).succeed("l[1]", y=2)
    assert run.open["c"].inputs.parameters == {"v": [1, 2]}


def test_a_loop_over_artifacts_gives_each_iteration_one() -> None:
    looped = task("body", artifacts={"all": made("a.m")})
    looped["artifactIterator"] = {"itemInput": "one", "items": {"inputArtifact": "all"}}
    use = task("use", artifacts={"one": {"componentInputArtifact": "one"}})
    body = dag({"u": use})
    several = dag({"a": task("w"), "b": task("w")}, artifacts={})
    spec = pipeline(
        dag({"g": task("body1"), "l": {**looped, "inputs": {"artifacts": {"all": made("g.m")}}}}),
        body1=dag({"i": task("body2", **loop("x", [1, 2]))}, artifacts={"m": "i.m"}),
        body2=dag({"w": task("w", inputs={"x": outer("x")})}, {"x": {}}, artifacts={"m": "w.m"}),
        body=body, w=WORK, use=step(artifacts_in=["one"]), several=several,
    )  # fmt: skip
    run = PlannedRun(spec).start()
    for index in (0, 1):
        run.succeed(f"g/i[{index}]/w", {"m": make_artifact(f"m{index}")})
    given = [run.open[f"l[{i}]/u"].inputs.artifacts["one"] for i in (0, 1)]
    assert [[one.name for one in items] for items in given] == [["m0"], ["m1"]]


@pytest.mark.parametrize(("flip", "chosen"), [("heads", "a"), ("tails", "b")])
def test_one_of_is_the_output_of_the_branch_that_ran(flip: str, chosen: str) -> None:
    branch = {
        key: task("s", inputs={"x": outer("f")}, when=f"inputs.parameter_values['x'] {op} 'heads'")
        for key, op in (("a", "=="), ("b", "!="))
    }
    branches = dag(branch, declare(f=str), {"o": ["a.o", "b.o"]}, {"m": ["a.m", "b.m"]})
    use = task("use", inputs={"v": out("branches.o")}, artifacts={"m": made("branches.m")})
    spec = pipeline(
        dag({"branches": task("branches", inputs={"f": const(flip)}), "use": use}),
        branches=branches, s=step(declare(x=str), declare(o=str), artifacts_out=["m"]),
        use=step(declare(v=str), artifacts_in=["m"]),
    )  # fmt: skip
    run = PlannedRun(spec).start()
    run.succeed(f"branches/{chosen}", {"m": make_artifact(chosen)}, o=chosen)
    inputs = run.open["use"].inputs
    assert (inputs.parameters, inputs.artifacts["m"][0].name) == ({"v": chosen}, chosen)


def test_a_missing_artifact_fails_the_task_unless_it_is_optional() -> None:
    use = step(artifacts_in=["m"])
    tasks = {"a": task("w"), "u": task("use", artifacts={"m": made("a.m")})}
    run = PlannedRun(pipeline(dag(tasks), w=WORK, use=use)).start()
    run.succeed("a")
    assert (
        run.records["u"].error == "task 'u': input artifact \"m\" is not there: task 'a' gave no artifact 'm'"
    )
    use["inputDefinitions"]["artifacts"]["m"]["isOptional"] = True
    run = PlannedRun(pipeline(dag(tasks), w=WORK, use=use)).start()
    assert run.succeed("a").open["u"].inputs.artifacts == {}


def test_a_launch_has_what_the_platform_document_refers_to() -> None:
    mount = {
        "pvcMount": [
            {"pvcNameParameter": {"taskOutputParameter": {"producerTask": "a", "outputParameterKey": "y"}}}
        ]
    }
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-use": mount}}}}}
    root = dag({"a": task("w"), "b": task("w"), "u": task("use")}, declare(n=str))
    run = PlannedRun(pipeline(root, w=WORK, use=step()), {"n": "v"}, platform).start()
    assert "u" not in run.open
    launch = run.succeed("a", y=4).open["u"]
    assert launch.siblings is not None
    assert (launch.platform, launch.siblings["a"].parameters, launch.scope.parameters) == (
        mount,
        {"y": 4},
        {"n": "v"},
    )
    assert launch.siblings.keys() == {"a"}


def test_a_run_of_too_many_tasks_fails_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_TASKS", 10)
    run = looping(list(range(9)))
    assert run.records["l"].error.startswith(
        "task 'l': its 9 iterations would give the run more than 10 tasks."
    )
    assert run.result == "FAILED"
