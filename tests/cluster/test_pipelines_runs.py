"""Runs on a real cluster: applied with kubectl, carried out as pods, ended on request, not lost with a server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proa.client.kubeconfig import connect
from proa.ml.pipelines.run_objects import RUNS
from support.clusters import Cluster, ProaCommand
from support.pipelines_operator import SUM, SUM_FILE, TAKES_A, make_spec

pytestmark = pytest.mark.cluster
WAIT = "--timeout=120s"
ADD = 'mkdir -p "$(dirname "$2")"; echo "adding 1 to $0"; sleep "$1"; echo $(($0 + 1)) > "$2"'
KILLS = 4


def start_pipelines(cluster: Cluster) -> None:
    """Have pipelines begin, as the first request does."""
    cluster.kubectl("get", "--raw", "/apis/v2beta1/healthz")


def step(after: str = "", seconds: float = 0.0) -> dict[str, Any]:
    """Return a task that adds 1 to the sum of another, in so many seconds."""
    first: dict[str, Any] = {"do": ["sh", "-c", ADD, "0", str(seconds), SUM_FILE], "outputs": SUM}
    if not after:
        return first
    selector = {"taskOutputParameter": {"producerTask": after, "outputParameterKey": "sum"}}
    return {
        "do": ["sh", "-c", ADD, "{{$.inputs.parameters['a']}}", str(seconds), SUM_FILE],
        "outputs": SUM,
        "takes": TAKES_A,
        "dependentTasks": [after],
        "inputs": {"parameters": {"a": selector}},
    }


def apply_run(cluster: Cluster, namespace: str, tasks: dict[str, Any], name: str = "one") -> str:
    """Apply a Run with a pipeline of its own; return its uid, which is the run's id."""
    run = {
        "apiVersion": "pipelines.proa.dev/v1",
        "kind": "Run",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"pipelineSpec": make_spec(tasks), "cacheEnabled": False},
    }
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(run))
    uid: str = cluster.get("run", name, "-n", namespace)["metadata"]["uid"]
    return uid


def wait_for_state(cluster: Cluster, namespace: str, state: str, name: str = "one") -> dict[str, Any]:
    cluster.kubectl(
        "wait", f"--for=jsonpath={{.status.state}}={state}", f"run/{name}", "-n", namespace, WAIT, timeout=130
    )
    return cluster.get("run", name, "-n", namespace)


