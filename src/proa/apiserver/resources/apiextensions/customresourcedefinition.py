"""A CustomResourceDefinition names a kind, its versions and their schemas; its status says whether it is served.

Follows apiextensions-apiserver/pkg/registry/customresourcedefinition and pkg/apis/apiextensions/v1/defaults.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.resources.printing import NAME, doc
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import CUSTOM_RESOURCE_DEFINITIONS

WEBHOOK_PORT = 443


def default(definition: Object) -> None:
    """Fill in the names that follow from the kind, and how versions are converted."""
    spec = definition.setdefault("spec", {})
    names = spec.setdefault("names", {})
    kind = names.get("kind") or ""
    names["singular"] = names.get("singular") or kind.lower()
    if not names.get("listKind") and kind:
        names["listKind"] = kind + "List"
    conversion = spec.setdefault("conversion", {"strategy": "None"})
    service = ((conversion.get("webhook") or {}).get("clientConfig") or {}).get("service")
    if service is not None:
        service.setdefault("port", WEBHOOK_PORT)


def prepare_create(definition: Object) -> None:
    """Begin with an empty status: nothing is stored but in the storage version."""
    definition["status"] = {
        "conditions": None,
        "acceptedNames": {"plural": "", "kind": ""},
        "storedVersions": [],
    }
    _note_storage_version(definition)


def prepare_update(new: Object, old: Object) -> None:
    """Remember that objects may be stored in a new storage version."""
    _note_storage_version(new)


def prepare_status_update(new: Object, old: Object) -> None:
    """Have what a status always has."""
    status = new.setdefault("status", {})
    status.setdefault("conditions", None)
    names = status.setdefault("acceptedNames", {})
    names.setdefault("plural", "")
    names.setdefault("kind", "")
    status.setdefault("storedVersions", None)


def _note_storage_version(definition: Object) -> None:
    storage = next(
        (v.get("name") or "" for v in definition["spec"].get("versions") or () if v.get("storage")), None
    )
    status = definition.setdefault("status", {})
    stored = status.get("storedVersions") or []
    if storage is not None and storage not in stored:
        status["storedVersions"] = [*stored, storage]


def validate(definition: Object) -> list[Cause]:
    """Check a new definition, by rules that are imported for the first one."""
    from proa.apiserver.resources.apiextensions import definition_rules

    return definition_rules.validate(definition)


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check a definition that changes."""
    from proa.apiserver.resources.apiextensions import definition_rules

    return definition_rules.validate_update(new, old)


def warnings(new: Object, old: Object | None) -> list[str]:
    """Return what schemas say in vain, and did not say before."""
    from proa.apiserver.resources.apiextensions.definition_warnings import warnings_about

    known = warnings_about(old["spec"]) if old is not None else ()
    return [text for text in warnings_about(new["spec"]) if text not in known]


def validate_status_update(new: Object, old: Object) -> list[Cause]:
    """Check a definition whose status changes."""
    from proa.apiserver.resources.apiextensions import definition_rules

    return definition_rules.validate_status_update(new, old)


def cells(definition: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    metadata = definition["metadata"]
    return metadata["name"], metadata.get("creationTimestamp")


DEFINITION = ResourceDefinition(
    resource=CUSTOM_RESOURCE_DEFINITIONS,
    singular="customresourcedefinition",
    schema="io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    subresources=(Subresource("status", "CustomResourceDefinition", ("get", "patch", "update")),),
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status_update=prepare_status_update,
    heavy_bytes=2048,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    warnings=warnings,
    validates_change_alone=True,
    columns=(
        replace(NAME),
        Column("Created At", type="date", description=doc("meta.v1.ObjectMeta.creationTimestamp")),
    ),
    cells=cells,
    tracks_generation=True,
    unconditional_update=False,
    returns_deleted=False,
)
