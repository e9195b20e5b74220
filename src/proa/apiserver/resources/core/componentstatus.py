"""A ComponentStatus tells whether a part of the control plane is well; deprecated, and read off the server itself.

Follows pkg/registry/core/componentstatus/rest.go. Only the store is a part that can be ill by itself: controllers and
scheduler run in the process that answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition
from proa.apiserver.resources.printing import NAME
from proa.client.protocol import Object
from proa.objects.resource import COMPONENT_STATUSES
from proa.store.protocol import Store


def compute(store: Store) -> list[Object]:
    """Return the store's status, under the name by which clients know it."""
    refusal = store.refusal
    condition = {"type": "Healthy", "status": "False" if refusal else "True", "message": refusal or "ok"}
    return [
        {
            "kind": COMPONENT_STATUSES.kind,
            "apiVersion": COMPONENT_STATUSES.api_version,
            "metadata": {"name": "etcd-0"},
            "conditions": [condition],
        }
    ]


def cells(component: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    condition: Object = next((c for c in component.get("conditions") or () if c.get("type") == "Healthy"), {})
    word = {"True": "Healthy", "False": "Unhealthy"}.get(condition.get("status", ""), "Unknown")
    return (
        component["metadata"]["name"],
        word,
        condition.get("message", ""),
        condition.get("error", ""),
    )


DEFINITION = ResourceDefinition(
    resource=COMPONENT_STATUSES,
    singular="componentstatus",
    schema="io.k8s.api.core.v1.ComponentStatus",
    short_names=("cs",),
    verbs=("get", "list"),
    columns=(
        NAME,
        Column("Status", description="Status of the component conditions"),
        Column("Message", description="Message of the component conditions"),
        Column("Error", description="Error of the component conditions"),
    ),
    cells=cells,
    deprecation="v1 ComponentStatus is deprecated in v1.19+",
    computed=compute,
)
