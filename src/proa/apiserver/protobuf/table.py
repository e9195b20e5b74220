"""Know every built-in kind's message: which field has which number and type (tools/generate_protobuf.py).

The table is read once, when the first body in protobuf comes or is asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import orjson

from proa.objects.schemas.load import find_definition_name

MAGIC = b"k8s\0"
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_TABLE = Path(__file__).with_name("kubernetes-1.36.json")
_META = "io.k8s.apimachinery.pkg.apis.meta."
_SHAPES = {
    "meta.k8s.io/v1 PartialObjectMetadata": f"{_META}v1.PartialObjectMetadata",
    "meta.k8s.io/v1 PartialObjectMetadataList": f"{_META}v1.PartialObjectMetadataList",
    "meta.k8s.io/v1beta1 PartialObjectMetadata": f"{_META}v1.PartialObjectMetadata",
    "meta.k8s.io/v1beta1 PartialObjectMetadataList": f"{_META}v1beta1.PartialObjectMetadataList",
}
"""What objects may be shown as, which is no kind with a schema."""


class Field(NamedTuple):
    """One numbered field: what JSON calls it and what it holds."""

    number: int
    name: str
    type: str
    is_inline: bool
    is_pointer: bool
    shows_zero: bool
    """Whether JSON has a zero of it: a pointer's was meant, and some others are always there."""


@functools.cache
def messages() -> Mapping[str, Mapping[int, Field]]:
    """Return every message's fields by number, in the order of their numbers."""
    return {
        message: {
            number: Field(number, name, type_, "i" in flags, "p" in flags, flags in ("p", "z"))
            for number, name, type_, flags in fields
        }
        for message, fields in orjson.loads(_TABLE.read_bytes()).items()
    }


def find_message(api_version: str, kind: str) -> str | None:
    """Return the name of a kind's message, or None. APIVersions says no version of its own."""
    api_version = api_version or "v1"
    name = _SHAPES.get(f"{api_version} {kind}") or find_definition_name(api_version, kind)
    return name if name in messages() else None
