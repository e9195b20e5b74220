"""What a step left is read, and held against what it declares."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from proa.ml.pipelines.artifacts.protocol import ArtifactError
from proa.ml.pipelines.executor.fingerprint import make_fingerprint
from proa.ml.pipelines.executor.outputs import read_outputs
from proa.ml.pipelines.executor.parameters import format_value
from proa.ml.pipelines.executor.step import Step, make_step
from proa.ml.pipelines.executor.step_failed import StepFailed
from proa.ml.pipelines.planning.messages import Launch
from proa.ml.pipelines.records import Values
from support.pipeline_steps import ROOT, make_artifact, make_launch, make_run

Json = dict[str, Any]
OUT = "/tmp/kfp/outputs/out"


def read_with(files: dict[str, bytes], launch: Launch) -> Values:
    step = make_step(make_run(), launch, ROOT, "salt")
    named = {step.output_file if path == "json" else path: data for path, data in files.items()}

    async def read(path: str, limit: int) -> bytes | None:
        found = named.get(path)
        if found is not None and len(found) > limit:
            raise ArtifactError(f"{path} has more than {limit} bytes")
        return found

    return asyncio.run(read_outputs(launch, step, read))


def with_parameter(kind: str, **spec: Any) -> Launch:
    return make_launch(
        component={"outputDefinitions": {"parameters": {"out": {"parameterType": kind, **spec}}}}
    )


def told(value: Any) -> dict[str, bytes]:
    return {"json": json.dumps({"parameterValues": {"out": value}}).encode()}


GOOD = [
    ("STRING", {OUT: b" text\n"}, " text\n"),
    ("STRING", told("x"), "x"),
    ("NUMBER_INTEGER", {OUT: b" 42\n"}, 42),
    ("NUMBER_INTEGER", told(3.0), 3),
    ("NUMBER_DOUBLE", {OUT: b"1e-3"}, 0.001),
    ("NUMBER_DOUBLE", told(2), 2),
    ("BOOLEAN", {OUT: b"True\n"}, True),
    ("BOOLEAN", {OUT: b"0"}, False),
    ("LIST", {OUT: b"[1, 2]"}, [1, 2]),
    ("STRUCT", told({"a": None}), {"a": None}),
    ("STRING", {**told("of the json"), OUT: b"of the file"}, "of the json"),
    ("STRING", {"json": b"", OUT: b"of the file"}, "of the file"),
]


@pytest.mark.parametrize(("kind", "files", "expected"), GOOD)
def test_a_parameter_is_read_as_its_type(kind: str, files: dict[str, bytes], expected: Any) -> None:
    assert read_with(files, with_parameter(kind)).parameters == {"out": expected}


def test_an_optional_output_may_be_left_out() -> None:
    assert read_with({}, with_parameter("STRING", isOptional=True)).parameters == {}


BAD = [
    ("NUMBER_DOUBLE", {}, "no output was written for parameter 'out' (declared NUMBER_DOUBLE)"),
    ("NUMBER_INTEGER", {OUT: b"four"}, 'is declared NUMBER_INTEGER, but "four" is not a whole number'),
    ("NUMBER_INTEGER", told("4"), 'but "4" is not a whole number'),
    ("NUMBER_INTEGER", told(4.5), "but 4.5 is not a whole number"),
    ("NUMBER_INTEGER", told(True), "but true is not a whole number"),
    ("NUMBER_DOUBLE", {OUT: b"nan"}, "is not a finite number"),
    ("STRING", told(4), "but 4 is not a string"),
    ("BOOLEAN", {OUT: b"yes"}, "is not true or false"),
    ("LIST", {OUT: b'{"a": 1}'}, "is not a list"),
    ("STRUCT", {OUT: b"["}, "is not JSON"),
    ("STRING", {OUT: b"\xff"}, "is not UTF-8 text"),
    ("STRING", {OUT: b"x" * 2_000_000}, "Pass what is large as an artifact"),
    ("STRING", {"json": b"["}, "is not a JSON object"),
    ("STRING", {"json": b'{"parameterValues": 1}'}, "'parameterValues' of its executor output"),
]


@pytest.mark.parametrize(
    ("kind", "files", "message"), BAD, ids=[f"{kind}-{text[:40]}" for kind, _, text in BAD]
)
def test_what_is_not_its_type_says_what_to_do(kind: str, files: dict[str, bytes], message: str) -> None:
    with pytest.raises(StepFailed) as raised:
        read_with(files, with_parameter(kind))

    assert raised.value.message.startswith("task 'train': ")
    assert message in raised.value.message
    assert raised.value.can_retry


MODEL = make_launch(
    component={
        "outputDefinitions": {
            "artifacts": {"model": {"artifactType": {"schemaTitle": "system.Model"}, "metadata": {"kept": 1}}}
        }
    }
)
TASK_ROOT = f"{ROOT}/digits/r-1/train/salt"
FOLDER = "/minio/mlpipeline/v2/artifacts/digits/r-1/train/salt"


def model_of(**told: Any) -> Any:
    data = json.dumps({"artifacts": {"model": {"artifacts": [told]}}}).encode()
    return read_with({"json": data}, MODEL).artifacts["model"][0]


def test_an_artifact_has_the_metadata_that_its_step_gave_it() -> None:
    model = model_of(name="model", uri=f"{TASK_ROOT}/model", metadata={"framework": "sklearn"})

    assert dict(model.metadata) == {"kept": 1, "framework": "sklearn"}
    assert (model.uri, model.type_title, model.run_id) == (f"{TASK_ROOT}/model", "system.Model", "r-1")


def test_an_artifact_is_there_without_a_word_of_its_step() -> None:
    assert read_with({}, MODEL).artifacts["model"][0].uri == f"{TASK_ROOT}/model"


URIS = [
    ({"uri": "s3://elsewhere/model"}, "s3://elsewhere/model"),
    ({"uri": "https://host/model"}, "https://host/model"),
    ({"uri": "/mnt/claim/model"}, "/mnt/claim/model"),
    ({"customPath": f"{FOLDER}/other"}, f"{TASK_ROOT}/other"),
    ({"custom_path": f"{FOLDER}/model/deep"}, f"{TASK_ROOT}/model/deep"),
]


@pytest.mark.parametrize(("told", "expected"), URIS)
def test_a_step_may_say_where_its_artifact_is(told: Json, expected: str) -> None:
    assert model_of(**told).uri == expected


@pytest.mark.parametrize(
    "told",
    [
        {"customPath": "/tmp/model"},
        {"customPath": f"{FOLDER}/../../other/salt/model"},
        {"uri": "minio://b/../c"},
        {"uri": 7},
        {"metadata": [1]},
        {"metadata": {"x": "y" * 2_000_000}},
    ],
)
def test_what_cannot_be_kept_is_refused(told: Json) -> None:
    with pytest.raises(StepFailed, match="output artifact 'model'"):
        model_of(**told)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1"), (1e21, "1" + "0" * 21), (0.1, "0.1"), (-2.50, "-2.5"), (None, ""), ("", "")],
)
def test_values_are_written_as_upstream_writes_them(value: Any, text: str) -> None:
    assert format_value(value) == text


# Fingerprints


def fingerprint(launch: Launch, tags: dict[str, list[str]] | None = None, salt: str = "salt") -> str:
    step: Step = make_step(make_run(), launch, ROOT, salt)
    return make_fingerprint(launch, step, tags or {})


def test_a_fingerprint_does_not_depend_on_the_run_or_the_attempt() -> None:
    again = make_step(make_run(id="r-2", name="other"), MODEL, ROOT, "other")

    assert fingerprint(MODEL) == make_fingerprint(MODEL, again, {})


INPUTS = Values({"x": 1}, {"data": (make_artifact(rows=1),)})
CHANGES = [
    make_launch(inputs=Values({"x": 2}, INPUTS.artifacts)),
    make_launch(inputs=Values({"x": 1}, {"data": (make_artifact(rows=2),)})),
    make_launch(inputs=INPUTS, args=["more"]),
    make_launch(inputs=INPUTS, container={"image": "python:3.12"}),
    make_launch(
        inputs=INPUTS, component={"outputDefinitions": {"parameters": {"y": {"parameterType": "STRING"}}}}
    ),
    make_launch(inputs=INPUTS, platform={"pvcMount": [{"constant": "c", "mountPath": "/c"}]}),
]


@pytest.mark.parametrize("changed", CHANGES)
def test_a_fingerprint_depends_on_what_a_step_depends_on(changed: Launch) -> None:
    tags = {"data": ["tag"]}

    assert fingerprint(make_launch(inputs=INPUTS), tags) != fingerprint(changed, tags)


def test_an_artifact_that_was_changed_in_place_is_no_hit() -> None:
    launch = make_launch(inputs=INPUTS)

    assert fingerprint(launch, {"data": ["old"]}) != fingerprint(launch, {"data": ["new"]})


def test_a_cache_key_of_ones_own_is_all_that_counts() -> None:
    spec = {"cachingOptions": {"enableCache": True, "cacheKey": "v1"}, "componentRef": {"name": "comp-train"}}

    first = make_launch(inputs=Values({"x": 1}), task_spec=spec)
    second = make_launch(inputs=Values({"x": 2}), task_spec=spec, container={"image": "other"})

    assert fingerprint(first) == fingerprint(second)
    assert fingerprint(first) != fingerprint(
        make_launch(task_spec={**spec, "componentRef": {"name": "other"}})
    )
