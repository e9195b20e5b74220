"""Experiments whose server, node supervisor or trainings are killed at random moments: counts and optimum are right.

Each is a grid of whole numbers, so that each value must have been tried once, and the best is known.
PROA_SURVIVE_EXPERIMENTS says how many experiments there are (3 otherwise, one a kind); the moments follow from a seed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from support.clusters import Cluster, ProaCommand
from support.inventory import noded_pid, server_pid
from support.processes import find_processes

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("tuning-survive"), pytest.mark.timeout(3600)]
EXPERIMENTS = int(os.environ.get("PROA_SURVIVE_EXPERIMENTS", "3"))
SEED = 7
LONGEST_WAIT = 3.0
VALUES, BEST = range(6), 3
TRAIN = f"sleep 0.3; echo loss=$(( ($1 - {BEST}) * ($1 - {BEST}) ))"


def make_experiment(name: str) -> dict[str, Any]:
    container = {
        "name": "train",
        "image": "python:3.11",
        "command": ["sh", "-c", TRAIN, f"training-of-{name}", "${trialParameters.x}"],
    }
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Experiment",
        "metadata": {"name": name},
        "spec": {
            "objective": {"type": "minimize", "objectiveMetricName": "loss"},
            "algorithm": {"algorithmName": "grid"},
            "parallelTrialCount": 2,
            "maxTrialCount": len(VALUES),
            "maxFailedTrialCount": 0,
            "parameters": [
                {
                    "name": "x",
                    "parameterType": "int",
                    "feasibleSpace": {"min": str(VALUES[0]), "max": str(VALUES[-1])},
                }
            ],
            "trialTemplate": {
                "primaryContainerName": "train",
                "trialParameters": [{"name": "x", "reference": "x"}],
                "trialSpec": {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": template}},
            },
        },
    }


def kill_server(cluster: Cluster, name: str, choose: random.Random) -> None:
    os.kill(server_pid(cluster), signal.SIGKILL)
    cluster.proa("up", "--detach")


def kill_noded(cluster: Cluster, name: str, choose: random.Random) -> None:
    os.kill(noded_pid(cluster), signal.SIGKILL)


def kill_training(cluster: Cluster, name: str, choose: random.Random) -> None:
    """Kill a process of a training of the experiment, as soon as there is one."""
    while not is_over(cluster.get("experiment", name)):
        processes = sorted(find_processes(f"training-of-{name} "))
        if processes:
            with suppress(ProcessLookupError):
                os.kill(choose.choice(processes), signal.SIGKILL)
                return
    raise AssertionError(f"{name} was over before one of its trainings could be killed")


KILLS: dict[str, Callable[[Cluster, str, random.Random], None]] = {
    "server": kill_server,
    "noded": kill_noded,
    "training": kill_training,
}


def is_over(experiment: dict[str, Any]) -> bool:
    conditions = experiment.get("status", {}).get("conditions", [])
    return any(each["type"] in ("Succeeded", "Failed") and each["status"] == "True" for each in conditions)


def check(cluster: Cluster, name: str) -> None:
    """See that each value was tried once, that all is counted, and that the best is known."""
    status = cluster.get("experiment", name)["status"]
    trials = json.loads(
        cluster.kubectl("get", "trials", "-l", f"katib.kubeflow.org/experiment={name}", "-o", "json").stdout
    )["items"]
    tried = sorted(int(trial["spec"]["parameterAssignments"][0]["value"]) for trial in trials)
    assert tried == list(VALUES), (name, tried)
    assert status["trials"] == status["trialsSucceeded"] == len(VALUES), (name, status)
    assert sorted(status["succeededTrialList"]) == sorted(trial["metadata"]["name"] for trial in trials)
    for counted in (
        "trialsFailed",
        "trialsRunning",
        "trialsPending",
        "trialsKilled",
        "trialMetricsUnavailable",
    ):
        assert not status.get(counted), (name, status)
    for trial in trials:
        value = int(trial["spec"]["parameterAssignments"][0]["value"])
        (metric,) = trial["status"]["observation"]["metrics"]
        assert float(metric["latest"]) == (value - BEST) ** 2, trial
    best = status["currentOptimalTrial"]
    assert best["parameterAssignments"] == [{"name": "x", "value": str(BEST)}], best


def test_experiments_end_right_whatever_is_killed_and_when(
    start_cluster: Callable[[ProaCommand], Cluster], tmp_path_factory: pytest.TempPathFactory
) -> None:
    cluster = start_cluster(ProaCommand(tmp_path_factory.mktemp("survive") / "home", sys.executable))
    choose = random.Random(SEED)
    for number in range(EXPERIMENTS):
        name, kind = f"grid-{number}", list(KILLS)[number % len(KILLS)]
        moment = choose.uniform(0, LONGEST_WAIT)
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(make_experiment(name)))
        time.sleep(moment)  # the moment is the point
        KILLS[kind](cluster, name, choose)
        ended = cluster.kubectl(
            "wait",
            "--for=condition=Succeeded",
            f"experiment/{name}",
            "--timeout=120s",
            timeout=130,
            check=False,
        )
        assert ended.returncode == 0, (
            name,
            kind,
            moment,
            cluster.get("experiment", name)["status"],
            ended.stderr,
        )
        check(cluster, name)
    assert not find_processes("training-of-")
