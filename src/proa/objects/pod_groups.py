"""PodGroups of the coscheduling plugin: pods that run all together or not at all (kubernetes-sigs/scheduler-plugins).

A pod names its group, in its own namespace, by a label. The kind is a custom one that every cluster of ours has.
"""

from __future__ import annotations

from typing import Any

from proa.objects import meta
from proa.objects.resource import Resource

Object = dict[str, Any]
GroupKey = tuple[str, str]
"""Namespace and name of a PodGroup."""

GROUP = "scheduling.x-k8s.io"
LABEL = f"{GROUP}/pod-group"
POD_GROUPS = Resource(GROUP, "v1alpha1", "podgroups", "PodGroup")


def group_of(pod: Object) -> GroupKey | None:
    """Return the group that a pod belongs to."""
    name = meta.labels(pod).get(LABEL)
    return (meta.namespace(pod), name) if name else None


def min_member(group: Object) -> int:
    """Return how many pods of a group must run for any to run."""
    number: int = (group.get("spec") or {}).get("minMember") or 0
    return number


def make_definition() -> Object:
    """Return the CustomResourceDefinition."""
    integer = {"type": "integer", "format": "int32"}
    quantity = {
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "pattern": r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$",  # noqa: E501
        "x-kubernetes-int-or-string": True,
    }
    spec = {
        "minMember": {
            **integer,
            "minimum": 1,
            "description": "How many pods must run for any of them to run.",
        },
        "minResources": {"type": "object", "additionalProperties": quantity},
        "scheduleTimeoutSeconds": integer,
    }
    status = {
        "phase": {"type": "string"},
        "occupiedBy": {"type": "string"},
        "running": integer,
        "succeeded": integer,
        "failed": integer,
        "scheduleStartTime": {"type": "string", "format": "date-time"},
    }
    schema = {
        "type": "object",
        "description": "Pods that run all together or not at all.",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": {"type": "object", "properties": spec},
            "status": {"type": "object", "properties": status},
        },
    }
    columns = (
        ("Phase", "string", ".status.phase"),
        ("MinMember", "integer", ".spec.minMember"),
        ("Running", "integer", ".status.running"),
        ("Succeeded", "integer", ".status.succeeded"),
        ("Failed", "integer", ".status.failed"),
        ("Age", "date", ".metadata.creationTimestamp"),
    )
    version = {
        "name": POD_GROUPS.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [{"name": n, "type": t, "jsonPath": path} for n, t, path in columns],
    }
    names = {
        "kind": POD_GROUPS.kind,
        "listKind": "PodGroupList",
        "plural": POD_GROUPS.plural,
        "singular": "podgroup",
        "shortNames": ["pg", "pgs"],
    }
    approved = "https://github.com/kubernetes-sigs/scheduler-plugins/pull/50"
    return {
        "metadata": {
            "name": f"{POD_GROUPS.plural}.{GROUP}",
            "annotations": {"api-approved.kubernetes.io": approved},
        },
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }
