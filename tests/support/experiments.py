"""Experiments for tests on real clusters: trials that take milliseconds, applied and waited for with kubectl."""

from __future__ import annotations

import json
import time
from typing import Any

from support.clusters import Cluster

Object = dict[str, Any]
KIND = "experiments.kubeflow.org"
IMAGE = "proa.local/python"


def make_container(script: str, **fields: Any) -> Object:
    """Return the container of a training: a shell script, which has the parameter as $1."""
    return {
        "name": "main",
        "image": IMAGE,
        "command": ["sh", "-c", script, "sh", "${trialParameters.x}"],
        **fields,
    }


def make_job(container: Object, **pod: Any) -> Object:
    """Return a Job of it."""
    spec = {"restartPolicy": "Never", "containers": [container], **pod}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "spec": {"backoffLimit": 0, "template": {"spec": spec}},
    }


def make_experiment(name: str, run: Object, *, deadline_seconds: int | None = None, **spec: Any) -> Object:
    """Return an experiment of one parameter, x."""
    template = {
        "primaryContainerName": "main",
        "trialParameters": [{"name": "x", "reference": "x"}],
        "trialSpec": run,
        **spec.pop("trialTemplate", {}),
    }
    seconds = (
        {} if deadline_seconds is None else {"tuning.proa.dev/start-deadline-seconds": str(deadline_seconds)}
    )
    space = {"min": "0.1", "max": "0.9"}
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Experiment",
        "metadata": {"name": name, "annotations": seconds},
        "spec": {
            "objective": {"type": "maximize", "objectiveMetricName": "score"},
            "algorithm": {"algorithmName": "random"},
            "parameters": [{"name": "x", "parameterType": "double", "feasibleSpace": space}],
            "parallelTrialCount": 1,
            "maxTrialCount": 1,
            "trialTemplate": {key: value for key, value in template.items() if value is not None},
            **spec,
        },
    }


def apply(cluster: Cluster, namespace: str, *objects: Object) -> None:
    """Have kubectl apply them."""
    listed = {"apiVersion": "v1", "kind": "List", "items": [*objects]}
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(listed))


def wait(cluster: Cluster, namespace: str, name: str, condition: str, seconds: int = 120) -> Object:
    """Wait for a condition of an experiment, and return the experiment; show what there is when it does not come."""
    words = (
        "wait",
        f"--for=condition={condition}",
        f"{KIND}/{name}",
        "-n",
        namespace,
        f"--timeout={seconds}s",
    )
    waited = cluster.kubectl(*words, timeout=seconds + 30, check=False)
    found = cluster.get(KIND, name, "-n", namespace)
    assert waited.returncode == 0, (found.get("status"), trials(cluster, namespace, name))
    return found


def trials(cluster: Cluster, namespace: str, name: str) -> list[Object]:
    """Return an experiment's trials."""
    found = cluster.get("trials.kubeflow.org", "-n", namespace, "-l", f"katib.kubeflow.org/experiment={name}")
    items: list[Object] = found["items"]
    return items


def last_condition(obj: Object) -> tuple[str, str, str]:
    """Return type, reason and message of what is now."""
    last = obj["status"]["conditions"][-1]
    return last["type"], last["reason"], last["message"]


def wait_until_gone(cluster: Cluster, namespace: str, kinds: str, seconds: float = 90) -> None:
    """Wait until there is nothing of these kinds."""
    deadline = time.monotonic() + seconds
    while found := cluster.kubectl("get", kinds, "-n", namespace, "-o", "name").stdout.split():
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
