"""A trial's run is its template with values in it, and nothing else of it changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.ml.tuning.spec.experiments import GONE, make_experiment, make_job

from proa.ml.tuning.records import Problem
from proa.ml.tuning.spec.template import MAX_RUN_BYTES, as_scalar, load_template, render_run

PARAMETERS = "trialTemplate__trialParameters"
SPEC = "trialTemplate__trialSpec"
OF_TRIAL = {
    "name": "${trialSpec.Name}",
    "space": "${trialSpec.Namespace}",
    "kind": "${trialSpec.Kind}",
    "version": "${trialSpec.APIVersion}",
    "label": "${trialSpec.Labels[custom-key]}",
    "note": "${trialSpec.Annotations[a.b/c]}",
}


def assign(**values: str) -> Any:
    return {"name": "trip-1", "parameterAssignments": [{"name": k, "value": v} for k, v in values.items()]}


def command_of(run: Any) -> Any:
    assert not isinstance(run, Problem), run
    return run["spec"]["template"]["spec"]["containers"][0]["command"]


def elsewhere(text: str, *names: str, **changes: Any) -> Any:
    """Return an experiment whose template is a text, with a trial parameter for each name."""
    experiment = make_experiment(
        **{SPEC: GONE, PARAMETERS: [{"name": name, "reference": name} for name in names]}, **changes
    )
    return experiment, text


def test_values_are_put_in_and_the_run_is_named_as_the_trial():
    experiment = make_experiment()
    run = render_run(experiment, assign(lr="0.05"))
    assert command_of(run) == ["train", "--lr=0.05"]
    assert run["metadata"] == {"name": "trip-1", "namespace": "default"}
    assert experiment == make_experiment()


def test_what_is_known_of_the_trial_can_be_put_in():
    command = [f"{name}=${{trialParameters.{name}}}" for name in OF_TRIAL]
    job = {
        **make_job(*command, "--lr=${trialParameters.rate}"),
        "metadata": {"labels": {"custom-key": "red"}, "annotations": {"a.b/c": "blue"}},
    }
    said = [{"name": "rate", "reference": "lr"}, *({"name": n, "reference": r} for n, r in OF_TRIAL.items())]
    run = render_run(make_experiment(**{SPEC: job, PARAMETERS: said}), assign(lr="1"))
    assert command_of(run) == [
        "name=trip-1",
        "space=default",
        "kind=Job",
        "version=batch/v1",
        "label=red",
        "note=blue",
        "--lr=1",
    ]
    assert run["metadata"]["labels"] == {"custom-key": "red"}


def test_a_placeholder_may_occur_often_and_in_a_key():
    job = {
        **make_job("${trialParameters.rate}${trialParameters.rate}"),
        "metadata": {"labels": {"lr-${trialParameters.rate}": "x"}},
    }
    run = render_run(make_experiment(**{SPEC: job}), assign(lr="7"))
    assert (command_of(run), run["metadata"]["labels"]) == (["77"], {"lr-7": "x"})


@pytest.mark.parametrize(
    ("changes", "assigned", "field", "words"),
    [
        ({}, {}, f"{PARAMETERS}[0].reference", "lr is no parameter that is assigned: there are none"),
        (
            {},
            {"lr": "1", "depth": "2"},
            PARAMETERS,
            "no reference to depth, which the algorithm has assigned",
        ),
        (
            {PARAMETERS: [{"name": "rate", "reference": "${trialSpec.Labels[none]}"}]},
            {},
            f"{PARAMETERS}[0].reference",
            "illegal reference of trial metadata: ${trialSpec.Labels[none]}",
        ),
        (
            {PARAMETERS: [{"name": "rate", "reference": "${trialSpec.Color}"}]},
            {},
            f"{PARAMETERS}[0].reference",
            "it may be ${trialSpec.Name}, ${trialSpec.Namespace}, ${trialSpec.Kind}, ${trialSpec.APIVersion}, or",
        ),
        (
            {PARAMETERS: []},
            {},
            "trialTemplate",
            "has ${trialParameters.rate}, which is not in trialParameters",
        ),
        ({SPEC: {**make_job(), "metadata": []}}, {"lr": "1"}, "", ""),
    ],
)
def test_what_cannot_be_put_in_is_a_problem_that_names_the_field(changes, assigned, field, words):
    found = render_run(make_experiment(**changes), assign(**assigned))
    if not field:
        assert isinstance(found, dict)
        return
    assert isinstance(found, Problem)
    assert found.field == "spec." + field.replace("__", ".")
    assert words in found.message


def test_a_run_that_no_object_can_hold_is_a_problem():
    experiment = make_experiment(**{SPEC: make_job(*["${trialParameters.rate}"] * 1000)})
    found = render_run(experiment, assign(lr="x" * (MAX_RUN_BYTES // 999)))
    assert isinstance(found, Problem)
    assert "bytes of values" in found.message


YAML = """
# A template of a ConfigMap.
---
apiVersion: kubeflow.org/v1
kind: PyTorchJob
spec:
  replicas: ${trialParameters.workers}
  text: "${trialParameters.workers}"
  mixed: --n=${trialParameters.workers}
  args: [--n=${trialParameters.workers}, ${trialParameters.workers}]
  block: |
    n = ${trialParameters.workers}
  date: 2024-01-01
  word: on
