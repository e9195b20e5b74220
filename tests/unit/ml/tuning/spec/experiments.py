"""Make experiments: one that is good, and the same with a part of it changed."""

from __future__ import annotations

import copy
from typing import Any

GONE = object()
"""In `changed`: the field is not there."""
COMPLETE = 'status.conditions.#(type=="Complete")#|#(status=="True")#'
FAILED = 'status.conditions.#(type=="Failed")#|#(status=="True")#'
SUCCEEDED = 'status.conditions.#(type=="Succeeded")#|#(status=="True")#'


def make_job(*command: str) -> Any:
    """Return a trial's template."""
    container = {
        "name": "training",
        "image": "python",
        "command": list(command or ("train", "--lr=${trialParameters.rate}")),
    }
    spec = {"containers": [container], "restartPolicy": "Never"}
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": spec}}}


def make_experiment(**changes: Any) -> Any:
    """Return an experiment; a change is named by its path below spec, with __ between the names."""
    made = {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Experiment",
        "metadata": {"name": "trip", "namespace": "default"},
        "spec": {
            "objective": {"type": "maximize", "objectiveMetricName": "accuracy", "goal": 0.99},
            "algorithm": {"algorithmName": "random"},
            "maxTrialCount": 12,
            "parameters": [
                {"name": "lr", "parameterType": "double", "feasibleSpace": {"min": "0.01", "max": "0.1"}},
            ],
            "trialTemplate": {
                "primaryContainerName": "training",
                "trialParameters": [{"name": "rate", "reference": "lr"}],
                "trialSpec": make_job(),
            },
        },
    }
    return changed(made, {f"spec__{path}": value for path, value in changes.items()})


def changed(obj: Any, changes: dict[str, Any]) -> Any:
    """Return a copy; a number in a path is a place in a list."""
    made = copy.deepcopy(obj)
    for path, value in changes.items():
        *above, last = (int(name) if name.isdigit() else name for name in path.split("__"))
        at = made
        for name in above:
            at = at[name] if isinstance(name, int) else at.setdefault(name, {})
        if value is GONE:
            del at[last]
        else:
            at[last] = value
    return made


def make_parameter(kind: str, name: str = "lr", **space: Any) -> Any:
    """Return a parameter."""
    return {"name": name, "parameterType": kind, "feasibleSpace": space}
