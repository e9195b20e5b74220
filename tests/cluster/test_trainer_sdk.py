"""Kubeflow's SDK, unmodified: TrainJobs on several nodes, torch over DNS names, logs by rank, and what never hangs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.clusters import Cluster, run

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("torch"),
    pytest.mark.timeout(600, func_only=True),  # making an SDK's environment is none of it
]
PROGRAM = Path(__file__).with_name("programs") / "trainer_sdk.py"


def run_program(cluster: Cluster, what: str, folder: Path) -> dict[str, Any]:
    """Run the program of users; return its answers."""
    answers = folder / "answers.json"
    command = [
        "env",
        f"KUBECONFIG={cluster.kubeconfig}",
        str(cluster.proa.python),
        str(PROGRAM),
        what,
        str(answers),
    ]
    run(command, timeout=500, cwd=folder)
    found: dict[str, Any] = json.loads(answers.read_text())
    return found


def test_torch_trains_on_two_nodes_that_find_one_another_by_name(
    torch_cluster: Cluster, tmp_path: Path
) -> None:
    seen = run_program(torch_cluster, "tour", tmp_path)

    assert seen["runtimes"] == [["plain", "plain"], ["torch-distributed", "torch"]]
    assert seen["steps"] == [["node-0", "Succeeded", "1"], ["node-1", "Succeeded", "1"]]
    assert (seen["nodes"], "Running" in seen["statuses"], seen["statuses"][0]) == (2, True, "Complete")
    for rank in (0, 1):
        assert seen["logs"][f"node-{rank}"][0] == f"rank={rank} of=2 node={rank} sum=3.0"
    assert seen["followed"] == seen["logs"]["node-0"]
    met = [float(lines[1].partition("=")[2]) for lines in seen["logs"].values()]
    assert min(met) < 4.5, (
        "who came last waited for a name, not for a process"
    )  # a lookup tries again after 5 s
    assert ["TrainJob", "AllJobsCompleted"] in seen["events"]
    assert ["Pod", "ImageAlias"] in seen["events"]
    assert seen["name"] in seen["listed"]
    assert seen["name"] not in seen["left"]


def test_functions_containers_patches_and_failures_are_as_the_client_says(
    torch_cluster: Cluster, tmp_path: Path
) -> None:
    seen = run_program(torch_cluster, "others", tmp_path)

    assert seen["function"][1:] == ["hello True blue", f"patched {seen['function'][2].split()[1]} True"]
    name = seen["container_name"]
    assert seen["container"] == [[f"node {name}-node-0-0 of it"], [f"node {name}-node-0-1 of it"]]
    assert "torch" in seen["packages"]
    assert seen["refusal"] == "TrainJob NAME is Failed"
    failed = torch_cluster.get("trainjob", seen["failed"])["status"]["conditions"][-1]
    assert (failed["type"], failed["reason"]) == ("Failed", "FailedJobs")
    assert "exit code 1" in failed["message"]


def test_training_goes_on_from_its_checkpoint_when_a_node_is_killed(
    torch_cluster: Cluster, tmp_path: Path
) -> None:
    seen = run_program(torch_cluster, "resumes", tmp_path)

    assert seen["replaced"]
    for rank in ("0", "1"):
        log = seen["logs"][rank]
        begun = int(log[0].rpartition(" ")[2])
        assert begun >= 5
        assert [line for line in log if line.startswith("step=")] == [
            f"step={step} sum={2.0 * step}" for step in range(begun, 25)
        ]
        assert log[-1] == f"rank={rank} done"


def test_the_optimizers_trials_are_trainjobs_whose_logs_are_read(
    torch_cluster: Cluster, tmp_path: Path
) -> None:
    seen = run_program(torch_cluster, "optimizes", tmp_path)

    assert (seen["status"], len(seen["trials"]), seen["listed"], seen["left"]) == ("Complete", 4, True, [])
    for parameters, loss in seen["trials"].values():
        expected = (float(parameters["x"]) - 2) ** 2 + (parameters["kind"] == "bad") + 1 / 3
        assert float(loss) == pytest.approx(expected)
    assert seen["best"] == min(seen["trials"].values(), key=lambda trial: float(trial[1]))
    assert [line.partition("=")[0] for line in seen["logs"][:3]] == ["loss"] * 3
    assert set(seen["trials"]) <= set(seen["jobs"])
    assert ["Trial", "JobSucceeded"] in seen["events"]


def test_data_is_fetched_onto_a_shared_volume_before_a_gang_of_nodes_trains(torch_cluster: Cluster) -> None:
    mounts = [{"name": "initializer", "mountPath": "/workspace"}]
    node = ["sh", "-c", "test $(cat /workspace/data) = hf://a/b; sleep 0.1; echo $JOB_COMPLETION_INDEX of it"]
    runtime = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainingRuntime",
        "metadata": {"name": "own", "labels": {"trainer.kubeflow.org/framework": "plain"}},
        "spec": {
            "mlPolicy": {"numNodes": 2},
            "podGroupPolicy": {"coscheduling": {}},
            "template": {
                "spec": {
                    "volumeClaimPolicies": [
                        {
                            "templates": [
                                {
                                    "metadata": {"name": "initializer"},
                                    "spec": {
                                        "accessModes": ["ReadWriteOnce"],
                                        "resources": {"requests": {"storage": "1Mi"}},
                                    },
                                }
                            ]
                        }
                    ],
                    "replicatedJobs": [
                        make_step(
                            "dataset-initializer", ["sh", "-c", "echo $STORAGE_URI > /workspace/data"], mounts
                        ),
                        {
                            **make_step("node", node, mounts),
                            "dependsOn": [{"name": "dataset-initializer", "status": "Complete"}],
                        },
                    ],
                }
            },
        },
    }
    reference = {"kind": "TrainingRuntime", "name": "own"}
    dataset = {"dataset": {"storageUri": "hf://a/b"}}
    job = make_trainjob("fetched", runtimeRef=reference, initializer=dataset)
    kubectl = torch_cluster.kubectl
    kubectl("apply", "-f", "-", stdin=json.dumps(job))  # its runtime comes after it, and is waited for
    kubectl("apply", "-f", "-", stdin=json.dumps(runtime))

    kubectl("wait", "trainjob/fetched", "--for=condition=Complete", "--timeout=90s")
    assert torch_cluster.get("podgroup", "fetched")["spec"]["minMember"] == 2
    pods = torch_cluster.get(
        "pods", "-l", "jobset.sigs.k8s.io/jobset-name=fetched,jobset.sigs.k8s.io/replicatedjob-name=node"
    )
    logs = [kubectl("logs", pod["metadata"]["name"]).stdout for pod in pods["items"]]
    assert sorted(logs) == ["0 of it\n", "1 of it\n"]
    kubectl("delete", "trainjob", "fetched", "--wait")
    kubectl("wait", "pvc/initializer-fetched", "--for=delete", "--timeout=120s")


def make_step(name: str, command: list[str], mounts: list[dict[str, str]]) -> dict[str, Any]:
    """A replicated job of a runtime; its container is called as the job is."""
    container = {"name": name, "image": "python:3-slim", "command": command, "volumeMounts": mounts}
    ancestor = "trainer" if name == "node" else name
    return {
        "name": name,
        "template": {
            "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": ancestor}},
            "spec": {"template": {"spec": {"containers": [container]}}},
        },
    }


def make_trainjob(name: str, *, runtime: str = "plain", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": name},
        "spec": {"runtimeRef": {"name": runtime}, **spec},
    }


def test_what_cannot_run_says_why_and_nothing_hangs(torch_cluster: Cluster) -> None:
    bad_variable = {"command": ["true"], "env": [{"name": "a=b"}]}
    too_much = {"command": ["true"], "resourcesPerNode": {"requests": {"cpu": "999"}}}
    jobs = {
        "Failed": [
            make_trainjob("unknown", runtime="nowhere"),
            make_trainjob("reserved", runtime="torch-distributed", trainer={"env": [{"name": "PET_NNODES"}]}),
            make_trainjob("refused", trainer=bad_variable),
            make_trainjob("late", trainer={"command": ["sleep", "600"]}, activeDeadlineSeconds=1),
        ],
        "Stalled": [make_trainjob("unplaced", trainer=too_much)],
    }
    kubectl = torch_cluster.kubectl
    every = {"apiVersion": "v1", "kind": "List", "items": [job for group in jobs.values() for job in group]}
    kubectl("apply", "-f", "-", stdin=json.dumps(every))

    said = {}
    for condition, group in jobs.items():
        for job in group:
            name = job["metadata"]["name"]
            kubectl("wait", f"trainjob/{name}", f"--for=condition={condition}", "--timeout=120s")
            found = torch_cluster.get("trainjob", name)["status"]["conditions"]
            said[name] = next(c for c in found if c["type"] == condition)

    assert {name: condition["reason"] for name, condition in said.items()} == {
        "unknown": "TrainingRuntimeNotFound",
        "reserved": "InvalidTrainJob",
        "refused": "JobCreationFailed",
        "late": "DeadlineExceeded",
        "unplaced": "Unschedulable",
    }
    assert "ClusterTrainingRuntime torch-distributed" in said["unknown"]["message"]
    assert "PET_NNODES" in said["reserved"]["message"]
    assert "env[0].name" in said["refused"]["message"]
    assert "Insufficient cpu" in said["unplaced"]["message"]

    kubectl("delete", "trainjob", *said)
    again = {"runtimeRef": {"name": "plain"}, "trainer": {"numProcPerNode": 0}}
    refused = kubectl(
        "apply", "-f", "-", stdin=json.dumps({**make_trainjob("x"), "spec": again}), check=False
    )
    assert "numProcPerNode must be greater than or equal to 1" in refused.stderr
