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
from pathlib import Path
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
TRAIN = (
    "while [ -e /victims/$1 ]; do sleep 0.05; done; "
    f"sleep 0.3; echo loss=$(( ($1 - {BEST}) * ($1 - {BEST}) ))"
)
"""A training whose value stands among the victims waits, to be killed."""


def make_experiment(name: str, victims: Path) -> dict[str, Any]:
    container = {
        "name": "train",
        "image": "python:3.11",
        "command": ["sh", "-c", TRAIN, f"training-of-{name}", "${trialParameters.x}"],
        "volumeMounts": [{"name": "victims", "mountPath": "/victims"}],
    }
    volume = {"name": "victims", "hostPath": {"path": str(victims)}}
    template = {"spec": {"restartPolicy": "Never", "containers": [container], "volumes": [volume]}}
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


class Attempt:
    """One experiment, and what happens to it."""

    def __init__(self, cluster: Cluster, name: str, victims: Path, choose: random.Random) -> None:
        self.cluster = cluster
        self.name = name
        self.victims = victims
        self.choose = choose
        victims.mkdir()

    def begin(self) -> None:
        manifest = json.dumps(make_experiment(self.name, self.victims))
        self.cluster.kubectl("apply", "-f", "-", stdin=manifest)

    def kill_server(self) -> None:
        self.wait_a_while()
        os.kill(server_pid(self.cluster), signal.SIGKILL)
        self.cluster.proa("up", "--detach")

    def kill_noded(self) -> None:
        self.wait_a_while()
        os.kill(noded_pid(self.cluster), signal.SIGKILL)

    def kill_training(self) -> None:
        """Kill the training of one of the values; the Job's next one goes on to its end."""
        victim = self.victims / str(self.choose.choice(VALUES))
        victim.touch()
        self.begin()
        deadline = time.monotonic() + 120
        while not (processes := find_processes(f"training-of-{self.name} {victim.name}")):
            assert time.monotonic() < deadline, self.cluster.get("experiment", self.name)["status"]
            time.sleep(0.05)
        os.kill(self.choose.choice(sorted(processes)), signal.SIGKILL)
        victim.unlink()

    def wait_a_while(self) -> None:
        """Begin, and wait for any moment: it is what the test is about."""
        self.begin()
        time.sleep(self.choose.uniform(0, LONGEST_WAIT))


KILLS = (Attempt.kill_server, Attempt.kill_noded, Attempt.kill_training)


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
        name, kill = f"grid-{number}", KILLS[number % len(KILLS)]
        kill(Attempt(cluster, name, tmp_path_factory.mktemp(name) / "victims", choose))
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
            kill.__name__,
            cluster.get("experiment", name)["status"],
            ended.stderr,
        )
        check(cluster, name)
    assert not find_processes("training-of-")
