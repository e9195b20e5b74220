"""A runtime's JobSet template as a TrainJob's `runtimePatches` change it, or `podTemplateOverrides`, their older form.

Pure. Pod templates are merged as by a strategic merge patch: containers by name, mounts by path. Follows
mergeRuntimePatches of pkg/runtime/core/trainingruntime.go of kubeflow/trainer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from proa.client.protocol import Object
from proa.ml.training.trainjob.words import Unfit
from proa.objects import meta
from proa.objects.errors import ApiError
from proa.objects.patch.strategic_merge import apply_strategic_merge
from proa.objects.patch.values import private_copy
from proa.objects.schemas.load import schema_named

_POD_TEMPLATE = "io.k8s.api.core.v1.PodTemplateSpec"


class Change(NamedTuple):
    """What is merged into a replicated job, and the path of the field that says so."""

    path: str
    name: str
    job_metadata: Object
    pods: Object


def patched_template(trainjob: Object, template: Object) -> Object:
    """Return the template with all patches; nothing of it is shared with the runtime. Raise Unfit."""
    changed: Object = private_copy(template)
    metadata = changed.setdefault("metadata", {})
    for patch in trainjob["spec"].get("runtimePatches") or ():
        _merge_metadata(metadata, _inner(patch).get("metadata") or {})
    by_name = {job["name"]: job for job in (changed.get("spec") or {}).get("replicatedJobs") or ()}
    for change in find_changes(trainjob):
        if change.name not in by_name:
            raise Unfit(
                "InvalidTrainJob",
                f"{change.path}: must not have replicated job that doesn't exist in the runtime job template: "
                f"{change.name}; there are {', '.join(by_name)}",
            )
        _apply(by_name[change.name]["template"], change)
    return changed


def find_changes(trainjob: Object) -> Iterator[Change]:
    """Yield what is merged, in the order in which it is."""
    spec = trainjob["spec"]
    for index, patch in enumerate(spec.get("runtimePatches") or ()):
        path = f"spec.runtimePatches[{index}]"
        for replicated in (_inner(patch).get("spec") or {}).get("replicatedJobs") or ():
            template = replicated.get("template") or {}
            pods = (template.get("spec") or {}).get("template") or {}
            yield Change(path, replicated["name"], template.get("metadata") or {}, pods)
    for index, override in enumerate(spec.get("podTemplateOverrides") or ()):
        pods = {key: override[key] for key in ("metadata", "spec") if override.get(key)}
        for target in override["targetJobs"]:
            yield Change(f"spec.podTemplateOverrides[{index}]", target["name"], {}, pods)


def _inner(patch: Object) -> Object:
    found: Object = (patch.get("trainingRuntimeSpec") or {}).get("template") or {}
    return found


def _apply(template: Object, change: Change) -> None:
    _merge_metadata(template.setdefault("metadata", {}), change.job_metadata)
    spec = template.setdefault("spec", {})
    try:
        merged = apply_strategic_merge(spec.get("template") or {}, change.pods, schema_named(_POD_TEMPLATE))
    except ApiError as error:
        raise Unfit("InvalidTrainJob", f"{change.path}: {error.message}") from None
    spec["template"] = private_copy(merged)


def _merge_metadata(metadata: Object, wanted: Object) -> None:
    for key, of in (("labels", meta.labels), ("annotations", meta.annotations)):
        if wanted.get(key):
            metadata[key] = {**of({"metadata": metadata}), **wanted[key]}
