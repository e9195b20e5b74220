"""The SDK kubeflow-katib, unmodified: every method of its client, metrics that trials push, and its messages."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.clusters import Cluster, ProaCommand
from support.sdk_venvs import KATIB, make_sdk_venv

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("katib"),
    pytest.mark.timeout(600, func_only=True),  # making an SDK's environment is none of it
]
PROGRAMS = Path(__file__).with_name("programs")
SOURCE = Path(__file__).resolve().parents[2] / "src"
LONGEST = 500
"""Seconds that a program of a user may take on a busy machine."""
ASK = """
import grpc, sys
from kubeflow.katib import katib_api_pb2 as pb, katib_api_pb2_grpc
stub = katib_api_pb2_grpc.DBManagerStub(grpc.insecure_channel("katib-db-manager.kubeflow:6789"))
for name in sys.argv[1:]:
    for call, request in (
        (stub.GetObservationLog, pb.GetObservationLogRequest(trial_name=name)),
        (stub.ReportObservationLog, pb.ReportObservationLogRequest(trial_name=name)),
        (stub.DeleteObservationLog, pb.DeleteObservationLogRequest(trial_name=name)),
    ):
        try:
            answer = call(request, timeout=60)
            print("answered", len(answer.observation_log.metric_logs))
        except grpc.RpcError as error:
            print(error.code().name, error.details())
"""
"""What a pod asks of trials: reads, pushes, deletes."""


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter that has the SDK."""
    return make_sdk_venv("katib", KATIB)


@pytest.fixture(scope="module")
def katib_cluster(
    python: Path, tmp_path_factory: pytest.TempPathFactory, kubectl_path: str
) -> Iterator[Cluster]:
    """A cluster whose host image has the SDK, as a user's has it."""
    proa = ProaCommand(tmp_path_factory.mktemp("katib") / "home", str(python))
    proa("up", "--detach", "--port", "0", "--pipelines-port", "0", "--tuning-port", "0")
    try:
        yield Cluster(proa, kubectl_path)
    finally:
        proa("reset", "--yes", check=False)


