"""Pods that come and go leave nothing behind: no process, mount, namespace, address, rule, file or descriptor.

`PROA_CHURN_PODS` and `PROA_CHURN_MINUTES` make it as large and as long as one likes: 200 pods for an hour is what a
release has to stand.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.clusters import Cluster, ProaCommand
from support.inventory import take_inventory
from support.pods_api import Api, Object, phase, shell

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("survival")]

PODS = int(os.environ.get("PROA_CHURN_PODS", "24"))
MINUTES = float(os.environ.get("PROA_CHURN_MINUTES", "0"))
AT_ONCE = 25
MAY_DIFFER = {
    "descriptors of the server": 6,  # connections that clients keep
    "threads of the server": 8,  # a pool grows to what it may be
}


def make_pod(number: int, chance: random.Random) -> Object:
    """Build one of several kinds of pods: some end, some crash, some have to be told to, some do not listen."""
    mounts = [{"name": "memory", "mountPath": "/memory"}, {"name": "disk", "mountPath": "/disk"}]
    script = chance.choice(
        [
            "echo done",
            "exit 3",
            "head -c 100000 /dev/zero > /memory/file; exec sleep 1000",
            "(sleep 1000 &) ; (setsid sleep 1000 &); head -c 100000 /dev/zero > /disk/file; exec sleep 1000",
            "trap '' TERM; while :; do sleep 0.1; done",
        ]
    )
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    more = {"readinessProbe": probe, "livenessProbe": probe} if chance.random() < 0.5 else {}
    return {
        "metadata": {"name": f"churn-{number}", "labels": {"app": f"churn-{number % 5}"}},
        "spec": {
            "restartPolicy": chance.choice(["Always", "Never"]),
            "terminationGracePeriodSeconds": chance.choice([0, 1]),
            "containers": [shell("main", script, volumeMounts=mounts, **more)],
            "initContainers": [shell("init", "true")] if chance.random() < 0.3 else [],
            "volumes": [
                {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
                {"name": "disk", "emptyDir": {}},
            ],
        },
    }


class Churn:
    """The pods and Services of one namespace, which come and go."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.chance = random.Random(7)
        self.pods = "/api/v1/namespaces/default/pods"
        self.services = "/api/v1/namespaces/default/services"

    def round(self) -> None:
        """Start the pods, a few at once, each with a Service now and then, and delete them again."""
        for first in range(0, PODS, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, PODS))
            for number in numbers:
                self.api.post(self.pods, make_pod(number, self.chance))
            for number in numbers[:5]:
                port = {"port": 80, "targetPort": 8080}
                spec = {"selector": {"app": f"churn-{number % 5}"}, "ports": [port], "type": "NodePort"}
                self.api.post(self.services, {"metadata": {"name": f"churn-{number}"}, "spec": spec})
            self.until(lambda pods: all(phase(pod) != "Pending" for pod in pods))
            for number in numbers:
                grace = self.chance.choice([None, 0, 1])
                options = {} if grace is None else {"gracePeriodSeconds": grace}
                self.api.send("DELETE", f"{self.pods}/churn-{number}", options)
            for number in numbers[:5]:
                self.api.send("DELETE", f"{self.services}/churn-{number}")
            self.until(lambda pods: not pods)

    def until(self, holds: Callable[[list[Any]], bool]) -> None:
        """Wait until something is true of all pods."""
        end = time.monotonic() + 120
        while not holds(pods := self.api.get(self.pods)["items"]):
            assert time.monotonic() < end, [(p["metadata"]["name"], p["status"]) for p in pods]
            time.sleep(0.05)


def test_pods_that_come_and_go_leave_nothing_behind(
    start_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    proa = ProaCommand(tmp_path / "home", sys.executable)
    # what is made some time after the start would be taken for something left behind
    cluster = start_cluster(proa, "--without", "pipelines,tuning,training,serving")
    with contextlib.closing(Api(cluster.kubeconfig)) as api:
        churn_and_look(cluster, Churn(api))


def churn_and_look(cluster: Cluster, churn: Churn) -> None:
    churn.round()  # what is made once, and kept, is there now
    before = take_inventory(cluster)
    end = time.monotonic() + 60 * MINUTES
    churn.round()
    while time.monotonic() < end:
        churn.round()
    deadline = time.monotonic() + 90
    while (left := left_behind(before, cluster)) and time.monotonic() < deadline:
        time.sleep(0.2)  # what is large is removed aside
    assert not left


def left_behind(before: dict[str, int], cluster: Cluster) -> dict[str, tuple[int, int]]:
    """Return of what there is more than there was."""
    now = take_inventory(cluster)
    return {
        name: (before[name], now[name]) for name in now if now[name] > before[name] + MAY_DIFFER.get(name, 0)
    }
