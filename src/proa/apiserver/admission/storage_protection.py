"""Claims and volumes in use are not deleted: each starts with the finalizer that the protection controllers lift.

Follows plugin/pkg/admission/storage/storageobjectinuseprotection/admission.go.
"""

from __future__ import annotations

from proa.apiserver.registry.attributes import Attributes
from proa.objects.resource import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES

FINALIZERS = {
    PERSISTENT_VOLUME_CLAIMS: "kubernetes.io/pvc-protection",
    PERSISTENT_VOLUMES: "kubernetes.io/pv-protection",
}


def admit(attributes: Attributes) -> None:
    """Add the finalizer to a new object."""
    if attributes.operation != "CREATE" or attributes.obj is None:
        return
    finalizer = FINALIZERS[attributes.definition.resource]
    metadata = attributes.obj["metadata"]
    had = metadata.get("finalizers") or []
    if finalizer not in had:
        metadata["finalizers"] = [*had, finalizer]
