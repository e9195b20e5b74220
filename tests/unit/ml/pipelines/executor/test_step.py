"""A launch becomes a step: placeholders, ExecutorInput, where outputs go."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proa.ml.pipelines.executor.step import make_step, task_key
from proa.ml.pipelines.executor.step_failed import StepFailed
from proa.ml.pipelines.planning.messages import Launch
from proa.ml.pipelines.records import Values, make_task_id
from support.pipeline_steps import ROOT, make_artifact, make_launch, make_run

OUTPUTS = {
    "outputDefinitions": {
        "parameters": {"score": {"parameterType": "NUMBER_DOUBLE"}},
        "artifacts": {"model": {"artifactType": {"schemaTitle": "system.Model", "schemaVersion": "0.0.1"}}},
    }
}
TASK_ROOT = f"{ROOT}/digits/r-1/train/salt"
FOLDER = "/minio/mlpipeline/v2/artifacts/digits/r-1/train/salt"

PLACEHOLDERS = [
    ("{{$.inputs.parameters['text']}}", "a $$(HOME) b"),
    ("{{$.inputs.parameters['count']}}", "3"),
    ("{{$.inputs.parameters['rate']}}", "0.0000001"),
    ("{{$.inputs.parameters['on']}}", "true"),
    ("{{$.inputs.parameters['items']}}", '[1,"two",{"x":null}]'),
    ("{{$.inputs.parameters['struct']['deep'][1].name}}", "found"),
    ("--n={{$.inputs.parameters['count']}},{{$.inputs.parameters['on']}}", "--n=3,true"),
    ("{{$.inputs.artifacts['data'].uri}}", f"{ROOT}/digits/r-1/load/s/data"),
    ("{{$.inputs.artifacts['data'].path}}", "/minio/mlpipeline/v2/artifacts/digits/r-1/load/s/data"),
    ("{{$.inputs.artifacts['data'].metadata['rows']}}", "10"),
    ("{{$.inputs.artifacts['data'].metadata}}", '{"rows":10}'),
    ("{{$.outputs.parameters['score'].output_file}}", "/tmp/kfp/outputs/score"),
    ("{{$.outputs.artifacts['model'].uri}}", f"{TASK_ROOT}/model"),
    ("{{$.outputs.artifacts['model'].path}}", f"{FOLDER}/model"),
    ("{{$.outputs.output_file}}", f"{FOLDER}/output_metadata.json"),
    ("{{$.outputs.output_metadata_uri}}", f"{FOLDER}/output_metadata.json"),
    ("{{$.pipeline_job_name}}", "digits of today"),
    ("{{$.pipeline_job_resource_name}}", "digits-x7"),
    ("{{$.pipeline_job_uuid}}", "r-1"),
    ("{{$.pipeline_task_name}}", "train"),
    ("{{$.pipeline_task_uuid}}", make_task_id("r-1", "loop-1[2]/train")),
    ("{{$.pipeline_root}}", ROOT),
    ("{{$.pipeline_job_create_time_utc}}", "2023-11-14T22:13:20Z"),
    ("{{$.pipeline_job_schedule_time_utc}}", "2023-11-14T22:13:20Z"),
    ("{{$.something_else}}", "{{$.something_else}}"),
    ("$(HOME) {{ jinja }} {{$", "$(HOME) {{ jinja }} {{$"),
]
INPUTS = Values(
    parameters={
        "text": "a $(HOME) b",
        "count": 3,
        "rate": 1e-7,
        "on": True,
        "items": [1, "two", {"x": None}],
        "struct": {"deep": [0, {"name": "found"}]},
    },
    artifacts={"data": (make_artifact(rows=10),)},
)


@pytest.mark.parametrize(("template", "expected"), PLACEHOLDERS, ids=[item[0][:60] for item in PLACEHOLDERS])
def test_a_placeholder_stands_for_its_value(template: str, expected: str) -> None:
    launch = make_launch(command=["run", template], inputs=INPUTS, component=OUTPUTS)

    step = make_step(make_run(), launch, ROOT, "salt")

    assert step.command == ["run", expected]


def test_the_executor_input_says_everything_to_the_sdk() -> None:
    launch = make_launch(args=["{{$}}"], inputs=INPUTS, component=OUTPUTS)

    step = make_step(make_run(), launch, ROOT, "salt")

    told = json.loads(step.args[0].replace("$$", "$"))
    assert told == step.executor_input
    assert told["inputs"]["parameterValues"] == dict(INPUTS.parameters)
    assert told["inputs"]["artifacts"]["data"]["artifacts"] == [
        {
            "name": "data",
            "type": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"},
            "uri": f"{ROOT}/digits/r-1/load/s/data",
            "metadata": {"rows": 10},
        }
    ]
    assert told["outputs"] == {
        "outputFile": f"{FOLDER}/output_metadata.json",
        "parameters": {"score": {"outputFile": "/tmp/kfp/outputs/score"}},
        "artifacts": {
            "model": {
                "artifacts": [
                    {
                        "name": "model",
                        "type": {"schemaTitle": "system.Model", "schemaVersion": "0.0.1"},
                        "uri": f"{TASK_ROOT}/model",
                        "metadata": {},
                    }
                ]
            }
        },
    }
    assert (step.task_root, step.paths["model"]) == (TASK_ROOT, f"{FOLDER}/model")


STRUCTURES = [
    ('{"Concat": ["--x=", "{{$.inputs.parameters[\'x\']}}"]}', {"x": "1"}, ["--x=1"]),
    ('{"IfPresent": {"InputName": "x", "Then": ["--x", "{{$.inputs.parameters[\'x\']}}"]}}', {"x": 1}, ["--x", "1"]),
    ('{"IfPresent": {"InputName": "x", "Then": "yes", "Else": "no"}}', {}, ["no"]),
    ('{"IfPresent": {"InputName": "x", "Then": "yes"}}', {}, []),
    ('{"IfPresent": {"InputName": "x", "Then": "yes"}}', {"x": None}, []),
    ('{"Concat": ["a", {"IfPresent": {"InputName": "x", "Then": "b", "Else": "c"}}, "d"]}', {}, ["acd"]),
    ('{"IfPresent": {"InputName": "x", "Then": [{"Concat": ["a", "b"]}, "c"]}}', {"x": ""}, ["ab", "c"]),
    ('{"other": 1}', {}, ['{"other": 1}']),
]  # fmt: skip


@pytest.mark.parametrize(("word", "parameters", "expected"), STRUCTURES)
def test_structures_become_words(word: str, parameters: dict[str, Any], expected: list[str]) -> None:
    step = make_step(make_run(), make_launch(args=[word], inputs=Values(parameters)), ROOT, "salt")

    assert step.args == expected


def test_a_constant_is_filled_in_and_what_a_task_returned_is_not() -> None:
    template = "of {{$.inputs.parameters['other']}} in {{$.pipeline_job_name}}"
    launch = make_launch(
        args=["{{$.inputs.parameters['written']}}", "{{$.inputs.parameters['returned']}}"],
        constants={"written": template},
        inputs=Values(
            {"written": template, "other": 'a "quoted" one', "returned": "{{$.inputs.parameters['other']}}"}
        ),
    )

    step = make_step(make_run(), launch, ROOT, "salt")

    assert step.args == ['of a "quoted" one in digits of today', "{{$$.inputs.parameters['other']}}"]
    assert (
        step.executor_input["inputs"]["parameterValues"]["written"] == 'of a "quoted" one in digits of today'
    )


CANNOT_BE_MADE = [
    (make_launch(args=["{{$.inputs.parameters['x']}}"]), "input parameter 'x', which has no value"),
    (make_launch(args=["{{$.inputs.artifacts['x'].uri}}"]), "input artifact 'x', which is not there"),
    (make_launch(args=["{{$.inputs.parameters['x'].y}}"], inputs=Values({"x": 1})), "has no 'y'"),
    (make_launch(args=["{{$}}"], inputs=Values({"x": "a" * 200_000})), "Pass what is large as an artifact"),
    (make_launch(args=['{"Concat": [["a"]]}']), "a list cannot be part of Concat"),
    (make_launch(container={"resources": {"resourceCpuLimit": "many"}}), "its cpu limit is 'many'"),
]


@pytest.mark.parametrize(("launch", "message"), CANNOT_BE_MADE, ids=[item[1] for item in CANNOT_BE_MADE])
def test_what_cannot_be_made_names_the_task_and_says_why(launch: Launch, message: str) -> None:
    with pytest.raises(StepFailed) as raised:
        make_step(make_run(), launch, ROOT, "salt")

    assert raised.value.message.startswith("task 'train': ")
    assert message in raised.value.message
    assert not raised.value.can_retry


@pytest.mark.parametrize("root", ["https://host/x", "minio://", "minio://b/../c", "/tmp/x"])
def test_a_root_that_is_none_is_refused(root: str) -> None:
    with pytest.raises(StepFailed, match="task 'train'"):
        make_step(make_run(), make_launch(), root, "salt")


def test_a_tasks_key_is_its_name_in_its_dag() -> None:
    assert [task_key(path) for path in ("train", "a/b/train", "a/loop-1[3]", "loop-1[3]/train")] == [
        "train",
        "train",
        "loop-1",
        "train",
    ]