def pods_of(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cluster.get("pods", "-n", namespace)["items"]
    return found


@pytest.mark.xdist_group("pipelines-runs")
def test_a_run_applied_with_kubectl_is_carried_out_and_leaves_its_history(
    cluster: Cluster, namespace: str
) -> None:
    start_pipelines(cluster)
    run_id = apply_run(cluster, namespace, {"one": step(), "two": step("one")})
    run = wait_for_state(cluster, namespace, "SUCCEEDED")
    assert run["status"]["tasks"] == {"succeeded": 2}
    assert {c["type"]: c["status"] for c in run["status"]["conditions"]} == {
        "Completed": "True",
        "Succeeded": "True",
    }
    shown = cluster.kubectl("get", "runs", "-n", namespace).stdout.split()
    assert ("SUCCEEDED" in shown, "2/2" in shown) == (True, True)

    pods = pods_of(cluster, namespace)
    assert len(pods) == 2
    assert {pod["spec"]["serviceAccountName"] for pod in pods} == {"pipeline-runner"}
    log = cluster.kubectl("logs", pods[-1]["metadata"]["name"], "-n", namespace).stdout
    assert log == "adding 1 to 1\n"

    cluster.kubectl("delete", "run", "one", "-n", namespace, WAIT)
    cluster.kubectl("wait", "--for=delete", "pod", "--all", "-n", namespace, WAIT, timeout=130)
    history = json.loads(cluster.kubectl("get", "--raw", f"/apis/v2beta1/runs/{run_id}").stdout)
    assert history["state"] == "SUCCEEDED"


@pytest.mark.xdist_group("pipelines-runs")
def test_a_run_that_is_asked_to_end_ends_its_pods(cluster: Cluster, namespace: str) -> None:
    start_pipelines(cluster)
    apply_run(cluster, namespace, {"long": step(seconds=600), "next": step("long")})
    cluster.kubectl("wait", "--for=create", "pod", "--all", "-n", namespace, WAIT, timeout=130)
    cluster.kubectl("wait", "--for=condition=Ready", "pod", "--all", "-n", namespace, WAIT, timeout=130)
    cluster.kubectl(
        "patch", "run", "one", "-n", namespace, "--type=merge", "-p", '{"spec": {"terminate": true}}'
    )
    wait_for_state(cluster, namespace, "CANCELED")
    cluster.kubectl("wait", "--for=delete", "pod", "--all", "-n", namespace, WAIT, timeout=130)


@pytest.mark.xdist_group("pipelines-runs")
def test_what_is_missing_fails_the_task_and_says_what_to_do(cluster: Cluster, namespace: str) -> None:
    start_pipelines(cluster)
    bad = {"do": ["sh", "-c", "echo last words; exit 7"]}
    silent = {"do": ["true"], "outputs": SUM}
    apply_run(
        cluster,
        namespace,
        {"bad": bad, "silent": silent, "after": {"do": ["true"], "dependentTasks": ["bad"]}},
    )
    run = wait_for_state(cluster, namespace, "FAILED")
    assert run["status"]["tasks"] == {"failed": 2, "skipped": 1}
    said = cluster.kubectl("get", "events", "-n", namespace, "-o", "jsonpath={.items[*].message}").stdout
    assert "task 'bad': its container ended with exit code 7" in said
    assert "last words" in said
    assert "task 'silent': no output was written for parameter 'sum'" in said


@pytest.mark.xdist_group("pipelines-survival")
def test_a_run_goes_on_after_the_server_was_killed_at_any_time(
    start_cluster: Callable[[ProaCommand], Cluster], tmp_path_factory: pytest.TempPathFactory
) -> None:
    cluster = start_cluster(ProaCommand(tmp_path_factory.mktemp("runs") / "home", sys.executable))
    start_pipelines(cluster)
    names = [f"step-{n}" for n in range(6)]
    chain = {name: step(before, 0.2) for before, name in zip(["", *names], names, strict=False)}
    apply_run(cluster, "default", chain)
    for kill in range(KILLS):
        asyncio.run(wait_until_done(cluster, kill + 1))
        kill_server(cluster.proa.home)
        cluster.proa("up", "--detach")
    run = wait_for_state(cluster, "default", "SUCCEEDED")
    assert run["status"]["tasks"] == {"succeeded": len(names)}
    pods = pods_of(cluster, "default")
    attempts = [
        (notes["pipelines.proa.dev/task-path"], notes["pipelines.proa.dev/attempt"])
        for notes in (pod["metadata"]["annotations"] for pod in pods)
    ]
    assert sorted(attempts) == [(name, "0") for name in names]
    assert not any(pod["metadata"].get("finalizers") for pod in pods)
    last = next(pod["metadata"]["name"] for pod in pods if "step-5" in pod["metadata"]["name"])
    assert cluster.kubectl("logs", last).stdout == "adding 1 to 5\n"


async def wait_until_done(cluster: Cluster, count: int) -> None:
    """Return when so many tasks, or more, have succeeded."""
    client = connect(cluster.kubeconfig)
    try:
        async with asyncio.timeout(120):
            async for event in client.watch(RUNS, "default"):
                if (event.object.get("status") or {}).get("tasks", {}).get("succeeded", 0) >= count:
                    return
    finally:
        await client.close()


def kill_server(home: Path) -> None:
    os.kill(json.loads((home / "server.pid").read_text())["pid"], signal.SIGKILL)
