"""What the command line reads of compiled pipelines, and of the values that people give for their parameters."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from proa.cli import Failure, UsageError
from proa.cli.pipelines.document import parse_parameters, read_document, with_caching
from proa.cli.pipelines.kept import describe_document
from proa.cli.recurring import read_trigger

PIPELINE = """\
pipelineInfo: {name: train, description: Trains.}
components:
  comp-loop:
    dag:
      tasks: {fit: {componentRef: {name: comp-fit}}}
  comp-fit: {executorLabel: exec-fit}
root:
  dag:
    tasks:
      load: {componentRef: {name: comp-load}}
      loop-1:
        componentRef: {name: comp-loop}
        dependentTasks: [load]
        parameterIterator: {items: {raw: '[1, 2]'}}
  inputDefinitions:
    parameters:
      epochs: {parameterType: NUMBER_INTEGER}
      rate: {parameterType: NUMBER_DOUBLE, defaultValue: 0.5}
      layers: {parameterType: LIST, isOptional: true}
      labels: {parameterType: STRUCT, isOptional: true}
      dry: {parameterType: BOOLEAN, defaultValue: false}
      name: {parameterType: STRING, defaultValue: x}
schemaVersion: 2.1.0
"""
PLATFORM = "---\nplatforms: {kubernetes: {deploymentSpec: {}}}\n"


def write(folder: Path, text: str) -> str:
    path = folder / "pipeline.yaml"
    path.write_text(text)
    return str(path)


def spec_of(folder: Path) -> dict[str, Any]:
    return read_document(write(folder, PIPELINE)).spec


def test_a_file_may_have_platform_settings_too(tmp_path: Path) -> None:
    alone = read_document(write(tmp_path, PIPELINE))
    both = read_document(write(tmp_path, PIPELINE + PLATFORM))
    assert (alone.name, alone.whole) == ("train", alone.spec)
    assert both.whole == {"pipeline_spec": alone.spec, "platform_spec": both.platform}
    assert "kubernetes" in both.platform["platforms"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "line 2: is not YAML"),
        ("apiVersion: v1\nkind: Pod\n", "is no compiled pipeline"),
        ("apiVersion: argoproj.io/v1alpha1\nkind: Workflow\n", "of kfp 1.x"),
        ("", "is no compiled pipeline"),
    ],
)
def test_what_is_no_pipeline_is_refused(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(Failure, match=words):
        read_document(write(tmp_path, text))


def test_values_are_of_their_parameters_types(tmp_path: Path) -> None:
    given = ["epochs=3", "rate=1e-3", "layers=[64, 32]", 'labels={"a": "b=c"}', "dry=true", "name=a=b"]
    assert parse_parameters(spec_of(tmp_path), given) == {
        "epochs": 3,
        "rate": 0.001,
        "layers": [64, 32],
        "labels": {"a": "b=c"},
        "dry": True,
        "name": "a=b",
    }


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["epochs"], "NAME=VALUE"),
        (["epoch=3"], r"no such parameter; there are dry \(true or false\), epochs \(integer\)"),
        (["epochs=3.5"], "is of type NUMBER_INTEGER: integer"),
        (["epochs=3", "rate=nan"], "is of type NUMBER_DOUBLE"),
        (["epochs=3", "layers=64"], r"JSON list as \[1, 2\]"),
        (["epochs=3", "labels=[]"], "is of type STRUCT"),
        (["epochs=3", "dry=yes"], "true or false"),
        (["epochs=3", "epochs=4"], "given twice"),
        ([], "the pipeline needs -p epochs=<integer>"),
    ],
)
def test_values_that_cannot_be_are_refused_with_what_can(
    given: list[str], words: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        parse_parameters(spec_of(tmp_path), given)


def test_caching_is_switched_for_every_task(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    switched = with_caching(spec, False)
    dags = [c["dag"]["tasks"] for c in (switched["root"], *switched["components"].values()) if "dag" in c]
    assert len(dags) == 2
    tasks = {name: task for dag in dags for name, task in dag.items()}
    assert all(task["cachingOptions"] == {"enableCache": False} for task in tasks.values())
    assert "cachingOptions" not in spec["root"]["dag"]["tasks"]["load"]


def test_a_pipeline_is_described_with_its_parameters_and_steps(tmp_path: Path) -> None:
    lines = describe_document(read_document(write(tmp_path, PIPELINE)))
    text = "\n".join(lines)
    assert lines[:2] == ["train", "Trains."]
    assert "epochs      integer         (needed)" in text
    assert lines[-4:] == ["steps", "  load", "  loop-1  for each item  after load", "    fit"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"cron": "0 0 3 * * *"}, {"cron_schedule": {"cron": "0 0 3 * * *"}}),
        ({"every": "90m"}, {"periodic_schedule": {"interval_second": "5400"}}),
        (
            {"every": "1d", "start": "2026-05-01T06:00:00+02:00", "end": "2026-06-01"},
            {
                "periodic_schedule": {
                    "interval_second": "86400",
                    "start_time": "2026-05-01T04:00:00Z",
                    "end_time": "2026-06-01T00:00:00Z",
                }
            },
        ),
    ],
)
def test_a_trigger_is_read_from_the_options(arguments: dict[str, str], expected: dict[str, Any]) -> None:
    options = argparse.Namespace(**({"cron": "", "every": "", "start": "", "end": ""} | arguments))
    assert read_trigger(options) == expected


@pytest.mark.parametrize(
    "arguments", [{"every": "0s"}, {"every": "soon"}, {"cron": "@daily", "start": "today"}]
)
def test_times_that_are_none_are_refused(arguments: dict[str, str]) -> None:
    options = argparse.Namespace(**({"cron": "", "every": "", "start": "", "end": ""} | arguments))
    with pytest.raises(UsageError, match="a time as"):
        read_trigger(options)
