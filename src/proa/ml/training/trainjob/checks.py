"""Say what is wrong with a TrainJob for its runtime: the field, and what would work.

Pure. Follows Validate of the plugins in pkg/runtime/framework/plugins (jobset, torch, xgboost, mpi) of
kubeflow/trainer.
"""

from __future__ import annotations

from collections.abc import Iterator

from proa.client.protocol import Object
from proa.ml.training.trainjob import torchtune
from proa.ml.training.trainjob.frameworks import RESERVED, find_framework
from proa.ml.training.trainjob.patches import find_changes
from proa.ml.training.trainjob.words import (
    DATASET,
    INITIALIZER_VOLUME,
    MODEL,
    NODE,
    TRAINER,
    containers,
    find_container,
    steps,
)

_UNSUPPORTED = {
    "mpi": "MPI's launcher and keys are not made here",
    "flux": "Flux is not started here",
}


def find_problems(trainjob: Object, runtime: Object, spec: Object) -> list[str]:
    """Return what is wrong; `spec` is the runtime's JobSet spec, patches and all."""
    return [
        *_policies(runtime),
        *_trainer(trainjob, runtime, spec),
        *_initializers(trainjob, spec),
        *_patches(trainjob),
    ]


def _policies(runtime: Object) -> Iterator[str]:
    path = f"{runtime['kind']} {runtime['metadata']['name']}"
    for key, why in _UNSUPPORTED.items():
        if key in (runtime["spec"].get("mlPolicy") or {}):
            yield f"{path}: spec.mlPolicy.{key}: {why}; torch, jax, xgboost and none are known"
    if "volcano" in (runtime["spec"].get("podGroupPolicy") or {}):
        yield f"{path}: spec.podGroupPolicy.volcano: there is no Volcano here; coscheduling is known"
    if not ((runtime["spec"].get("template") or {}).get("spec") or {}).get("replicatedJobs"):
        yield f"{path}: spec.template.spec.replicatedJobs: must have at least one"


def _trainer(trainjob: Object, runtime: Object, spec: Object) -> Iterator[str]:
    trainer = trainjob["spec"].get("trainer") or {}
    if trainer and not any(find_container(job, NODE) for job in steps(spec, TRAINER)):
        yield (
            "spec.runtimeRef: spec.trainer is given, and no replicated job of the runtime with the label "
            f"trainer.kubeflow.org/trainjob-ancestor-step: trainer has a container {NODE}"
        )
    reserved = RESERVED.get(find_framework(runtime), frozenset())
    used = sorted({entry["name"] for entry in trainer.get("env") or ()} & reserved)
    if used:
        yield f"spec.trainer.env: must not have reserved envs, invalid envs configured: [{' '.join(used)}]"
    if find_framework(runtime) == "torch" and torchtune.is_torchtune(trainjob):
        yield from torchtune.find_problems(trainjob)
    for target in _injection_targets(runtime):
        job = next(
            (job for job in spec.get("replicatedJobs") or () if job["name"] == target["jobName"]), None
        )
        for name in target["containerNames"]:
            if job is None or name not in _names(job):
                yield (
                    f'spec.runtimeRef: envInjection target podSet "{target["jobName"]}" container "{name}" not found '
                    "in runtime template"
                )


def _injection_targets(runtime: Object) -> list[Object]:
    torch = (runtime["spec"].get("mlPolicy") or {}).get("torch") or {}
    found: list[Object] = (torch.get("envInjection") or {}).get("targets") or []
    return found


def _initializers(trainjob: Object, spec: Object) -> Iterator[str]:
    wanted = trainjob["spec"].get("initializer") or {}
    for key, name in (("dataset", DATASET), ("model", MODEL)):
        if wanted.get(key) is None:
            continue
        job = next((job for job in spec.get("replicatedJobs") or () if job["name"] == name), None)
        if job is None:
            yield (
                f"spec.runtimeRef: must have {name} job when trainJob is configured with input {key}Config; without "
                f"spec.initializer.{key} this runtime can be used"
            )
            continue
        container = find_container(job, name)
        if container is None:
            yield f"spec.runtimeRef: must have container with name - {name} in the {name} job"
        elif INITIALIZER_VOLUME not in {mount.get("name") for mount in container.get("volumeMounts") or ()}:
            yield (
                f"spec.runtimeRef: must have volumeMount with name - {INITIALIZER_VOLUME} in container {name} of the "
                f"{name} job"
            )


def _patches(trainjob: Object) -> Iterator[str]:
    for change in find_changes(trainjob):
        for container in (change.pods.get("spec") or {}).get("containers") or ():
            if container.get("env") and container.get("name") in (DATASET, MODEL, NODE):
                yield (
                    f"{change.path}: must not have envs for the {DATASET}, {MODEL}, {NODE} containers; "
                    "spec.trainer.env and spec.initializer are for these"
                )


def _names(job: Object) -> set[str]:
    return {found["name"] for key in ("containers", "initContainers") for found in containers(job, key)}
