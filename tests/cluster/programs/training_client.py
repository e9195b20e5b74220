"""What users of the kubeflow-training SDK do with PyTorchJobs; run by the SDK's own interpreter.

Usage: training_client.py ANSWERS. Its answers are JSON; it asserts nothing.
"""

import json
import sys
import time

from kubeflow.training import TrainingClient
from kubeflow.training import models as m
from kubernetes import client as k8s

QUICK = {"polling_interval": 1, "wait_timeout": 120}
PATIENCE_SECONDS = 120.0


def train(parameters):
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo")
    total = torch.tensor([float(dist.get_rank() + 1) * parameters["factor"]])
    dist.all_reduce(total)
    print(f"rank {dist.get_rank()} of {dist.get_world_size()} has {total.item()}")
    dist.destroy_process_group()


def job(name, workers, command, policy="OnFailure"):
    container = k8s.V1Container(name="pytorch", image="python:3-slim", command=["sh", "-c", command])
    template = k8s.V1PodTemplateSpec(spec=k8s.V1PodSpec(containers=[container]))
    replicas = m.KubeflowOrgV1ReplicaSpec(replicas=workers, restart_policy=policy, template=template)
    spec = m.KubeflowOrgV1PyTorchJobSpec(
        run_policy=m.KubeflowOrgV1RunPolicy(clean_pod_policy="None"),
        elastic_policy=m.KubeflowOrgV1ElasticPolicy(min_replicas=1, max_replicas=4, rdzv_backend="c10d"),
        pytorch_replica_specs={"Worker": replicas},
    )
    metadata = k8s.V1ObjectMeta(name=name)
    return m.KubeflowOrgV1PyTorchJob("kubeflow.org/v1", "PyTorchJob", metadata, spec)


def until(ask):
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        if ask():
            return True
        time.sleep(0.2)
    return False


def conditions(found):
    return [[one.type, one.status, one.reason] for one in found.status.conditions]


def from_a_function(client):
    name = "from-a-function"
    client.create_job(
        name=name, train_func=train, parameters={"factor": 10}, num_workers=2, num_procs_per_worker=1
    )
    done = client.wait_for_job_conditions(name, **QUICK)
    logs, events = client.get_job_logs(name, is_master=False, verbose=True)
    of_worker, _ = client.get_job_logs(name, is_master=False, replica_type="worker", replica_index=0)
    of_master, _ = client.get_job_logs(name)
    return {
        "conditions": conditions(done),
        "replicas": {role: one.succeeded for role, one in done.status.replica_statuses.items()},
        "pods": sorted(client.get_job_pod_names(name)),
        "master": client.get_job_pod_names(name, is_master=True),
        "logs": logs,
        "worker": list(of_worker),
        "default": list(of_master),
        "events": events[f"pytorchjob/{name}"],
        "is": [client.is_job_succeeded(name), client.is_job_failed(name), client.is_job_created(name)],
        "listed": [one.metadata.name for one in client.list_jobs()],
    }


def scaled(client):
    name = "scaled"
    waits = 'echo "$PET_NNODES $PET_RDZV_ENDPOINT"; trap "exit 143" TERM; sleep 600 & wait'
    client.create_job(job(name, 1, waits))
    client.wait_for_job_conditions(name, expected_conditions={"Running"}, **QUICK)
    wanted = client.get_job(name)
    wanted.spec.pytorch_replica_specs["Worker"].replicas = 3
    client.update_job(wanted, name)
    is_up = until(lambda: client.get_job(name).status.replica_statuses["Worker"].active == 3)
    pods = sorted(client.get_job_pod_names(name))
    wanted = client.get_job(name)
    wanted.spec.pytorch_replica_specs["Worker"].replicas = 1
    client.update_job(wanted, name)
    is_down = until(lambda: client.get_job_pod_names(name) == [f"{name}-worker-0"])
    is_logged = until(lambda: "c" in client.get_job_logs(name)[0][f"{name}-worker-0"])
    logs, _ = client.get_job_logs(name)
    client.delete_job(name)
    is_gone = until(lambda: not client.get_job_pods(name))
    return {"up": is_up, "pods": pods, "down": is_down, "logs": logs, "logged": is_logged, "gone": is_gone}


def failed(client):
    name = "failed"
    client.create_job(job(name, 2, "exit 3", "ExitCode"))
    try:
        client.wait_for_job_conditions(name, **QUICK)
        said = ""
    except RuntimeError as error:
        said = str(error)
    found = client.get_job(name)
    return {"said": said, "conditions": conditions(found), "message": found.status.conditions[-1].message}


def main():
    client = TrainingClient(namespace="default", job_kind="PyTorchJob")
    answers = {"function": from_a_function(client), "scaled": scaled(client), "failed": failed(client)}
    with open(sys.argv[1], "w") as file:
        json.dump(answers, file)


if __name__ == "__main__":
    main()
