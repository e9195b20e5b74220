"""Which settings of a task go to its pod, and which it gets as its TaskConfig instead, to pass on to what it starts.

Source: getTaskConfigOptions and TaskConfig of backend/src/v2/driver/driver.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from proa.ml.pipelines.executor.pod_parts import PodParts, Volumes
from proa.ml.pipelines.records import Json

FIELDS = (
    "RESOURCES",
    "ENV",
    "KUBERNETES_AFFINITY",
    "KUBERNETES_TOLERATIONS",
    "KUBERNETES_NODE_SELECTOR",
    "KUBERNETES_VOLUMES",
)


def split(component: Mapping[str, Any], parts: PodParts) -> tuple[PodParts, Json]:
    """Return what stays with the pod, and the TaskConfig (its fields are null or empty where nothing is passed on)."""
    passthroughs = {
        entry.get("field", ""): bool(entry.get("applyToTask"))
        for entry in component.get("taskConfigPassthroughs", [])
    }
    config = _make_config(parts, passthroughs)
    for name, is_kept in passthroughs.items():
        if not is_kept:
            parts = _without(parts, name)
    return parts, config


def _make_config(parts: PodParts, passed: Mapping[str, bool]) -> Json:
    has_volumes = "KUBERNETES_VOLUMES" in passed
    return {
        "affinity": (parts.affinity or None) if "KUBERNETES_AFFINITY" in passed else None,
        "tolerations": list(parts.tolerations) if "KUBERNETES_TOLERATIONS" in passed else [],
        "nodeSelector": dict(parts.node_selector) if "KUBERNETES_NODE_SELECTOR" in passed else {},
        "env": list(parts.env) if "ENV" in passed else [],
        "volumes": list(parts.volumes.volumes) if has_volumes else [],
        "volumeMounts": list(parts.volumes.mounts) if has_volumes else [],
        "resources": dict(parts.resources) if "RESOURCES" in passed else {},
    }


def _without(parts: PodParts, name: str) -> PodParts:
    if name == "RESOURCES":
        return replace(parts, resources={})
    if name == "ENV":
        return replace(parts, env=())
    if name == "KUBERNETES_AFFINITY":
        return replace(parts, affinity={})
    if name == "KUBERNETES_TOLERATIONS":
        return replace(parts, tolerations=())
    if name == "KUBERNETES_NODE_SELECTOR":
        return replace(parts, node_selector={})
    return replace(parts, volumes=Volumes())
