"""A RuntimeClass names a way to run containers, what it costs, and on which nodes it is had; its handler stays.

Follows pkg/apis/node/validation, pkg/registry/node/runtimeclass and printRuntimeClass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition
from proa.apiserver.resources.core.resource_rules import validate_resources
from proa.apiserver.resources.core.scheduling_rules import validate_tolerations
from proa.apiserver.resources.printing import AGE, NAME, age
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import RUNTIME_CLASSES
from proa.objects.validation import all_invalid, dns_label, validate_immutable, validate_labels


def validate_create(runtime_class: Object) -> list[Cause]:
    """Check the handler's name, the overhead and where pods of the class go."""
    handler = runtime_class.get("handler", "")
    causes = all_invalid("handler", handler, dns_label(handler))
    overhead, scheduling = runtime_class.get("overhead"), runtime_class.get("scheduling")
    if overhead is not None:
        causes += validate_resources({"limits": overhead.get("podFixed") or {}}, "overhead")
    if scheduling is not None:
        causes += validate_labels(scheduling.get("nodeSelector"), "scheduling.nodeSelector")
        causes += validate_tolerations(scheduling.get("tolerations") or (), "scheduling.tolerations")
    return causes


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that the handler is the same."""
    return validate_immutable(new.get("handler", ""), old.get("handler", ""), "handler")


def cells(runtime_class: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    return runtime_class["metadata"]["name"], runtime_class.get("handler", ""), age(runtime_class, now)


DEFINITION = ResourceDefinition(
    resource=RUNTIME_CLASSES,
    singular="runtimeclass",
    schema="io.k8s.api.node.v1.RuntimeClass",
    validate_create=validate_create,
    validate_update=validate_update,
    columns=(NAME, Column("Handler"), AGE),
    cells=cells,
    unconditional_update=False,
    created_by_update=True,
)
