"""What an experiment leaves unsaid, and what it looks for."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.unit.ml.tuning.spec.experiments import (
    COMPLETE,
    FAILED,
    GONE,
    SUCCEEDED,
    changed,
    make_experiment,
    make_parameter,
)

from proa.ml.tuning.records import Parameter
from proa.ml.tuning.spec.defaults import with_defaults
from proa.ml.tuning.spec.search_space import read_objective, read_parameters

KIND = "trialTemplate__trialSpec__kind"
MASTER = {"training.kubeflow.org/job-role": "master"}
NODE = {"jobset.sigs.k8s.io/replicatedjob-name": "node", "batch.kubernetes.io/job-completion-index": "0"}


def defaults(**changes: Any) -> Any:
    experiment = make_experiment(**changes)
    before = copy.deepcopy(experiment)
    filled = with_defaults(experiment)
    assert experiment == before
    assert with_defaults(filled) == filled
    return filled["spec"]


def test_counts_policy_and_collector_have_defaults():
    spec = defaults()
    assert (spec["parallelTrialCount"], spec["resumePolicy"]) == (3, "Never")
    assert spec["metricsCollectorSpec"] == {"collector": {"kind": "StdOut"}}


@pytest.mark.parametrize(
    ("kind", "success", "primary"),
    [
        ("Job", COMPLETE, None),
        ("TrainJob", COMPLETE, NODE),
        *((kind, SUCCEEDED, MASTER) for kind in ("PyTorchJob", "TFJob", "MPIJob", "XGBoostJob")),
    ],
)
def test_a_known_kind_says_when_it_has_ended_and_which_pod_is_primary(kind, success, primary):
    template = defaults(**{KIND: kind})["trialTemplate"]
    assert (template["successCondition"], template["failureCondition"]) == (success, FAILED)
    assert template.get("primaryPodLabels") == primary


def test_what_is_said_stays():
    said = {"trialTemplate__successCondition": "status.done", "trialTemplate__primaryPodLabels": {"a": "b"}}
    template = defaults(**{KIND: "PyTorchJob", **said})["trialTemplate"]
    assert (template["successCondition"], template["failureCondition"]) == ("status.done", FAILED)
    assert template["primaryPodLabels"] == {"a": "b"}


def test_an_unknown_kind_and_a_template_elsewhere_have_no_defaults():
    assert "successCondition" not in defaults(**{KIND: "Workflow"})["trialTemplate"]
    assert "successCondition" not in defaults(trialTemplate__trialSpec=GONE)["trialTemplate"]


@pytest.mark.parametrize(
    ("kind", "said", "source"),
    [
        (
            "File",
            None,
            {"fileSystemPath": {"kind": "File", "path": "/var/log/katib/metrics.log", "format": "TEXT"}},
        ),
        (
            "File",
            {"fileSystemPath": {"path": "/m", "format": "JSON"}},
            {"fileSystemPath": {"kind": "File", "path": "/m", "format": "JSON"}},
        ),
        (
            "TensorFlowEvent",
            None,
            {"fileSystemPath": {"kind": "Directory", "path": "/var/log/katib/tfevent/"}},
        ),
        ("PrometheusMetric", None, {"httpGet": {"path": "/metrics", "port": 8080}}),
        ("PrometheusMetric", {"httpGet": {"port": 9}}, {"httpGet": {"path": "/metrics", "port": 9}}),
        ("StdOut", None, None),
        ("Push", None, None),
    ],
)
def test_a_collector_looks_in_its_usual_place(kind, said, source):
    spec = {"collector": {"kind": kind}, **({"source": said} if said else {})}
    assert defaults(metricsCollectorSpec=spec)["metricsCollectorSpec"].get("source") == source


@pytest.mark.parametrize(("type", "best"), [("minimize", "min"), ("maximize", "max")])
def test_each_metric_has_a_strategy(type, best):
    spec = defaults(
        objective__type=type,
        objective__additionalMetricNames=["loss", "time"],
        objective__metricStrategies=[{"name": "loss", "value": "latest"}],
    )
    objective = read_objective(spec)
    assert objective.strategies == {"loss": "latest", "accuracy": best, "time": best}
    assert objective.metrics == ("accuracy", "loss", "time")
    assert (objective.is_maximized, objective.goal) == (type == "maximize", 0.99)
    assert read_objective(make_experiment(objective__type=type)["spec"]).strategies == {"accuracy": best}


def test_an_objective_may_have_no_goal():
    assert read_objective(make_experiment(objective__goal=GONE)["spec"]).goal is None
    assert read_objective(make_experiment(objective__goal=0)["spec"]).goal == 0.0


def test_parameters_are_read_as_they_are_written():
    parameters = [
        make_parameter("double", "lr", min="1e-5", max=".1", distribution="logUniform"),
        make_parameter("int", "layers", min="1", max="9", step="2"),
        make_parameter("categorical", "optimizer", list=["sgd", "adam", "sgd"], distribution="uniform"),
        make_parameter("discrete", "size", list=["32", "64"]),
        make_parameter("double", "odd", min="-1", max="1", distribution="unknown"),
    ]
    assert read_parameters(make_experiment(parameters=parameters)["spec"]) == (
        Parameter("lr", "double", 1e-5, 0.1, distribution="logUniform"),
        Parameter("layers", "int", 1, 9, 2),
        Parameter("optimizer", "categorical", values=("sgd", "adam")),
        Parameter("size", "discrete", values=("32", "64")),
        Parameter("odd", "double", -1, 1),
    )
    assert read_parameters(changed(make_experiment(), {"spec__parameters": GONE})["spec"]) == ()
