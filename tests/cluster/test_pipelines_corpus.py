"""Pipelines of ours, compiled by the real SDKs, cover what pipelines can say: each is accepted, and does it.

The pipelines are in programs/kfp_corpus/; their own steps compare what they get with what they should. All of them run
side by side, once, on one cluster that has the SDK in its host's image.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proa.ml.pipelines.ir.document import read_package
from proa.ml.pipelines.ir.validation import check
from support.clusters import Cluster, ProaCommand, run
from support.sdk_venvs import KFP, OLD_KFP, make_sdk_venv

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900), pytest.mark.xdist_group("pipelines-corpus")]
CORPUS = Path(__file__).parent / "programs" / "kfp_corpus" / "corpus.py"
SDKS = {"2.17": ("kfp", KFP), "2.7": ("kfp-old", OLD_KFP)}

Told = dict[str, dict[str, Any]]
"""Of each run its id, state, error and tasks."""

FINE = (
    "values",
    "flow",
    "order",
    "containers",
    "artifacts",
    "good-ending",
    "pod-fields",
    "claims",
    "workspace",
)
FAILING = {
    "bad-ending": ("on purpose", {"fail": "FAILED", "closing": "SUCCEEDED", "say": "SKIPPED"}),
    "looked-past": ("on purpose", {"fail": "FAILED", "after-failure": "SUCCEEDED", "expect": "SUCCEEDED"}),
    "late-task": ("ran longer than its 2 seconds", {"sleep": "FAILED"}),
    "late-run": ("longer than its activeDeadlineSeconds (4)", {}),
}
OLD = ("values", "flow", "containers", "artifacts", "good-ending")


@pytest.mark.parametrize("sdk", SDKS)
def test_what_an_sdk_compiles_is_accepted(tmp_path: Path, sdk: str) -> None:
    run([str(make_sdk_venv(*SDKS[sdk])), str(CORPUS), "compile", str(tmp_path)])
    compiled = {path.stem: path for path in tmp_path.glob("*.yaml")}
    assert compiled.keys() >= set(OLD)
    for path in compiled.values():
        check(read_package(path.read_bytes()))


@pytest.fixture(scope="module")
def pipelines_cluster(
    start_cluster: Callable[[ProaCommand], Cluster], tmp_path_factory: pytest.TempPathFactory
) -> Cluster:
    python = make_sdk_venv(*SDKS["2.17"])
    cluster = start_cluster(ProaCommand(tmp_path_factory.mktemp("pipelines-corpus") / "home", str(python)))
    there = ("--namespace", "kubeflow")
    cluster.kubectl("create", "secret", "generic", "corpus-secret", "--from-literal=password=hunter2", *there)
    cluster.kubectl("create", "configmap", "corpus-config", "--from-literal=colour=blue", *there)
    return cluster


def ask(cluster: Cluster, sdk: str, verb: str, *names: str) -> Any:
    """Run the corpus' program with an SDK against a cluster, and return what it tells."""
    command = [str(make_sdk_venv(*SDKS[sdk])), str(CORPUS), verb, "", *names]
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout[done.stdout.index("{") :])


@pytest.fixture(scope="module")
def told(pipelines_cluster: Cluster) -> Told:
    found: Told = ask(pipelines_cluster, "2.17", "run", *FINE, *FAILING)
    return found


@pytest.mark.parametrize("name", FINE)
def test_a_pipeline_that_checks_itself_succeeds(told: Told, name: str) -> None:
    assert told[name]["state"] == "SUCCEEDED", told[name]


@pytest.mark.parametrize("name", FAILING)
def test_a_pipeline_that_must_fail_does_and_says_why(told: Told, name: str) -> None:
    error, tasks = FAILING[name]
    assert told[name]["state"] == "FAILED", told[name]
    assert error in told[name]["error"]
    states = {task["name"]: task["state"] for task in told[name]["tasks"]}
    assert {task: states[task] for task in tasks} == tasks


def test_a_notebook_is_a_step(pipelines_cluster: Cluster, told: Told) -> None:
    alone = ask(pipelines_cluster, "2.17", "run", "notebook")[
        "notebook"
    ]  # its kernel must answer within a minute
    assert alone["state"] == "SUCCEEDED", alone


def test_a_pod_has_what_its_task_asked_of_kubernetes(pipelines_cluster: Cluster, told: Told) -> None:
    (pod,) = pods_of(pipelines_cluster, told["pod-fields"]["id"])
    spec, main = pod["spec"], pod["spec"]["containers"][0]
    assert pod["metadata"]["labels"]["team"] == "corpus"
    assert pod["metadata"]["annotations"]["note"] == "kept"
    assert main["resources"] == {
        "requests": {"cpu": "50m", "memory": "64Mi"},
        "limits": {"cpu": "1", "memory": "300Mi"},
    }
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert {"key": "t", "operator": "Exists"} in spec["tolerations"]
    tolerated = {
        "key": "a",
        "operator": "Equal",
        "value": "b",
        "effect": "NoExecute",
        "tolerationSeconds": 30,
    }
    assert tolerated in spec["tolerations"]
    affinity = spec["affinity"]
    assert affinity["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]["weight"] == 7
    assert affinity["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]["weight"] == 3
    assert affinity["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0][
        "labelSelector"
    ] == {"matchLabels": {"alone": "yes"}}
    assert (main["imagePullPolicy"], spec["imagePullSecrets"]) == (
        "IfNotPresent",
        [{"name": "corpus-registry"}],
    )
    assert spec["activeDeadlineSeconds"] == 600
    assert main["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_claims_that_a_run_made_and_removed_are_gone(pipelines_cluster: Cluster, told: Told) -> None:
    assert told["claims"]["state"] == "SUCCEEDED"
    claims = pipelines_cluster.get("pvc", "-n", "kubeflow")["items"]
    assert not [claim for claim in claims if claim["metadata"]["name"].endswith("-corpus")]


def test_a_run_that_was_made_before_comes_from_the_cache(pipelines_cluster: Cluster, told: Told) -> None:
    again = ask(pipelines_cluster, "2.17", "run", "order", "containers")
    for name, found in again.items():
        assert told[name]["state"] == found["state"] == "SUCCEEDED"
        assert pods_of(pipelines_cluster, found["id"]) == []


def test_a_step_that_asks_for_an_accelerator_waits_for_one(pipelines_cluster: Cluster) -> None:
    started = ask(pipelines_cluster, "2.17", "start", "accelerator")["accelerator"]
    deadline = time.monotonic() + 120
    while not (found := pods_of(pipelines_cluster, started)):
        assert time.monotonic() < deadline, "no pod within a minute"
    (pod,) = found
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "2"}
    assert pod["status"]["phase"] == "Pending"
    assert ask(pipelines_cluster, "2.17", "terminate", started) == {started: "CANCELED"}


def test_pipelines_of_an_older_sdk_run(pipelines_cluster: Cluster) -> None:
    found = ask(pipelines_cluster, "2.7", "run", *OLD)
    assert {name: run["state"] for name, run in found.items()} == dict.fromkeys(OLD, "SUCCEEDED"), found


def pods_of(cluster: Cluster, run_id: str) -> list[dict[str, Any]]:
    """Return the pods of a run."""
    found: list[dict[str, Any]] = cluster.get("pods", "-n", "kubeflow", "-l", f"pipeline/runid={run_id}")[
        "items"
    ]
    return found
