"""A Secret holds small values; `stringData` is a way to write them as text, and is never kept.

Follows pkg/apis/core/validation ValidateSecret and pkg/apis/core/v1/conversion.go.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import orjson

from proa.apiserver.registry.definition import Column, ResourceDefinition
from proa.apiserver.resources.core.configmap import MAX_BYTES, decoded_size
from proa.apiserver.resources.printing import AGE, NAME, age, doc
from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import Cause
from proa.objects.resource import SECRETS
from proa.objects.validation import (
    all_invalid,
    config_key,
    forbidden,
    invalid,
    required,
    too_long,
    validate_immutable,
)

SERVICE_ACCOUNT_TOKEN = "kubernetes.io/service-account-token"  # noqa: S105 a type, not a secret
SERVICE_ACCOUNT_NAME = "kubernetes.io/service-account.name"
REQUIRED_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
JSON_KEYS = (".dockercfg", ".dockerconfigjson")


def default(secret: Object) -> None:
    """Fill in the type, and move stringData into data."""
    secret["type"] = secret.get("type") or "Opaque"
    for key, text in (secret.pop("stringData", None) or {}).items():
        secret.setdefault("data", {})[key] = base64.b64encode(text.encode()).decode()


def validate(secret: Object) -> list[Cause]:
    """Check keys, size, and what the type asks for."""
    data, kind = secret.get("data") or {}, secret.get("type", "")
    causes = [c for key in data for c in all_invalid(f"data[{key}]", key, config_key(key))]
    if sum(map(decoded_size, data.values())) > MAX_BYTES:
        causes.append(too_long("data", MAX_BYTES))
    if kind == SERVICE_ACCOUNT_TOKEN and not meta.annotations(secret).get(SERVICE_ACCOUNT_NAME):
        causes.append(required(f"metadata.annotations[{SERVICE_ACCOUNT_NAME}]"))
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        causes += [required("data[username]"), required("data[password]")]
    for key in REQUIRED_KEYS.get(kind, ()):
        if key not in data or (key == "ssh-privatekey" and not data[key]):
            causes.append(required(f"data[{key}]"))
        elif key in JSON_KEYS and not _is_json(data[key]):
            causes.append(invalid(f"data[{key}]", "<secret contents redacted>", "invalid JSON"))
    return causes


def _is_json(encoded: str) -> bool:
    try:
        orjson.loads(base64.b64decode(encoded))
    except (binascii.Error, orjson.JSONDecodeError):
        return False
    return True


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that the type is the same, and everything where it is immutable."""
    causes = validate_immutable(new.get("type"), old.get("type"), "type")
    if old.get("immutable"):
        if not new.get("immutable"):
            causes.append(forbidden("immutable", "field is immutable when `immutable` is set"))
        if (new.get("data") or {}) != (old.get("data") or {}):
            causes.append(forbidden("data", "field is immutable when `immutable` is set"))
    return causes


def cells(secret: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    return secret["metadata"]["name"], secret.get("type", ""), len(secret.get("data") or {}), age(secret, now)


def find_type(secret: Object) -> str:
    """Return the secret's type."""
    return str(secret.get("type", ""))


DEFINITION = ResourceDefinition(
    resource=SECRETS,
    singular="secret",
    schema="io.k8s.api.core.v1.Secret",
    default=default,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column("Type", description=doc("core.v1.Secret.type")),
        Column("Data", description=doc("core.v1.Secret.data")),
        AGE,
    ),
    cells=cells,
    field_selectors={"type": find_type},
)
