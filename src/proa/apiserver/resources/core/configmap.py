"""A ConfigMap holds settings under keys that can be file names, text and bytes apart; once immutable, it stays so.

Follows pkg/apis/core/validation ValidateConfigMap and pkg/registry/core/configmap/strategy.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition
from proa.apiserver.resources.printing import AGE, NAME, age, doc
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import CONFIG_MAPS
from proa.objects.validation import all_invalid, config_key, forbidden, invalid, too_long

MAX_BYTES = 1024 * 1024


def validate(config_map: Object) -> list[Cause]:
    """Check keys and size."""
    causes: list[Cause] = []
    data, binary = config_map.get("data") or {}, config_map.get("binaryData") or {}
    size = 0
    for key, value in data.items():
        causes += all_invalid(f"data[{key}]", key, config_key(key))
        if key in binary:
            causes.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
        size += len(value.encode())
    for key, value in binary.items():
        causes += all_invalid(f"binaryData[{key}]", key, config_key(key))
        size += decoded_size(value)
    if size > MAX_BYTES:
        causes.append(too_long("[]", MAX_BYTES))  # how upstream prints the path to the whole
    return causes


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that what is immutable is the same."""
    causes: list[Cause] = []
    if old.get("immutable"):
        if not new.get("immutable"):
            causes.append(forbidden("immutable", "field is immutable when `immutable` is set"))
        if (new.get("data") or {}) != (old.get("data") or {}):
            causes.append(forbidden("data", "field is immutable when `immutable` is set"))
        if (new.get("binaryData") or {}) != (old.get("binaryData") or {}):
            causes.append(forbidden("binaryData", "field is immutable when `immutable` is set"))
    return causes


def decoded_size(base64_text: str) -> int:
    """Return how many bytes a base64 text stands for."""
    return len(base64_text) * 3 // 4 - base64_text[-2:].count("=")


def cells(config_map: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    count = len(config_map.get("data") or {}) + len(config_map.get("binaryData") or {})
    return config_map["metadata"]["name"], count, age(config_map, now)


DEFINITION = ResourceDefinition(
    resource=CONFIG_MAPS,
    singular="configmap",
    schema="io.k8s.api.core.v1.ConfigMap",
    short_names=("cm",),
    validate=validate,
    validate_update=validate_update,
    columns=(NAME, Column("Data", description=doc("core.v1.ConfigMap.data")), AGE),
    cells=cells,
)
