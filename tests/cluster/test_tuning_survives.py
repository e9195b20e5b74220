"""Experiments whose server or node supervisor is killed at random moments: counts and optimum are right.

PROA_SURVIVE_EXPERIMENTS says how many experiments there are (2 otherwise); the moments follow from a seed.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable

import pytest

from support.clusters import Cluster, ProaCommand
from support.experiments import (
    apply,
    last_condition,
    make_container,
    make_experiment,
    make_job,
    trials,
    wait,
    wait_until_gone,
)
from support.inventory import noded_pid, server_pid

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("tuning-survives"), pytest.mark.timeout(3600)]
COUNT = int(os.environ.get("PROA_SURVIVE_EXPERIMENTS", "2"))
SEED = 7
LONGEST_WAIT = 2.0
MAX_TRIALS = 6
SECONDS = 180


def kill_server(cluster: Cluster) -> None:
    os.kill(server_pid(cluster), signal.SIGKILL)
    cluster.proa("up", "--detach")


def kill_noded(cluster: Cluster) -> None:
    os.kill(noded_pid(cluster), signal.SIGKILL)


def test_experiments_survive_kills_of_server_and_noded(
    start_cluster: Callable[[ProaCommand], Cluster], tmp_path_factory: pytest.TempPathFactory
) -> None:
    cluster = start_cluster(ProaCommand(tmp_path_factory.mktemp("survive") / "home", sys.executable))
    choose = random.Random(SEED)
    for number in range(COUNT):
        name = f"e{number}"
        job = make_job(make_container("sleep 0.2; echo score=$1; sleep 0.2"))
        job["spec"]["backoffLimit"] = 6
        apply(cluster, "default", make_experiment(name, job, maxTrialCount=MAX_TRIALS, parallelTrialCount=3))
        time.sleep(choose.uniform(0, LONGEST_WAIT))
        kill = kill_server if number % 2 == 0 else kill_noded
        kill(cluster)
        status = wait(cluster, "default", name, "Succeeded", SECONDS)["status"]
        found = {trial["metadata"]["name"]: trial for trial in trials(cluster, "default", name)}
        assert status["trials"] == len(found) == MAX_TRIALS
        states = {trial: last_condition(found[trial])[0] for trial in found}
        assert states == dict.fromkeys(found, "Succeeded"), [
            last_condition(trial) for trial in found.values()
        ]
        assert sorted(status["succeededTrialList"]) == sorted(found)
        values = {n: trial["spec"]["parameterAssignments"][0]["value"] for n, trial in found.items()}
        observed = {n: trial["status"]["observation"]["metrics"][0]["latest"] for n, trial in found.items()}
        assert observed == values
        assert status["currentOptimalTrial"]["bestTrialName"] == max(values, key=lambda n: float(values[n]))
        suggested = cluster.get("suggestions.kubeflow.org", name, "-n", "default")["status"]["suggestions"]
        assert sorted(entry["name"] for entry in suggested) == sorted(found)
    wait_until_gone(cluster, "default", "jobs")
