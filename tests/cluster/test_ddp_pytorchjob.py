"""Real torch: examples/mnist_ddp.py as PyTorchJobs and as a TrainJob.

Two processes learn as well as one does, whoever is killed on the way.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.clusters import ROOT, Cluster

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("torch"),
    pytest.mark.timeout(300, func_only=True),  # making an environment with torch is none of it
]
PROGRAM = "mnist_ddp.py"
SETTINGS = {
    "SAMPLES": "2000",
    "EPOCHS": "6",
    "CHECKPOINT_EVERY": "5",
    "CHECKPOINTS": "/checkpoints",
    "OMP_NUM_THREADS": "1",
}
SLOW = {"STEP_SECONDS": "0.04"}
STEPS = 2000 * 4 // 5 // 64 * 6
PATIENCE_SECONDS = 180.0
PATIENCE = (f"--timeout={PATIENCE_SECONDS:.0f}s",)


@pytest.fixture(scope="module")
def training(torch_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, with the program in a ConfigMap."""
    file = f"--from-file={ROOT / 'examples' / PROGRAM}"
    torch_cluster.kubectl("create", "configmap", "mnist-ddp", file)
    yield torch_cluster
    torch_cluster.kubectl("delete", "configmap", "mnist-ddp")


@pytest.fixture(scope="module")
def alone(training: Cluster) -> float:
    """What one process learns: the share of digits that it tells right."""
    apply(training, job("alone", Master=replica({"emptyDir": {}}, {})))
    training.kubectl("wait", "--for=condition=Succeeded", *PATIENCE, "pytorchjob/alone", timeout=200)
    found = accuracy(log_of(training, "alone-master-0"))
    training.kubectl("delete", "pytorchjob", "alone", "--wait=false")
    return found


def claim(name: str) -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def pod_spec(container: str, volume: dict[str, Any], settings: dict[str, str]) -> dict[str, Any]:
    mounts = [
        {"name": "program", "mountPath": "/program"},
        {"name": "checkpoints", "mountPath": "/checkpoints"},
    ]
    env = [{"name": name, "value": value} for name, value in {**SETTINGS, **settings}.items()]
    volumes = [{"name": "program", "configMap": {"name": "mnist-ddp"}}, {"name": "checkpoints", **volume}]
    return {
        "containers": [{"name": container, "env": env, "volumeMounts": mounts}],
        "volumes": volumes,
        "terminationGracePeriodSeconds": 5,
    }


def replica(volume: dict[str, Any], settings: dict[str, str], before: str = "") -> dict[str, Any]:
    spec = pod_spec("pytorch", volume, settings)
    (container,) = spec["containers"]
    container |= {"image": "pytorch/pytorch", "command": ["python", f"/program/{PROGRAM}"]}
    if before:
        spec["initContainers"] = [{**container, "name": "first", "command": ["sh", "-c", before]}]
    return {"replicas": 1, "restartPolicy": "OnFailure", "template": {"spec": spec}}


