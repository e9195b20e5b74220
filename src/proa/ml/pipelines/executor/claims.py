"""The claims that pipelines ask for: tasks that create or delete one, and a run's workspace.

Source: createPVC and deletePVC of backend/src/v2/driver/k8s.go, GetWorkspacePVC of
backend/src/v2/compiler/argocompiler/argo.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from proa.ml.pipelines.executor.parameters import quote
from proa.ml.pipelines.executor.step import find_workspace, task_name, workspace_claim_name
from proa.ml.pipelines.executor.step_failed import StepFailed
from proa.ml.pipelines.planning.messages import Launch
from proa.ml.pipelines.records import Json, Run, Values, make_task_id
from proa.objects.quantity import QuantityError, parse_quantity

ACCESS_MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")
DEFAULT_CLASS = "standard"
"""The storage class of a claim that names none, as upstream's; "" asks for the cluster's default."""
TASK_ANNOTATION = "pipelines.proa.dev/task"
"""Whose a claim is: the id of the task that created it, by which its next attempt knows it again."""


def make_claim(run: Run, launch: Launch, has_default_class: bool = False) -> Json:
    """Return the PersistentVolumeClaim of an `argostub/createpvc` task; raise StepFailed for inputs that make none.

    Its name is made of run and path, so that a task carried out again after a crash finds the claim that it created.
    `has_default_class` says that no class is called `standard`: then the cluster's default serves, also where a
    pipeline names `standard`, as those written for other clusters do (but not for a volume that is named, too).
    """
    task, inputs = task_name(launch), launch.inputs.parameters
    spec: Json = {
        "accessModes": _read_modes(task, inputs.get("access_modes")),
        "resources": {"requests": {"storage": _read_size(task, inputs.get("size"))}},
    }
    if storage_class := _read_class(inputs, has_default_class):
        spec["storageClassName"] = storage_class
    if volume := inputs.get("volume_name"):
        spec["volumeName"] = str(volume)
    if source := inputs.get("data_source"):
        spec["dataSource"] = source
    annotations = inputs.get("annotations") or {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": _make_name(run, launch, task),
            "namespace": run.namespace,
            "labels": {"pipeline/runid": run.id},
            "annotations": {
                **{str(name): str(value) for name, value in annotations.items()},
                TASK_ANNOTATION: make_task_id(run.id, launch.path),
            },
        },
        "spec": spec,
    }


def is_made_by(claim: Mapping[str, Any], run: Run, launch: Launch) -> bool:
    """Tell whether a claim that is already there was created by this task."""
    annotations = claim["metadata"].get("annotations", {})
    return bool(annotations.get(TASK_ANNOTATION) == make_task_id(run.id, launch.path))


def make_outputs(claim: Mapping[str, Any]) -> Values:
    """Return the outputs of the task that created a claim: its name."""
    return Values(parameters={"name": claim["metadata"]["name"]})


def find_claim_to_delete(launch: Launch) -> str:
    """Return the name of the claim that an `argostub/deletepvc` task deletes; raise StepFailed where it has none."""
    name = launch.inputs.parameters.get("pvc_name")
    if not isinstance(name, str) or not name:
        raise StepFailed(
            f"task '{task_name(launch)}': pvc_name is {quote(name)}: pass the name of the claim to delete"
        )
    return name


def make_workspace_claim(run: Run, owner: Json | None) -> Json | None:
    """Return the claim of a run's workspace, None where its pipeline asks for none; raise StepFailed for a bad one."""
    workspace = find_workspace(run)
    if not workspace:
        return None
    spec: Json = {"accessModes": ["ReadWriteOnce"], **_patch_of(workspace)}
    if spec.get("storageClassName") == "":
        raise StepFailed("workspace PVC spec storageClassName must be omitted or set to a non-empty value")
    size = _read_size("workspace", workspace.get("size"))
    spec["resources"] = {"requests": {"storage": size}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": workspace_claim_name(run),
            "namespace": run.namespace,
            "labels": {"pipeline/runid": run.id},
            **({"ownerReferences": [owner]} if owner else {}),
        },
        "spec": spec,
    }


def _patch_of(workspace: Mapping[str, Any]) -> Json:
    return dict((workspace.get("kubernetes") or {}).get("pvcSpecPatch") or {})


def _make_name(run: Run, launch: Launch, task: str) -> str:
    name = launch.inputs.parameters.get("pvc_name") or ""
    suffix = launch.inputs.parameters.get("pvc_name_suffix") or ""
    if name and suffix:
        raise StepFailed(
            f"task '{task}': at most one of pvc_name and pvc_name_suffix can be non-empty; got {name!r} and {suffix!r}"
        )
    made = uuid5(NAMESPACE_URL, f"{make_task_id(run.id, launch.path)}/claim")
    return str(name or f"{made}{suffix}")


def _read_modes(task: str, modes: Any) -> list[str]:
    if not isinstance(modes, list) or not modes or any(mode not in ACCESS_MODES for mode in modes):
        raise StepFailed(
            f"task '{task}': access_modes is {quote(modes)}; it takes some of {', '.join(ACCESS_MODES)}"
        )
    return modes


def _read_size(task: str, size: Any) -> str:
    try:
        if isinstance(size, str) and parse_quantity(size) > 0:
            return size
    except QuantityError:
        pass
    raise StepFailed(f"task '{task}': the size of its claim is {quote(size)}, and not a quantity such as 5Gi")


def _read_class(inputs: Mapping[str, Any], has_default_class: bool) -> str:
    given = inputs.get("storage_class_name")
    wanted = DEFAULT_CLASS if given is None else str(given)
    if wanted == DEFAULT_CLASS and has_default_class and not (given and inputs.get("volume_name")):
        return ""
    return wanted
