"""Runs whose server, node supervisor or steps are killed at random moments: each ends right, and no step is done twice.

Each step writes to a file of a claim when it begins and when it is done. PROA_SURVIVE_RUNS says how many runs there are
(6 otherwise); the moments follow from a seed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from support.clusters import Cluster, ProaCommand
from support.inventory import noded_pid, server_pid
from support.pipeline_runs import const, dag, declare, loop, out, outer, pipeline, retries, step, task
from support.processes import find_processes

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("pipelines-survive"), pytest.mark.timeout(3600)]
RUNS = int(os.environ.get("PROA_SURVIVE_RUNS", "6"))
SEED = 6
LONGEST_WAIT = 2.5
STEPS = {"first", "alone", "a", "b", "c", "gather", "bye"}
NOTE = """
echo "begin $0 $HOSTNAME" >> /diary/$1
sleep 0.4
mkdir -p "$(dirname "$2")"
printf %s "$0" > "$2"
echo "done $0 $HOSTNAME" >> /diary/$1
"""
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "diary"},
    "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Mi"}}},
}
MOUNT = {"pvcMount": [{"constant": "diary", "mountPath": "/diary"}]}


def make_pipeline() -> dict[str, Any]:
    """Return a pipeline of seven steps: two at first, a loop, what collects its outputs, and an exit task."""
    note = step(declare(label=str), declare(said=str), image="python:3.11")
    words = ["{{$.inputs.parameters['label']}}", "{{$.pipeline_job_resource_name}}"]
    note["_executor"]["container"]["command"] = [
        "sh",
        "-c",
        NOTE,
        *words,
        "{{$.outputs.parameters['said'].output_file}}",
    ]
    gather = step(declare(label=str, all=list), declare(said=str), image="python:3.11")
    gather["_executor"] = note["_executor"]
    again = retries(4)

    def noted(label: str, **fields: Any) -> dict[str, Any]:
        return task("note", inputs={"label": const(label)}, **again, **fields)

    body = dag(
        {"note": task("note", inputs={"label": outer("item")}, **again)},
        declare(item=str),
        {"said": "note.said"},
    )
    body["outputDefinitions"] = {"parameters": declare(said=list)}
    collected = {"label": const("gather"), "all": out("loop.said")}
    tasks = {
        "first": noted("first"),
        "alone": noted("alone"),
        "loop": task("body", after=["first"], **loop("item", ["a", "b", "c"], 2)),
        "gather": task("gather", after=["loop"], inputs=collected, **again),
        "bye": noted("bye", after=["gather"], always=True),
    }
    spec = pipeline(dag(tasks), note=note, gather=gather, body=body)
    return spec | {"pipelineInfo": {"name": "survive"}, "schemaVersion": "2.1.0", "sdkVersion": "kfp-2.17.0"}


def apply_run(cluster: Cluster, name: str) -> None:
    executors = {"exec-note": MOUNT, "exec-gather": MOUNT}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
    run = {
        "apiVersion": "pipelines.proa.dev/v1",
        "kind": "Run",
        "metadata": {"name": name},
        "spec": {"pipelineSpec": make_pipeline(), "platformSpec": platform, "cacheEnabled": False},
    }
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(run))


def kill_server(cluster: Cluster, name: str, choose: random.Random) -> None:
    os.kill(server_pid(cluster), signal.SIGKILL)
    cluster.proa("up", "--detach")


def kill_noded(cluster: Cluster, name: str, choose: random.Random) -> None:
    os.kill(noded_pid(cluster), signal.SIGKILL)


def kill_step(cluster: Cluster, name: str, choose: random.Random) -> None:
    """Kill a process of a step of the run, as soon as there is one."""
    while cluster.get("run", name).get("status", {}).get("state") in {None, "PENDING", "RUNNING"}:
        processes = sorted(find_processes(f" {name} "))
        if processes:
            with suppress(ProcessLookupError):
                os.kill(choose.choice(processes), signal.SIGKILL)
                return
    raise AssertionError(f"{name} was over before one of its steps could be killed")


KILLS: dict[str, Callable[[Cluster, str, random.Random], None]] = {
    "server": kill_server,
    "noded": kill_noded,
    "step": kill_step,
}


def read_diary(cluster: Cluster) -> dict[str, list[tuple[str, str, str]]]:
    """Return what the steps of each run wrote: begin or done, which step, which pod."""
    reader = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "reader"},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "main",
                    "image": "python:3.11",
                    "command": ["sh", "-c", 'grep -H "" /diary/*'],
                    "volumeMounts": [{"name": "diary", "mountPath": "/diary"}],
                }
            ],
            "volumes": [{"name": "diary", "persistentVolumeClaim": {"claimName": "diary"}}],
        },
    }
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(reader))
    cluster.kubectl("wait", "pod/reader", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s")
    diary: dict[str, list[tuple[str, str, str]]] = {}
    for line in cluster.kubectl("logs", "reader").stdout.splitlines():
        file, _, text = line.partition(":")
        what, which, pod = text.split()
        diary.setdefault(file.removeprefix("/diary/"), []).append((what, which, pod))
    return diary


def check(kind: str, entries: list[tuple[str, str, str]]) -> None:
    """See that no pod began twice, no step is lost, and that none was done again unless it or its node was killed."""
    begun = Counter(pod for what, _, pod in entries if what == "begin")
    done = Counter(which for what, which, _ in entries if what == "done")
    assert set(begun.values()) == {1}, entries
    assert done.keys() == STEPS, entries
    if kind == "server":
        assert set(done.values()) == {1}, entries
    if kind != "noded":
        assert len(begun) == len(STEPS) + (kind == "step"), entries


def test_runs_end_right_whatever_is_killed_and_when(
    start_cluster: Callable[[ProaCommand], Cluster], tmp_path_factory: pytest.TempPathFactory
) -> None:
    cluster = start_cluster(ProaCommand(tmp_path_factory.mktemp("survive") / "home", sys.executable))
    cluster.kubectl("get", "--raw", "/apis/v2beta1/healthz")
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(CLAIM))
    choose = random.Random(SEED)
    runs = {}
    for number in range(RUNS):
        name, kind = f"run-{number}", list(KILLS)[number % len(KILLS)]
        runs[name] = (kind, choose.uniform(0, LONGEST_WAIT))
        apply_run(cluster, name)
        time.sleep(runs[name][1])  # the moment is the point
        KILLS[kind](cluster, name, choose)
        ended = cluster.kubectl(
            "wait",
            "--for=jsonpath={.status.state}=SUCCEEDED",
            f"run/{name}",
            "--timeout=120s",
            timeout=130,
            check=False,
        )
        assert ended.returncode == 0, (name, runs[name], cluster.get("run", name)["status"], ended.stderr)
    diary = read_diary(cluster)
    assert diary.keys() == runs.keys()
    for name, (kind, _) in runs.items():
        check(kind, diary[name])
