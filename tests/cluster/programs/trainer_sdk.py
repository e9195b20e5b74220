"""What users do with kubeflow's TrainerClient; writes what came of it to a file.

Run with the interpreter of the SDK's environment: `trainer_sdk.py WHAT ANSWERS`, KUBECONFIG set.
"""

import contextlib
import io
import json
import sys

from kubeflow import optimizer
from kubeflow.trainer import (
    CustomTrainer,
    CustomTrainerContainer,
    KubernetesBackendConfig,
    TrainerClient,
    options,
)
from kubernetes import client as kubernetes_client

LONGEST = 300
"""Seconds that a job may take on a busy machine."""


def ddp():
    """Sum the ranks over all processes."""
    import os
    import time

    import torch
    import torch.distributed as dist

    began = time.monotonic()
    dist.init_process_group("gloo")
    met_after = time.monotonic() - began
    total = torch.ones(1) * (dist.get_rank() + 1)
    dist.all_reduce(total)
    print(
        f"rank={dist.get_rank()} of={dist.get_world_size()} node={os.environ['PET_NODE_RANK']} sum={total.item()}"
    )
    print(f"met_after={met_after:.3f}")
    dist.destroy_process_group()


def packages(greeting):
    """Use what was installed, and what was said to the container."""
    import os

    import packaging.version

    print(greeting, packaging.version.parse("1.10") > packaging.version.parse("1.9"), os.environ["COLOUR"])
    print("patched", os.environ["HOSTNAME"], os.path.exists("/scratch"))


def fails():
    """Be wrong."""
    raise SystemExit("there is no data")


def counts_with_checkpoints():
    """Count together to 25, two processes, from where the checkpoint is; every tenth of a second one."""
    import os
    import pathlib
    import time

    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo")
    rank, kept = dist.get_rank(), pathlib.Path("/checkpoints/step")
    begin = int(kept.read_text()) if kept.exists() else 0
    print(f"rank={rank} begins at step {begin}", flush=True)
    for step in range(begin, 25):
        total = torch.tensor([float(step)])
        dist.all_reduce(total)
        if rank == 0:
            part = kept.with_name("step.part")
            part.write_text(str(step + 1))
            os.replace(part, kept)
        print(f"step={step} sum={total.item()}", flush=True)
        time.sleep(0.1)
    print(f"rank={rank} done", flush=True)


def tour(client):
    """All that a client can do with a job that goes well, on two nodes."""
    seen = {"runtimes": sorted((found.name, found.trainer.framework) for found in client.list_runtimes())}
    runtime = client.get_runtime("torch-distributed")
    seen["image"] = runtime.trainer.image
    name = client.train(
        runtime=runtime,
        trainer=CustomTrainer(func=ddp, num_nodes=2),
        options=[
            options.Name("two-nodes"),
            options.Labels({"team": "red"}),
            options.Annotations({"why": "a tour"}),
        ],
    )
    statuses = []
    client.wait_for_job_status(
        name,
        {"Running"},
        timeout=LONGEST,
        polling_interval=1,
        callbacks=[lambda job: statuses.append(job.status)],
    )
    seen["followed"] = list(client.get_job_logs(name, follow=True))
    job = client.wait_for_job_status(name, timeout=LONGEST, polling_interval=1)
    seen |= {
        "name": name,
        "statuses": sorted(set(statuses) | {job.status}),
        "steps": sorted((step.name, step.status, step.device_count) for step in job.steps),
        "nodes": job.num_nodes,
        "logs": {step.name: list(client.get_job_logs(name, step=step.name)) for step in job.steps},
        "listed": [found.name for found in client.list_jobs(runtime=runtime)],
        "events": sorted(
            {(event.involved_object_kind, event.reason) for event in client.get_job_events(name)}
        ),
    }
    client.delete_job(name)
    seen["left"] = [found.name for found in client.list_jobs()]
    return seen


