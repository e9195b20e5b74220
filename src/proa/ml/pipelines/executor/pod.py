"""Make the pod of a step: the user's command in container `main`, and nothing of ours in its image.

Source: the executor template of backend/src/v2/compiler/argocompiler/{container,security_context}.go, patched as
backend/src/v2/driver/{driver,k8s}.go do. Names, labels, annotations and the finalizer are in ../README.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proa.ml.pipelines.artifacts.protocol import Placement
from proa.ml.pipelines.executor.pod_parts import PodParts
from proa.ml.pipelines.executor.step import Step
from proa.ml.pipelines.executor.step_failed import StepFailed
from proa.ml.pipelines.planning.messages import Launch
from proa.ml.pipelines.records import Json, Run
from proa.ml.pipelines.run_objects import FINALIZER
from proa.objects.quick_dataclass import dataclass

MAIN = "main"
RUN_LABEL = "pipeline/runid"
COMPONENT_LABEL = "pipelines.kubeflow.org/v2_component"
PATH_ANNOTATION = "pipelines.proa.dev/task-path"
ATTEMPT_ANNOTATION = "pipelines.proa.dev/attempt"

_HARDENED: Json = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
_IDENTITY = ("runAsUser", "runAsGroup", "runAsNonRoot")


@dataclass(frozen=True, slots=True)
class PodSettings:
    """What an administrator sets for every step; None leaves it to the pipeline."""

    service_account: str = "pipeline-runner"
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    host_users: bool | None = None


def make_pod(
    run: Run,
    launch: Launch,
    step: Step,
    placement: Placement,
    name: str,
    owner: Json | None,
    settings: PodSettings,
) -> Json:
    """Return the pod of an attempt; `owner` is an ownerReference. Raises StepFailed for what cannot be one."""
    parts = step.parts
    spec: Json = {
        "restartPolicy": "Never",
        "serviceAccountName": run.service_account or settings.service_account,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_make_main(launch, step, placement, settings)],
        "initContainers": _make_init_containers(step, placement, settings),
        "volumes": [*placement.volumes, *parts.volumes.volumes, *parts.own_volumes.volumes],
        "nodeSelector": {**parts.node_selector, **placement.node_selector},
        "tolerations": list(parts.tolerations),
        "affinity": parts.affinity,
        "imagePullSecrets": list(parts.image_pull_secrets),
    }
    spec = {field: value for field, value in spec.items() if value != {} and value != []}
    if parts.active_deadline_seconds > 0:
        spec["activeDeadlineSeconds"] = parts.active_deadline_seconds
    if placement.grace_seconds > 30:
        spec["terminationGracePeriodSeconds"] = placement.grace_seconds
    if settings.host_users is not None:
        spec["hostUsers"] = settings.host_users
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _make_metadata(run, launch, parts, placement, name, owner),
        "spec": spec,
    }


def _make_metadata(
    run: Run, launch: Launch, parts: PodParts, placement: Placement, name: str, owner: Json | None
) -> Json:
    return {
        "name": name,
        "namespace": run.namespace,
        "labels": {**parts.labels, RUN_LABEL: run.id, COMPONENT_LABEL: "true"},
        "annotations": {
            **parts.annotations,
            **placement.annotations,
            PATH_ANNOTATION: launch.path,
            ATTEMPT_ANNOTATION: str(launch.attempt),
        },
        "finalizers": [FINALIZER],
        **({"ownerReferences": [owner]} if owner else {}),
    }


def _make_main(launch: Launch, step: Step, placement: Placement, settings: PodSettings) -> Json:
    parts = step.parts
    main: Json = {
        "name": MAIN,
        "image": step.image,
        "imagePullPolicy": parts.image_pull_policy,
        "command": list(step.command),
        "args": list(step.args),
        "env": _make_env(launch, step, placement),
        "resources": parts.resources,
        "volumeMounts": [*placement.mounts, *parts.volumes.mounts, *parts.own_volumes.mounts],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": _make_security_context(parts.security_context, step.task, settings),
    }
    return {field: value for field, value in main.items() if value not in ("", {}, [])}


def _make_env(launch: Launch, step: Step, placement: Placement) -> list[Json]:
    own: list[Json] = [
        {"name": "KFP_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "KFP_POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": "KFP_RETRY_INDEX", "value": str(launch.attempt)},
    ]
    said = {entry["name"] for entry in step.parts.env}
    placed = [entry for entry in placement.env if entry["name"] not in said]
    return [*placed, *step.parts.env, *own]


def _make_security_context(wanted: Mapping[str, Any], task: str, settings: PodSettings) -> Json:
    """Return the hardened context: what the administrator says of users wins over what the pipeline asks for."""
    says = {name: _as_number(wanted[name]) for name in _IDENTITY if name in wanted}
    says |= _admin_identity(settings)
    if says.get("runAsUser") == 0 and says.get("runAsNonRoot"):
        raise StepFailed(
            f"task '{task}': runAsUser=0 (root) is not allowed: runAsNonRoot is true; use a non-root UID instead"
        )
    return {**_HARDENED, **says}


def _admin_identity(settings: PodSettings) -> Json:
    values = zip(
        _IDENTITY, (settings.run_as_user, settings.run_as_group, settings.run_as_non_root), strict=True
    )
    return {name: value for name, value in values if value is not None}


def _as_number(value: Any) -> Any:
    """Return an int64 as a number: protobuf's JSON has it as a string."""
    return int(value) if isinstance(value, str) else value


def _make_init_containers(step: Step, placement: Placement, settings: PodSettings) -> list[Json]:
    taken = {MAIN, *(item["name"] for item in (*placement.init_containers, *placement.sidecars))}
    users: list[Json] = []
    for container in step.parts.init_containers:
        if container["name"] in taken:
            raise StepFailed(
                f"task '{step.task}': init container name {container['name']!r} conflicts with an existing container in"
                " the pod"
            )
        taken.add(container["name"])
        users.append({**container, "securityContext": {**_HARDENED, **_admin_identity(settings)}})
    return [*_fresh(placement.init_containers), *users, *_fresh(placement.sidecars)]


def _fresh(containers: Sequence[Json]) -> list[Json]:
    return [dict(container) for container in containers]
