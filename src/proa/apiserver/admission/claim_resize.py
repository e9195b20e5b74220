"""A bound claim grows only where its storage class says that its volumes can.

Follows plugin/pkg/admission/storage/persistentvolume/resize/admission.go. (What is not bound yet has a size that does
not change at all: the claim's own rules say so.)
"""

from __future__ import annotations

from decimal import Decimal

from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.refusals import forbidden
from proa.client.protocol import Object
from proa.objects.quantity import QuantityError, parse_quantity
from proa.objects.resource import PERSISTENT_VOLUME_CLAIMS, STORAGE_CLASSES

REFUSAL = (
    "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc "
    "must support resize"
)


def admit(attributes: Attributes) -> None:
    """Raise Forbidden for an update that asks for more than the storage class can give."""
    new, old = attributes.obj, attributes.old
    if attributes.operation != "UPDATE" or attributes.subresource or new is None or old is None:
        return
    if (old.get("status") or {}).get("phase") != "Bound" or _requested(new) <= _requested(old):
        return
    name = old["spec"].get("storageClassName")
    storage_class = attributes.catalog.of(STORAGE_CLASSES).find("", name) if name else None
    if storage_class is None or not storage_class.get("allowVolumeExpansion"):
        raise forbidden(PERSISTENT_VOLUME_CLAIMS, old["metadata"]["name"], REFUSAL)


def _requested(claim: Object) -> Decimal:
    """Return the storage asked for; what is no quantity is the schema's to refuse, and asks for nothing here."""
    size = ((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage", "0")
    try:
        return parse_quantity(size)
    except QuantityError:
        return Decimal(0)