"""


@pytest.mark.parametrize(
    ("value", "bare"),
    [("3", 3), ("0.5", 0.5), ("1e-05", 1e-5), ("true", True), ("on", "on"), ("a: b", "a: b"), ("[", "[")],
)
def test_a_value_without_quotes_is_a_number_if_it_is_one(value, bare):
    run = render_run(*elsewhere(YAML, "workers")[:1], assign(workers=value), YAML)
    assert not isinstance(run, Problem)
    assert run["spec"] == {
        "replicas": bare,
        "text": value,
        "mixed": f"--n={value}",
        "args": [f"--n={value}", bare],
        "block": f"n = {value}\n",
        "date": "2024-01-01",
        "word": "on",
    }


BOMB = "b0: &b0 [x, x]\n" + "".join(f"b{i}: &b{i} [*b{i - 1}, *b{i - 1}]\n" for i in range(1, 40))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "unable to convert spec.trialTemplate to unstructured: yaml: line 2"),
        ("a: 1\na: 2", 'mapping key "a" already defined'),
        ("", "must be an object with apiVersion and kind, not nothing"),
        ("- a", "not a list"),
        (BOMB, "excessive aliasing"),
        ("a" * 1024 * 1025, "has more than 1048576 bytes"),
        ("[" * 300, "max depth"),
    ],
    ids=["broken", "twice", "empty", "list", "bomb", "long", "deep"],
)
def test_a_text_that_is_no_object_is_a_problem(text, words):
    found = load_template(elsewhere(text)[0], text)
    assert isinstance(found, Problem)
    assert found.field == "spec.trialTemplate.configMap"
    assert words in found.message


NASTY = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    [
        '"',
        "'",
        "\\",
        "\n",
        "${trialParameters.b}",
        "a: b",
        "- x",
        "{",
        "}",
        "#",
        "&a",
        "*a",
        "!!x",
        "TrialParameter0Y",
    ]
)


@given(NASTY, NASTY)
def test_whatever_is_in_a_value_the_rest_stays_as_it_was(a, b):
    both = "${trialParameters.a}-${trialParameters.b}"
    text = f"spec: {{q: '${{trialParameters.a}}', bare: ${{trialParameters.b}}, both: \"{both}\"}}\nlast: 1\n"
    experiment, _ = elsewhere(text, "a", "b")
    run = render_run(experiment, assign(a=a, b=b), text)
    inline = {
        "spec": {"q": "${trialParameters.a}", "both": "${trialParameters.a}-${trialParameters.b}"},
        "last": 1,
    }
    same = render_run(
        make_experiment(**{SPEC: inline, PARAMETERS: experiment["spec"]["trialTemplate"]["trialParameters"]}),
        assign(a=a, b=b),
    )
    assert not isinstance(run, Problem)
    assert not isinstance(same, Problem)
    assert json.loads(json.dumps(run)) == run
    assert run["last"] == same["last"] == 1
    assert run["spec"].keys() == {"q", "bare", "both"}
    assert run["spec"]["bare"] == as_scalar(b)
    for made in (run, same):
        assert (made["spec"]["q"], made["spec"]["both"]) == (a, f"{a}-{b}")