def others(client):
    """A function with packages and patches, a container, the runtime's packages; and a job that fails."""
    seen = {}
    patch = options.RuntimePatch(
        training_runtime_spec=options.TrainingRuntimeSpecPatch(
            template=options.JobSetTemplatePatch(
                metadata={"labels": {"cost": "low"}},
                spec=options.JobSetSpecPatch(
                    replicated_jobs=[
                        options.ReplicatedJobPatch(
                            name="node",
                            template=options.JobTemplatePatch(
                                spec=options.JobSpecPatch(
                                    template=options.PodTemplatePatch(
                                        metadata={"labels": {"patched": "yes"}},
                                        spec=options.PodSpecPatch(
                                            volumes=[{"name": "scratch", "emptyDir": {}}],
                                            containers=[
                                                options.ContainerPatch(
                                                    name="node",
                                                    volume_mounts=[
                                                        {"name": "scratch", "mountPath": "/scratch"}
                                                    ],
                                                )
                                            ],
                                        ),
                                    )
                                )
                            ),
                        )
                    ]
                ),
            )
        )
    )
    function = CustomTrainer(
        func=packages,
        func_args={"greeting": "hello"},
        packages_to_install=["packaging"],
        env={"COLOUR": "blue"},
        resources_per_node={"cpu": "100m", "memory": "128Mi"},
    )
    name = client.train(runtime="plain", trainer=function, options=[patch])
    client.wait_for_job_status(name, timeout=LONGEST, polling_interval=1)
    seen["function"] = list(client.get_job_logs(name))
    container = CustomTrainerContainer(image="python:3.11-slim", num_nodes=2)
    words = [options.TrainerCommand(["sh", "-c"]), options.TrainerArgs(["echo node $(hostname) of it"])]
    name = client.train(runtime="plain", trainer=container, options=words)
    client.wait_for_job_status(name, timeout=LONGEST, polling_interval=1)
    seen["container"] = [list(client.get_job_logs(name, step=f"node-{rank}")) for rank in (0, 1)]
    seen["container_name"] = name
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        client.get_runtime_packages(client.get_runtime("plain"))
    seen["packages"] = printed.getvalue()
    name = client.train(runtime="plain", trainer=CustomTrainer(func=fails))
    try:
        client.wait_for_job_status(name, timeout=LONGEST, polling_interval=1)
    except RuntimeError as error:
        seen["refusal"] = str(error).replace(name, "NAME")
    seen["failed"] = name
    return seen


def resumes(client):
    """A node is killed while two train together: they go on from the checkpoint."""
    api = kubernetes_client.CoreV1Api()
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    api.create_namespaced_persistent_volume_claim("default", {"metadata": {"name": "kept"}, "spec": claim})
    pod = options.PodSpecPatch(
        volumes=[{"name": "kept", "persistentVolumeClaim": {"claimName": "kept"}}],
        containers=[
            options.ContainerPatch(name="node", volume_mounts=[{"name": "kept", "mountPath": "/checkpoints"}])
        ],
    )
    job = options.JobTemplatePatch(spec=options.JobSpecPatch(template=options.PodTemplatePatch(spec=pod)))
    replicated = options.ReplicatedJobPatch(name="node", template=job)
    template = options.JobSetTemplatePatch(spec=options.JobSetSpecPatch(replicated_jobs=[replicated]))
    patch = options.RuntimePatch(training_runtime_spec=options.TrainingRuntimeSpecPatch(template=template))
    name = client.train(trainer=CustomTrainer(func=counts_with_checkpoints, num_nodes=2), options=[patch])
    client.wait_for_job_status(name, {"Running"}, timeout=LONGEST, polling_interval=1)
    for line in client.get_job_logs(name, follow=True, step="node-1"):
        if line.startswith("step=5 "):
            break
    victim = next(step.pod_name for step in client.get_job(name).steps if step.name == "node-1")
    api.delete_namespaced_pod(victim, "default", grace_period_seconds=0)
    client.wait_for_job_status(name, timeout=LONGEST, polling_interval=1)
    logs = {rank: list(client.get_job_logs(name, step=f"node-{rank}")) for rank in (0, 1)}
    new = next(step.pod_name for step in client.get_job(name).steps if step.name == "node-1")
    return {"logs": logs, "replaced": new != victim}


def objective(x, kind):
    """Tell how far from 2 it is."""
    for step in range(3):
        print(f"loss={(float(x) - 2) ** 2 + (kind == 'bad') + 1 / (step + 1)}")


def optimizes(_):
    """Trials that are TrainJobs, by the SDK's other client."""
    backend = KubernetesBackendConfig(namespace="default")
    client = optimizer.OptimizerClient(backend_config=backend)
    name = client.optimize(
        optimizer.TrainJobTemplate(trainer=CustomTrainer(func=objective), runtime="plain"),
        search_space={
            "x": optimizer.Search.uniform(0, 4),
            "kind": optimizer.Search.choice(["good", "bad"]),
        },
        trial_config=optimizer.TrialConfig(num_trials=4, parallel_trials=2),
        objectives=[optimizer.Objective(metric="loss")],
    )
    job = client.wait_for_job_status(name, timeout=LONGEST, polling_interval=1)
    best = client.get_best_results(name)
    seen = {
        "status": job.status,
        "trials": {trial.name: [trial.parameters, trial.metrics[0].latest] for trial in job.trials},
        "best": [best.parameters, best.metrics[0].latest],
        "logs": list(client.get_job_logs(name)),
        "events": sorted(
            {(event.involved_object_kind, event.reason) for event in client.get_job_events(name)}
        ),
        "listed": [found.name for found in client.list_jobs()] == [name],
        "jobs": sorted(job.name for job in TrainerClient(backend_config=backend).list_jobs()),
    }
    client.delete_job(name)
    seen["left"] = [found.name for found in client.list_jobs()]
    return seen


def main():
    """Do what is asked for."""
    what, answers = sys.argv[1:]
    found = {"tour": tour, "others": others, "resumes": resumes, "optimizes": optimizes}[what](
        TrainerClient(backend_config=KubernetesBackendConfig(namespace="default"))
    )
    with open(answers, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main()
