"""A VolumeAttachment asks that a volume be attached to a node; what it asks never changes.

Follows pkg/apis/storage/validation ValidateVolumeAttachment, pkg/registry/storage/volumeattachment and
printVolumeAttachment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.resources.core.driver_names import validate_driver_name
from proa.apiserver.resources.core.persistent_volume_rules import validate_volume_source
from proa.apiserver.resources.core.volume_words import validate_access_modes
from proa.apiserver.resources.printing import AGE, NAME, age, doc
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import Resource
from proa.objects.validation import (
    all_invalid,
    dns_subdomain,
    forbidden,
    invalid,
    required,
    too_long,
    validate_immutable,
)

VOLUME_ATTACHMENTS = Resource(
    "storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment", namespaced=False
)
MAX_METADATA_BYTES = 256 * 1024
MAX_MESSAGE_BYTES = 1024
ONE_SOURCE = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"


def default(attachment: Object) -> None:
    """Write the parts that upstream always writes."""
    attachment.setdefault("spec", {}).setdefault("source", {})


def prepare_create(attachment: Object) -> None:
    """Start as not attached."""
    attachment["status"] = {"attached": False}


def prepare_status_update(new: Object, old: Object) -> None:
    """Write the part that upstream always writes."""
    new.setdefault("status", {}).setdefault("attached", False)


def validate(attachment: Object) -> list[Cause]:
    """Check the attacher, the volume, the node and the status."""
    spec, status = attachment["spec"], attachment.get("status") or {}
    attacher, node = spec.get("attacher", ""), spec.get("nodeName", "")
    causes = [] if attacher else [required("spec.attacher")]
    causes += _validate_source(spec["source"], "spec.source")
    causes += all_invalid("spec.nodeName", node, dns_subdomain(node))
    noted = status.get("attachmentMetadata") or {}
    if sum(len(key.encode()) + len(value.encode()) for key, value in noted.items()) > MAX_METADATA_BYTES:
        causes.append(too_long("status.attachmentMetadata", MAX_METADATA_BYTES))
    for key in ("attachError", "detachError"):
        causes += _validate_error(status.get(key) or {}, f"status.{key}")
    return causes


def _validate_source(source: Object, path: str) -> list[Cause]:
    inline, name = source.get("inlineVolumeSpec"), source.get("persistentVolumeName")
    if inline is None and name is None:
        return [required(path, ONE_SOURCE)]
    if inline is not None and name is not None:
        return [forbidden(path, ONE_SOURCE)]
    if inline is not None:
        return _validate_inline(inline, f"{path}.inlineVolumeSpec")
    why = "must specify non empty persistentVolumeName"
    return [] if name else [required(f"{path}.persistentVolumeName", why)]


def _validate_inline(spec: Object, path: str) -> list[Cause]:
    why = "may not be specified in the context of inline volumes"
    causes = [forbidden(f"{path}.{key}", why) for key in ("claimRef", "capacity") if spec.get(key)]
    if spec.get("csi") is None:
        causes.append(required(f"{path}.csi", "has to be specified in the context of inline volumes"))
    causes += validate_access_modes(spec.get("accessModes", []), f"{path}.accessModes")
    return causes + validate_volume_source(spec, path)


def _validate_error(error: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if len(error.get("message", "").encode()) > MAX_MESSAGE_BYTES:
        causes.append(too_long(f"{path}.message", MAX_METADATA_BYTES))  # the number that upstream says
    code = error.get("errorCode")
    if code is not None and code < 0:
        causes.append(invalid(f"{path}.errorCode", code, "must be between 0 and 2147483647, inclusive"))
    return causes


def validate_create(attachment: Object) -> list[Cause]:
    """Check the names that are not looked at again."""
    spec = attachment["spec"]
    causes = validate_driver_name(spec.get("attacher", ""), "spec.attacher")
    name = spec["source"].get("persistentVolumeName")
    if name is not None:
        causes += all_invalid("spec.source.persistentVolumeName", name, dns_subdomain(name))
    return causes


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that the same is asked."""
    return validate_immutable(new["spec"], old["spec"], "spec")


def validate_status_update(new: Object, old: Object) -> list[Cause]:
    """Check everything again."""
    return validate(new)


def cells(attachment: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    spec = attachment["spec"]
    return (
        attachment["metadata"]["name"],
        spec.get("attacher", ""),
        (spec.get("source") or {}).get("persistentVolumeName", ""),
        spec.get("nodeName", ""),
        (attachment.get("status") or {}).get("attached", False),
        age(attachment, now),
    )


DEFINITION = ResourceDefinition(
    resource=VOLUME_ATTACHMENTS,
    singular="volumeattachment",
    schema="io.k8s.api.storage.v1.VolumeAttachment",
    subresources=(Subresource("status", "VolumeAttachment", ("get", "patch", "update")),),
    default=default,
    prepare_create=prepare_create,
    prepare_status_update=prepare_status_update,
    validate=validate,
    validate_create=validate_create,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    columns=(
        NAME,
        Column("Attacher", format="name", description=doc("storage.v1.VolumeAttachmentSpec.attacher")),
        Column("PV", description=doc("storage.v1.VolumeAttachmentSource.persistentVolumeName")),
        Column("Node", description=doc("storage.v1.VolumeAttachmentSpec.nodeName")),
        Column("Attached", "boolean", description=doc("storage.v1.VolumeAttachmentStatus.attached")),
        AGE,
    ),
    cells=cells,
    unconditional_update=False,
    returns_deleted=True,
)
