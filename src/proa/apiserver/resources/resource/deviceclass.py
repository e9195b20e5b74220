"""A DeviceClass names a choice of devices and their configuration, for claims to ask for.

Follows pkg/apis/resource/validation ValidateDeviceClass, pkg/registry/resource/deviceclass and printDeviceClass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.printing import AGE, NAME, age
from proa.apiserver.resources.resource.claim_rules import MAX_CONFIGS, validate_config, validate_selectors
from proa.apiserver.resources.resource.shapes import validate_list
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import DEVICE_CLASSES
from proa.objects.validation import invalid, qualified_name


def default(device_class: Object) -> None:
    """Write the part that upstream always writes."""
    device_class.setdefault("spec", {})


def validate(device_class: Object) -> list[Cause]:
    """Check selectors, configuration and the name of an extended resource."""
    spec = device_class["spec"]
    name = spec.get("extendedResourceName")
    causes = validate_selectors(spec.get("selectors") or [], "spec.selectors")
    causes += validate_list(spec.get("config") or (), MAX_CONFIGS, validate_config, "spec.config")
    if name is not None and not _is_extended(name):
        causes.append(invalid("spec.extendedResourceName", name, "must be a valid extended resource name"))
    return causes


def _is_extended(name: str) -> bool:
    """Tell whether a resource is neither Kubernetes' own nor a request's name (IsExtendedResourceName)."""
    if "/" not in name or "kubernetes.io/" in name or name.startswith("requests."):
        return False
    return not qualified_name(f"requests.{name}")


def cells(device_class: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    return device_class["metadata"]["name"], age(device_class, now)


DEFINITION = ResourceDefinition(
    resource=DEVICE_CLASSES,
    singular="deviceclass",
    schema="io.k8s.api.resource.v1.DeviceClass",
    default=default,
    validate=validate,
    columns=(NAME, AGE),
    cells=cells,
    tracks_generation=True,
    returns_deleted=True,
)
