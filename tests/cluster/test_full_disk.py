"""A disk that is full stops what has to be written, with words, and nothing else; with room again all goes on."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.clusters import Cluster, ProaCommand
from support.inventory import noded_pid, server_pid
from support.pods_api import Api, ApiRefused, Object, Pods, is_ready, phase, python, shell

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("survival")]

NO_EVICTION = "{apiVersion: kubelet.config.k8s.io/v1beta1, kind: KubeletConfiguration, evictionHard: {}}"
TALKS = """
import time
for number in range(10**9):
    print(number, flush=True)
    time.sleep(0.02)
"""


@pytest.fixture
def cluster_on_a_small_disk(kubectl_path: str, tmp_path: Path) -> Iterator[Cluster]:
    """Return a cluster whose home is on a file system of 64 MiB."""
    if os.geteuid() != 0:
        pytest.skip("not on this machine: only root may mount")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", str(folder)], check=True)
    config = tmp_path / "kubelet.yaml"
    config.write_text(NO_EVICTION)
    proa = ProaCommand(folder / "home", sys.executable)
    proa("up", "--detach", "--port", "0", "--kubelet-config", str(config))
    yield Cluster(proa, kubectl_path)
    proa("reset", "--yes")
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Write a file that takes all the room there is."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x")
    return path


def fill_store(pods: Pods) -> None:
    """Create what the store's log, which has room in advance, takes no more in the end."""
    for number in range(10_000):
        pods.add("configmaps", f"fill-{number}", data={"x": "y" * 10_000})


def run_once_there_is_room(pods: Pods, name: str, container: Object) -> None:
    """Start a pod; the store goes on by itself, a moment after there is room again."""
    deadline = time.monotonic() + 120
    while True:
        try:
            pods.run(name, container)
            return
        except ApiRefused as refused:
            if refused.code != 503 or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def test_a_full_disk_stops_nothing_that_need_not_write(cluster_on_a_small_disk: Cluster) -> None:
    cluster = cluster_on_a_small_disk
    processes = (server_pid(cluster), noded_pid(cluster))
    with contextlib.closing(Api(cluster.kubeconfig)) as api:
        pods = Pods(api, "default")
        pods.run("talks", python("main", TALKS), restartPolicy="Always")
        pods.run("ends", shell("main", "trap 'exit 3' TERM; while :; do sleep 0.05; done"))
        pods.ready("talks")
        pods.ready("ends")

        filler = fill(cluster.proa.home.parent)
        with pytest.raises(ApiRefused, match=r"[Nn]o space left"):
            fill_store(pods)
        cluster.kubectl("exec", "ends", "--", "true")
        cluster.kubectl("exec", "ends", "--", "kill", "1")
        assert is_ready(pods.get("talks"))
        assert (server_pid(cluster), noded_pid(cluster)) == processes

        filler.unlink()
        assert phase(pods.ended("ends")) == "Failed"
        run_once_there_is_room(pods, "later", python("main", "print(1)"))
        assert pods.output("later") == "1\n"
        talks = pods.get("talks")
        assert talks["status"]["containerStatuses"][0]["restartCount"] == 0
        last = int(pods.log("talks", tailLines="1"))
        assert any(int(line) > last for line in follow(pods, "talks")), "its log goes on"
    assert (server_pid(cluster), noded_pid(cluster)) == processes


def follow(pods: Pods, name: str) -> Iterator[str]:
    """Yield the lines of a log as they come."""
    connection = pods.api.connect()
    with contextlib.closing(connection):
        connection.request("GET", f"{pods.path(name=name)}/log?follow=true&tailLines=1")
        answer = connection.getresponse()
        while line := answer.readline():
            yield line.decode()
