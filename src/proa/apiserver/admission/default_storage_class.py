"""A claim that names no storage class gets the default one: plugin/pkg/admission/storage/storageclass/setdefault."""

from __future__ import annotations

import orjson

from proa.apiserver.registry.attributes import Attributes
from proa.objects.resource import STORAGE_CLASSES

DEFAULT_ANNOTATION = "storageclass.kubernetes.io/is-default-class"
BETA_ANNOTATION = "storageclass.beta.kubernetes.io/is-default-class"


def admit(attributes: Attributes) -> None:
    """Set spec.storageClassName of a new claim."""
    claim = attributes.obj
    if attributes.operation != "CREATE" or claim is None or not attributes.catalog.has(STORAGE_CLASSES):
        return
    spec = claim.setdefault("spec", {})
    if spec.get("storageClassName") is not None:
        return
    registry = attributes.catalog.of(STORAGE_CLASSES)
    defaults = []
    for entry in registry.store.range(registry.prefix).entries:
        metadata = orjson.loads(entry.value)["metadata"]
        annotations = metadata.get("annotations") or {}
        if "true" in (annotations.get(DEFAULT_ANNOTATION), annotations.get(BETA_ANNOTATION)):
            defaults.append((metadata["creationTimestamp"], metadata["name"]))
    if defaults:
        newest = max(created for created, _ in defaults)
        spec["storageClassName"] = min(name for created, name in defaults if created == newest)
