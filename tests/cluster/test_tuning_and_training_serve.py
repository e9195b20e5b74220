"""`proa tuning|training|serving serve` beside a cluster with none of them, with no rights but the manifests'."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.clusters import ROOT, Cluster, ProaCommand
from support.experiments import make_experiment

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
TIMING = ("--lease-duration", "4", "--renew-deadline", "3", "--retry-period", "0.5")
DEADLINE_SECONDS = 180.0
RUN = {
    "apiVersion": "trainer.kubeflow.org/v1alpha1",
    "kind": "TrainJob",
    "spec": {
        "runtimeRef": {"name": "plain"},
        "trainer": {"numNodes": 1, "command": ["sh", "-c", "echo score=${trialParameters.x}"]},
    },
}


class Server:
    """One `proa AREA serve` as the account of the manifest."""

    def __init__(self, cluster: Cluster, area: str, folder: Path, *options: str) -> None:
        manifest = list(yaml.safe_load_all((ROOT / f"examples/{area}-elsewhere.yaml").read_text()))
        objects = [part for part in manifest if part["kind"] not in ("Deployment", "Service")]
        cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))
        token = cluster.kubectl("create", "token", f"{area}-operator", "-n", "kubeflow").stdout.strip()
        config = yaml.safe_load(cluster.kubeconfig.read_text())
        config["users"] = [{"name": "proa", "user": {"token": token}}]
        kubeconfig = folder / f"{area}.kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(config))
        self.log = folder / f"{area}.log"
        command = [sys.executable, "-m", "proa", area, "serve", "--kubeconfig", str(kubeconfig)]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, *options, *TIMING], stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd="/"
            )

    def end(self) -> int:
        """End it; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


@pytest.fixture
def bare(kubectl_path: str, tmp_path: Path) -> Iterator[Cluster]:
    """Return a cluster that has neither."""
    proa = ProaCommand(tmp_path / "home", sys.executable)
    proa("up", "--detach", "--port", "0", "--without", "tuning,training,serving")
    yield Cluster(proa, kubectl_path)
    proa("reset", "--yes")


def until(is_true: Any, what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_true():
        assert time.monotonic() < deadline, f"not within {DEADLINE_SECONDS} s: {what}"
        time.sleep(0.1)


def make_service(model_format: str) -> dict[str, Any]:
    model = {"modelFormat": {"name": model_format}, "storageUri": "http://127.0.0.1:1/nothing"}
    kind = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService"}
    return {**kind, "metadata": {"name": model_format}, "spec": {"predictor": {"model": model}}}


def test_an_inference_service_is_carried_out_where_there_is_no_gateway(bare: Cluster, tmp_path: Path) -> None:
    server = Server(bare, "serving", tmp_path, "--port", "0", "--health-port", "-1")
    try:
        get = ("get", "clusterservingruntime/kserve-sklearnserver", "crd/inferenceservices.serving.kserve.io")
        until(lambda: bare.kubectl(*get, check=False).returncode == 0, "the kinds and runtimes are made")
        services = [make_service("sklearn"), make_service("tensorflow")]
        bare.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(services))

        def has(kind: str, name: str, path: str, words: str) -> bool:
            found = bare.kubectl("get", kind, name, "-o", f"jsonpath={path}", check=False)
            return words in found.stdout

        reason = "{.status.modelStatus.lastFailureInfo.reason}"
        until(lambda: has("isvc", "tensorflow", reason, "NoSupportingRuntime"), "nobody serves TensorFlow")
        runtime = "{.status.clusterServingRuntimeName}"
        until(lambda: has("isvc", "sklearn", runtime, "kserve-sklearnserver"), "a runtime is chosen")
        made = "sklearn-predictor-00001-deployment"
        until(lambda: has("deployment", made, "{.metadata.labels.component}", "predictor"), "it is made")
    finally:
        code = server.end()
    log = server.log.read_text()
    assert code == 0, log
    assert not [line for line in log.splitlines() if " ERROR " in line or "orbidden" in line], log


def test_an_experiment_of_train_jobs_is_carried_out_by_both(bare: Cluster, tmp_path: Path) -> None:
    assert "experiments" not in bare.kubectl("get", "crd", "-o", "name").stdout
    database = str(tmp_path / "observations.db")
    servers = [
        Server(bare, "training", tmp_path, "--port", "-1"),
        Server(bare, "tuning", tmp_path, "--port", "0", "--health-port", "-1", "--database", database),
    ]
    try:
        get = ("get", "clustertrainingruntime/plain", "crd/experiments.kubeflow.org", "-o", "name")
        until(lambda: bare.kubectl(*get, check=False).returncode == 0, "the kinds and runtimes are made")
        experiment = make_experiment(
            "elsewhere",
            RUN,
            trialTemplate={"primaryContainerName": "node"},
            maxTrialCount=2,
            parallelTrialCount=2,
        )
        bare.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(experiment))
        done = bare.proa("experiments", "wait", "elsewhere", "--timeout", str(DEADLINE_SECONDS), check=False)
        assert done.returncode == 0, done.stdout + done.stderr + servers[1].log.read_text()
        assert "2 of 2 trials: 2 succeeded" in done.stdout
    finally:
        codes = [server.end() for server in servers]
    assert codes == [0, 0]
    logs = "".join(server.log.read_text() for server in servers)
    assert not [line for line in logs.splitlines() if " ERROR " in line or "orbidden" in line]