def job(name: str, **roles: dict[str, Any]) -> dict[str, Any]:
    spec = {"runPolicy": {"schedulingPolicy": {}}, "pytorchReplicaSpecs": roles}
    return {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": {"name": name}, "spec": spec}


def apply(cluster: Cluster, *objects: dict[str, Any]) -> None:
    cluster.kubectl("apply", "-f", "-", stdin="\n---\n".join(json.dumps(one) for one in objects))


def log_of(cluster: Cluster, pod: str, container: str = "pytorch") -> str:
    return cluster.kubectl("logs", pod, "-c", container, check=False).stdout


def until(is_true: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        if found := is_true():
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {PATIENCE_SECONDS} s: {what}")


def last_step(text: str) -> int:
    return max((int(found) for found in re.findall(r" step=(\d+)", text)), default=0)


def accuracy(text: str) -> float:
    found = re.search(r"accuracy=(\S+)", text)
    assert found is not None, text
    return float(found[1])


def kill(pod: str) -> None:
    """End the training in a pod of this hostname as the kernel does when memory is short."""
    killed = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes()
            if f"HOSTNAME={pod}".encode() in environment and PROGRAM.encode() in command:
                os.kill(int(process.name), signal.SIGKILL)
                killed.append(process)
        except OSError:  # gone meanwhile: the others end with the first
            continue
    assert killed, f"{pod} has no such process"


def test_two_processes_learn_as_well_as_one_though_a_worker_and_then_the_master_die(
    training: Cluster, alone: float, record_property: Callable[[str, object], None]
) -> None:
    name = f"pair-{uuid.uuid4().hex[:6]}"
    master, worker = f"{name}-master-0", f"{name}-worker-0"
    kept = {"persistentVolumeClaim": {"claimName": name}}
    damage = "test -e /checkpoints/step-000005.pt || echo damaged > /checkpoints/step-999999.pt"
    roles = {"Master": replica(kept, SLOW, damage), "Worker": replica({"emptyDir": {}}, SLOW)}
    apply(training, claim(name), job(name, **roles))

    until(lambda: last_step(log_of(training, master)) >= 20, "step 20")
    kill(worker)
    first_master = until(lambda: "a peer is lost" in (said := log_of(training, master)) and said, "notice")
    until(lambda: "resumes at step" in log_of(training, worker), "the worker is back")
    until(lambda: last_step(log_of(training, worker)) >= 60, "step 60")
    training.kubectl("delete", "pod", master, "--wait=false")
    training.kubectl("wait", "--for=condition=Succeeded", *PATIENCE, f"pytorchjob/{name}", timeout=200)

    of_master, of_worker = log_of(training, master), log_of(training, worker)
    assert "step-999999.pt is damaged" in first_master
    assert "begins at step 0" in first_master
    resumed = [int(step) for step in re.findall(r"resumes at step (\d+)", of_worker)]
    assert len(resumed) == 2, of_worker
    assert resumed[0] == last_step(first_master.partition("a peer is lost")[0])
    assert resumed[1] >= 60
    assert f"resumes at step {resumed[1]}" in of_master
    assert f"has learned: {STEPS} steps" in of_master
    record_property("ddp", {"alone": alone, "pair": accuracy(of_master), "resumed": resumed})
    assert alone > 0.85
    assert accuracy(of_master) == pytest.approx(alone, abs=0.02)
    restarts = training.get("pod", worker)["status"]["containerStatuses"][0]["restartCount"]
    assert restarts == 1
    training.kubectl("delete", "pytorchjob,pvc", name, "--ignore-not-found")


def test_a_trainjob_of_two_nodes_goes_on_where_it_was_when_one_is_killed(
    training: Cluster, alone: float, record_property: Callable[[str, object], None]
) -> None:
    name = f"nodes-{uuid.uuid4().hex[:6]}"
    kept = {"persistentVolumeClaim": {"claimName": name}}
    patch = {"targetJobs": [{"name": "node"}], "spec": pod_spec("node", kept, SLOW)}
    (container,) = patch["spec"]["containers"]
    command = ["torchrun", f"/program/{PROGRAM}"]
    trainer = {"numNodes": 2, "numProcPerNode": 1, "command": command, "env": container.pop("env")}
    spec = {
        "runtimeRef": {"name": "torch-distributed"},
        "trainer": trainer,
        "podTemplateOverrides": [patch],
    }
    kind = {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob"}
    apply(training, claim(name), {**kind, "metadata": {"name": name}, "spec": spec})

    def pod_of(node: int) -> str:
        labels = f"jobset.sigs.k8s.io/jobset-name={name},batch.kubernetes.io/job-completion-index={node}"
        found = training.get("pods", "-l", labels)["items"]
        return str(found[0]["metadata"]["name"]) if found else ""

    until(lambda: last_step(log_of(training, pod_of(0), "node")) >= 20, "step 20")
    kill(f"{name}-node-0-1")
    training.kubectl("wait", "--for=condition=Complete", *PATIENCE, f"trainjob/{name}", timeout=200)

    of_first, of_second = (log_of(training, pod_of(node), "node") for node in (0, 1))
    (resumed,) = re.findall(r"resumes at step (\d+)", of_second)
    before = of_first.partition("a peer is lost")[0]
    assert int(resumed) == last_step(before) >= 20
    assert f"resumes at step {resumed}" in of_first
    assert f"has learned: {STEPS} steps" in of_first
    record_property("ddp", {"alone": alone, "nodes": accuracy(of_first), "resumed": resumed})
    assert accuracy(of_first) == pytest.approx(alone, abs=0.02)
    training.kubectl("delete", "trainjob,pvc", name, "--ignore-not-found")


def test_a_gang_that_does_not_fit_as_a_whole_starts_no_pod_and_says_why(torch_cluster: Cluster) -> None:
    (node,) = torch_cluster.get("nodes")["items"]
    cpu = node["status"]["allocatable"]["cpu"]
    millis = int(cpu[:-1]) if cpu.endswith("m") else int(cpu) * 1000
    container = {
        "name": "pytorch",
        "image": "python:3-slim",
        "command": ["true"],
        "resources": {"requests": {"cpu": f"{millis * 6 // 10}m"}},
    }
    role = {"replicas": 1, "template": {"spec": {"containers": [container]}}}
    apply(torch_cluster, job("too-large", Master=role, Worker=role))

    def said() -> str:
        found = torch_cluster.get("pytorchjob", "too-large").get("status") or {}
        return next((one["message"] for one in found.get("conditions") or () if one["type"] == "Created"), "")

    def members() -> list[dict[str, Any]]:
        found = torch_cluster.get("pods", "-l", "training.kubeflow.org/job-name=too-large")["items"]
        return list(found)

    message = until(lambda: "Insufficient cpu" in (text := said()) and text, "why it waits")
    assert message.startswith("PyTorchJob too-large is created. Pod too-large-")
    assert [pod["status"]["phase"] for pod in members()] == ["Pending", "Pending"]
    assert [pod["spec"].get("nodeName") for pod in members()] == [None, None]
    group = torch_cluster.get("podgroup", "too-large")
    assert group["spec"]["minMember"] == 2

    patch = json.dumps({"spec": {"runPolicy": {"schedulingPolicy": {"minAvailable": 1}}}})
    torch_cluster.kubectl("patch", "pytorchjob", "too-large", "--type=merge", "-p", patch)
    until(lambda: any(pod["spec"].get("nodeName") for pod in members()), "one of them has a place")
    torch_cluster.kubectl("delete", "pytorchjob", "too-large", "--wait=false")
