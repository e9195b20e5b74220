"""Read the platform document: what Kubernetes adds to an executor, and what holds for the whole pipeline.

All take the PlatformSpec as document.py returns it; an executor's part is a KubernetesExecutorConfig, or a CreatePvc or
DeletePvc where its image says so. Sources: kubernetes_platform/proto/kubernetes_executor_config.proto,
pipeline_spec.proto (SinglePlatformSpec, PipelineConfig).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.ml.pipelines.ir.document import CREATE_PVC_IMAGE, DELETE_PVC_IMAGE
from proa.objects.quick_dataclass import dataclass

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """What holds for a whole run; seconds, and None for what is not asked for."""

    active_deadline_seconds: int | None = None
    ttl_on_completion: int | None = None
    ttl_on_success: int | None = None
    ttl_on_failure: int | None = None
    has_workspace: bool = False
    workspace_size: str = ""
    workspace_claim: Mapping[str, Any] | None = None
    """A patch of the workspace claim's spec (pvcSpecPatch)."""


def kubernetes_of(platform_spec: Json) -> dict[str, Any]:
    """Return the SinglePlatformSpec of Kubernetes; {} for none."""
    found: dict[str, Any] = platform_spec.get("platforms", {}).get("kubernetes", {})
    return found


def executor_config(platform_spec: Json, label: str) -> dict[str, Any]:
    """Return what Kubernetes adds to the executor of this label; {} for nothing."""
    executors = kubernetes_of(platform_spec).get("deploymentSpec", {}).get("executors", {})
    found: dict[str, Any] = executors.get(label, {})
    return found


def pipeline_config(platform_spec: Json) -> PipelineConfig:
    """Return what holds for the whole run. Zero and less mean that nothing is asked for, as upstream's argo.go."""
    config = kubernetes_of(platform_spec).get("pipelineConfig", {})

    def seconds(field: str) -> int | None:
        value: int = config.get(field, 0)
        return value if value > 0 else None

    workspace = config.get("workspace")
    return PipelineConfig(
        active_deadline_seconds=seconds("activeDeadlineSeconds"),
        ttl_on_completion=seconds("resourceTtlOnCompletion"),
        ttl_on_success=seconds("resourceTtlOnSuccess"),
        ttl_on_failure=seconds("resourceTtlOnFailure"),
        has_workspace=workspace is not None,
        workspace_size=(workspace or {}).get("size", ""),
        workspace_claim=(workspace or {}).get("kubernetes", {}).get("pvcSpecPatch"),
    )


def is_create_pvc(executor: Json) -> bool:
    """Say whether an ExecutorSpec stands for making a claim."""
    return bool(executor.get("container", {}).get("image") == CREATE_PVC_IMAGE)


def is_delete_pvc(executor: Json) -> bool:
    """Say whether an ExecutorSpec stands for removing a claim."""
    return bool(executor.get("container", {}).get("image") == DELETE_PVC_IMAGE)
