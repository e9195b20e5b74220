"""What a TrainJob and its runtime make together: a JobSet, and a PodGroup where its pods run all or none.

Pure. Follows pkg/runtime/core/trainingruntime.go, and the plugins jobset, plainml and coscheduling, of
kubeflow/trainer.
"""

from __future__ import annotations

from typing import NamedTuple

from proa.client.protocol import Object
from proa.ml.training.kinds import JOB_SETS, POD_GROUPS, TRAIN_JOBS
from proa.ml.training.trainjob import torchtune
from proa.ml.training.trainjob.checks import find_problems
from proa.ml.training.trainjob.frameworks import (
    count_devices,
    find_framework,
    make_environment,
    with_environment,
    with_port,
)
from proa.ml.training.trainjob.patches import patched_template
from proa.ml.training.trainjob.words import (
    DATASET,
    MODEL,
    NODE,
    STORAGE_URI,
    TRAINER,
    Unfit,
    find_ancestor,
    is_suspended,
    pod_template,
)
from proa.objects import meta
from proa.objects.pods import total_resources
from proa.objects.quantity import QuantityError, add_quantities

_GROUP_LABEL = f"{POD_GROUPS.group}/pod-group"


class Built(NamedTuple):
    """`pod_group` is None where pods are placed one by one."""

    jobset: Object
    pod_group: Object | None


def build(trainjob: Object, runtime: Object) -> Built:
    """Return what is to be made; raise Unfit where the two do not fit."""
    template = patched_template(trainjob, runtime["spec"].get("template") or {})
    spec = template.get("spec") or {}
    if problems := find_problems(trainjob, runtime, spec):
        raise Unfit("InvalidTrainJob", "; ".join(problems))
    trainer = trainjob["spec"].get("trainer") or {}
    counts = {job["name"]: _count(job, trainer, runtime) for job in spec["replicatedJobs"]}
    gang = _gang(runtime, spec)
    try:
        _set_resources(spec, trainer)
        _fill_all(spec, trainjob, runtime, counts)
        group = _make_pod_group(trainjob, runtime, spec, counts, gang) if gang else None
    except QuantityError as error:
        raise Unfit("InvalidTrainJob", f"spec.trainer.resourcesPerNode: {error}") from None
    _label_gang(spec, gang, meta.name(trainjob))
    jobset = {
        "apiVersion": JOB_SETS.api_version,
        "kind": JOB_SETS.kind,
        "metadata": {
            **_metadata(trainjob),
            "labels": meta.labels(template),
            "annotations": meta.annotations(template),
        },
        "spec": {**spec, "suspend": is_suspended(trainjob)},
    }
    return Built(jobset, group)


def _metadata(trainjob: Object) -> Object:
    return {
        "name": meta.name(trainjob),
        "namespace": meta.namespace(trainjob),
        "ownerReferences": [meta.make_owner_reference(trainjob, TRAIN_JOBS)],
    }


def _count(replicated: Object, trainer: Object, runtime: Object) -> int:
    """Return how many pods a Job of a replicated job has."""
    policy = runtime["spec"].get("mlPolicy")
    if find_ancestor(replicated) == TRAINER:
        if trainer.get("numNodes") is not None:
            return int(trainer["numNodes"])
        if policy is not None:
            return max(1, int(policy.get("numNodes") or 1))
    return max(1, int((replicated["template"].get("spec") or {}).get("parallelism") or 1))


def _nodes(spec: Object, counts: dict[str, int]) -> int:
    return next((counts[job["name"]] for job in spec["replicatedJobs"] if find_ancestor(job) == TRAINER), 1)


def _set_resources(spec: Object, trainer: Object) -> None:
    """Lay spec.trainer.resourcesPerNode over what the runtime's container asks for."""
    wanted = trainer.get("resourcesPerNode")
    if not wanted:
        return
    for replicated in spec["replicatedJobs"]:
        if find_ancestor(replicated) != TRAINER:
            continue
        for container in pod_template(replicated)["spec"]["containers"]:
            if container["name"] == NODE:
                there = container.get("resources") or {}
                merged = {key: {**(there.get(key) or {}), **wanted[key]} for key in wanted if key != "claims"}
                claims = {
                    claim["name"]: claim for key in (there, wanted) for claim in key.get("claims") or ()
                }
                container["resources"] = {**there, **merged}
                if claims:
                    container["resources"]["claims"] = list(claims.values())