@pytest.fixture(scope="module")
def answers(katib_cluster: Cluster, python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a program of a user came to that uses all of the client."""
    folder = tmp_path_factory.mktemp("answers")
    environment = {
        "KUBECONFIG": str(katib_cluster.kubeconfig),
        "DB_MANAGER": katib_cluster.proa.status()["tuning"],
    }
    run_program(python, "katib_client.py", str(folder / "answers.json"), **environment)
    found: dict[str, Any] = json.loads((folder / "answers.json").read_text())
    return found


def run_program(python: Path, program: str, *arguments: str, **environment: str) -> str:
    """Run a program with the SDK; return what it printed."""
    command = [str(python), str(PROGRAMS / program), *arguments]
    ran = subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    if ran.returncode:
        pytest.fail(f"{program}: exit {ran.returncode}\n{ran.stdout[-4000:]}\n{ran.stderr[-8000:]}")
    return ran.stdout


def values_of(points: list[list[Any]], metric: str) -> list[Any]:
    return [value for name, value in points if name == metric]


def test_our_messages_are_the_sdks(python: Path) -> None:
    assert "messages are the same" in run_program(python, "katib_messages.py", PYTHONPATH=str(SOURCE))


def test_every_method_of_the_client_works(answers: dict[str, Any]) -> None:
    assert answers["missed"] == []
    assert answers["conditions"] == ["Created", "Running", "Succeeded"]
    assert (answers["trials"], answers["suggestions"]) == (4, 4)
    assert answers["status"]["trials_succeeded"] == 4
    assert answers["listed"] == answers["suggestions_listed"]
    assert answers["deleted"] is True


def test_the_optimum_is_that_of_the_function(answers: dict[str, Any]) -> None:
    losses = {}
    for trial in answers["details"]:
        loss = next(metric for metric in trial["metrics"] if metric["name"] == "loss")
        assert float(loss["min"]) == pytest.approx((float(trial["x"]) - 0.25) ** 2 + int(trial["layers"]))
        assert float(loss["max"]) == 9.5
        losses[trial["x"]] = float(loss["min"])
    assert len(losses) == 4
    assert losses[answers["best"]["x"]] == min(losses.values())


def test_a_trials_log_and_points_are_what_the_function_printed(answers: dict[str, Any]) -> None:
    best = min(float(value) for value in values_of(answers["points"], "loss"))
    assert values_of(answers["points"], "loss") == ["9.5", str(best)]
    assert values_of(answers["points"], "accuracy") == ["0.5"]
    for lines in answers["logs"].values():
        assert lines[:2] == ["epoch 0: loss=9.5", f"epoch 1: loss={best} accuracy=0.5"]


def test_an_experiment_that_has_ended_goes_on_with_a_greater_budget(answers: dict[str, Any]) -> None:
    assert answers["edited"] == {"before": 1, "after": 3}


def test_metrics_that_a_trial_pushes_are_its_observation(answers: dict[str, Any]) -> None:
    pushed = answers["pushed"]
    assert pushed["loss"] == pytest.approx(pushed["x"] + 1)
    assert values_of(pushed["points"], "loss") == pytest.approx([pushed["x"] + step for step in (3, 2, 1)])
    assert values_of(pushed["points"], "step") == [0.0, 1.0, 2.0]


def test_a_function_has_its_packages_and_runs_as_a_pytorchjob(answers: dict[str, Any]) -> None:
    for name, kind in (("packaged", "Job"), ("distributed", "PyTorchJob")):
        assert float(answers[name]["score"]) == pytest.approx(float(answers[name]["x"])), name
        assert answers[name]["kind"] == kind


def test_an_experiment_that_fails_says_why(answers: dict[str, Any]) -> None:
    failed = answers["failed"]
    assert "because max failed count has reached" in failed["message"]
    assert len(failed["trials"]) == 1
    assert "3" in failed["trials"][0]
    assert "already exists" in failed["twice"]


def test_pods_read_what_their_namespaces_trials_told_and_change_nothing_of_others(
    katib_cluster: Cluster, answers: dict[str, Any]
) -> None:
    name = answers["status"]["current_optimal_trial"]["best_trial_name"]
    katib_cluster.kubectl("create", "namespace", "other")
    for namespace in ("default", "other"):
        command = (
            "--image=python:3.11",
            "--restart=Never",
            "--",
            "python",
            "-c",
            ASK,
            name,
            f"default/{name}",
        )
        katib_cluster.kubectl("run", "ask", "-n", namespace, *command)
    said = {}
    for namespace in ("default", "other"):
        done = ("--for=jsonpath={.status.phase}=Succeeded", "pod/ask", "--timeout=120s")
        katib_cluster.kubectl("wait", "-n", namespace, *done)
        said[namespace] = katib_cluster.kubectl("logs", "-n", namespace, "ask").stdout.splitlines()
    refused = f"FAILED_PRECONDITION trial default/{name} has the collector StdOut"
    kept = "PERMISSION_DENIED what a trial told goes with the trial"
    for line, start in zip(said["default"], 2 * ["answered 3", refused, kept], strict=True):
        assert line.startswith(start)
    absent = f"NOT_FOUND there is no trial other/{name}"
    foreign = "PERMISSION_DENIED pod other/ask may not ask for trials of default"
    for line, start in zip(said["other"], [absent, absent, kept, foreign, foreign, kept], strict=True):
        assert line.startswith(start)


def test_an_algorithm_that_is_not_built_in_runs_as_a_service_for_as_long_as_it_is_asked(
    katib_cluster: Cluster,
) -> None:
    objects = yaml.safe_dump_all([make_config("mine"), make_experiment("remote", "mine")])
    katib_cluster.kubectl("apply", "-f", "-", stdin=objects)
    ended = ("--for=condition=Succeeded", "experiment/remote", "--timeout=120s")
    katib_cluster.kubectl("wait", *ended)
    suggestion = katib_cluster.get("suggestion", "remote")
    conditions = {one["type"]: one["status"] for one in suggestion["status"]["conditions"]}
    assert conditions["DeploymentReady"] == "True"
    assert suggestion["status"]["suggestionCount"] == 3
    katib_cluster.kubectl(
        "wait", "--for=delete", "deployment/remote-mine", "service/remote-mine", "--timeout=120s"
    )


def make_config(algorithm: str) -> dict[str, Any]:
    """Return the ConfigMap that says which image an algorithm has: ours, by another name."""
    server = ["python", "-m", "proa.ml.tuning.grpc.suggestion_server", "--algorithm", "random"]
    entry = {"algorithmName": algorithm, "image": "python:3.11", "command": server}
    text = yaml.safe_dump({"kind": "KatibConfig", "runtime": {"suggestions": [entry]}})
    metadata = {"name": "katib-config", "namespace": "kubeflow"}
    data = {"katib-config.yaml": text}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def make_experiment(name: str, algorithm: str) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": "python:3.11",
        "command": ["sh", "-c", "echo loss=${trialParameters.x}"],
    }
    pod = {"restartPolicy": "Never", "containers": [container]}
    job = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"backoffLimit": 0, "template": {"spec": pod}}}
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Experiment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "objective": {"type": "minimize", "objectiveMetricName": "loss"},
            "algorithm": {"algorithmName": algorithm},
            "parallelTrialCount": 3,
            "maxTrialCount": 3,
            "parameters": [
                {"name": "x", "parameterType": "double", "feasibleSpace": {"min": "0", "max": "1"}}
            ],
            "trialTemplate": {
                "primaryContainerName": "main",
                "trialParameters": [{"name": "x", "reference": "x"}],
                "trialSpec": job,
            },
        },
    }