def _fill_all(spec: Object, trainjob: Object, runtime: Object, counts: dict[str, int]) -> None:
    """Set sizes, environment and what the TrainJob says, in all replicated jobs."""
    nodes = _nodes(spec, counts)
    environment = make_environment(trainjob, runtime, spec, nodes)
    if find_framework(runtime) == "torch" and torchtune.is_torchtune(trainjob):
        command = torchtune.make_command(trainjob, spec, nodes, count_devices(trainjob, spec))
        trainer = {**trainjob["spec"]["trainer"], "command": command}
        trainjob = {**trainjob, "spec": {**trainjob["spec"], "trainer": trainer}}
    for replicated in spec["replicatedJobs"]:
        _fill(replicated, trainjob, runtime, environment, counts[replicated["name"]])


def _fill(
    replicated: Object, trainjob: Object, runtime: Object, environment: list[Object], count: int
) -> None:
    """Set a replicated job's size, and its step's container as the TrainJob has it."""
    job = replicated["template"].setdefault("spec", {})
    job["parallelism"] = job["completions"] = count
    ancestor = find_ancestor(replicated)
    if ancestor in (TRAINER, DATASET, MODEL):
        replicated["replicas"] = 1
    pods = pod_template(replicated).get("spec") or {}
    injected = _injected(runtime, replicated["name"])
    for key in ("containers", "initContainers"):
        if key in pods:
            pods[key] = [
                with_environment(container, environment) if container["name"] in injected else container
                for container in pods[key]
            ]
    pods["containers"] = [
        _filled(container, ancestor, trainjob, runtime, environment)
        for container in pods.get("containers") or ()
    ]


def _filled(
    container: Object, ancestor: str, trainjob: Object, runtime: Object, environment: list[Object]
) -> Object:
    if ancestor == TRAINER and container["name"] == NODE:
        trainer = trainjob["spec"].get("trainer") or {}
        said = {key: trainer[key] for key in ("image", "command", "args") if trainer.get(key) is not None}
        filled = with_environment({**container, **said}, environment, trainer.get("env") or ())
        return with_port(filled) if find_framework(runtime) else filled
    if ancestor in (DATASET, MODEL) and container["name"] == ancestor:
        key = "dataset" if ancestor == DATASET else "model"
        return _initializing(container, (trainjob["spec"].get("initializer") or {}).get(key) or {})
    return container


def _initializing(container: Object, wanted: Object) -> Object:
    uri = wanted.get("storageUri")
    address = [{"name": STORAGE_URI, "value": uri}] if uri is not None else []
    filled = with_environment(container, address, wanted.get("env") or ())
    if secret := wanted.get("secretRef"):
        source = {"secretRef": {"name": secret["name"]}}
        filled = {**filled, "envFrom": [*(container.get("envFrom") or ()), source]}
    return filled


def _injected(runtime: Object, job_name: str) -> set[str]:
    torch = (runtime["spec"].get("mlPolicy") or {}).get("torch") or {}
    targets = (torch.get("envInjection") or {}).get("targets") or ()
    return {name for target in targets if target["jobName"] == job_name for name in target["containerNames"]}


# Gangs


def _gang(runtime: Object, spec: Object) -> set[str]:
    """Return the replicated jobs whose pods start together; those that others wait for to complete are before them."""
    if "coscheduling" not in (runtime["spec"].get("podGroupPolicy") or {}):
        return set()
    before = {
        dependency["name"]
        for replicated in spec["replicatedJobs"]
        for dependency in replicated.get("dependsOn") or ()
        if dependency["status"] == "Complete"
    }
    return {job["name"] for job in spec["replicatedJobs"]} - before


def _label_gang(spec: Object, gang: set[str], group: str) -> None:
    for replicated in spec["replicatedJobs"]:
        if replicated["name"] in gang:
            metadata = pod_template(replicated).setdefault("metadata", {})
            metadata["labels"] = {**(metadata.get("labels") or {}), _GROUP_LABEL: group}


def _make_pod_group(
    trainjob: Object, runtime: Object, spec: Object, counts: dict[str, int], gang: set[str]
) -> Object:
    members = 0
    parts: dict[str, list[str]] = {}
    for replicated in spec["replicatedJobs"]:
        if replicated["name"] not in gang:
            continue
        number = counts[replicated["name"]] * int(replicated.get("replicas", 1))
        members += number
        pods = pod_template(replicated).get("spec") or {}
        for name, amount in {**total_resources(pods, "limits"), **total_resources(pods, "requests")}.items():
            parts.setdefault(name, []).extend([amount] * number)
    timeout = (runtime["spec"]["podGroupPolicy"]["coscheduling"] or {}).get("scheduleTimeoutSeconds", 60)
    return {
        "apiVersion": POD_GROUPS.api_version,
        "kind": POD_GROUPS.kind,
        "metadata": _metadata(trainjob),
        "spec": {
            "minMember": max(1, members),
            "minResources": {name: add_quantities(amounts) for name, amounts in parts.items()},
            "scheduleTimeoutSeconds": timeout,
        },
    }
