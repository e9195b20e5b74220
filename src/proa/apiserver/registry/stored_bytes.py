"""Read no more of a stored object than is asked for: metadata as bytes, and the rest without who manages its fields.

An object is stored with kind, apiVersion and metadata first, and metadata ends with the revision (`ENDS_METADATA`),
which the entry has too. managedFields are half of many objects, in hundreds of small dicts, and hardly anybody reads
them. What is laid out otherwise (older stores, other versions) is decoded whole.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson

from proa.client.protocol import Object
from proa.objects.managed_fields.unread import UNREAD, cut_managed_fields
from proa.store.protocol import Entry

ENDS_METADATA = b'"resourceVersion":"%d"}'
_METADATA = b'"metadata":'
_SPEC, _STATUS = b',"spec":', b',"status":'
SPECS, MAX_SPEC_BYTES = 64, 8 * 1024


def metadata_begin(head: bytes) -> int:
    """Return where in a stored object its metadata begin. `head` is the kind's (`head_of`)."""
    return len(head) + len(_METADATA)


def metadata_bytes(entry: Entry, head: bytes) -> bytes | None:
    """Return the object's metadata as it is stored, None where it must be decoded; `head` is the kind's."""
    return cut_metadata(entry.value, entry.revision, head)


def cut_metadata(value: bytes, revision: int, head: bytes) -> bytes | None:
    """Return the same of a stored value and the revision that wrote it."""
    begin = metadata_begin(head)
    if not value.startswith(head) or not value.startswith(_METADATA, len(head)):
        return None
    ending = ENDS_METADATA % revision
    end = value.find(ending, begin)
    return None if end < 0 else value[begin : end + len(ending)]


def without_managed_fields(entry: Entry) -> Object:
    """Return the object; its managedFields are missing, or there."""
    cut = cut_managed_fields(entry.value)
    if cut is not None:
        obj: Object = orjson.loads(cut)
        if obj["metadata"].pop("managedFields", None) == UNREAD:
            return obj
    whole: Object = orjson.loads(entry.value)
    return whole


def to_look_at(entry: Entry, head: bytes, metadata: bytes | None) -> Object:
    """Return the same for who will not change it: objects of one template share their spec, which is decoded once.

    `metadata` is what `metadata_bytes` returns. Where all three parts are whole JSON values, the object is just these.
    """
    if metadata is None:
        return without_managed_fields(entry)
    value = entry.value
    begin = metadata_begin(head) + len(metadata)
    end = value.find(_STATUS, begin)
    if end < 0 or end - begin > MAX_SPEC_BYTES or not value.startswith(_SPEC, begin):
        return without_managed_fields(entry)
    try:
        return {
            "metadata": orjson.loads(cut_managed_fields(metadata) or metadata),
            "spec": _read_spec(value[begin + len(_SPEC) : end]),
            "status": orjson.loads(value[end + len(_STATUS) : -1]),
        }
    except orjson.JSONDecodeError:
        return without_managed_fields(entry)


@lru_cache(maxsize=SPECS)
def _read_spec(data: bytes) -> Any:
    return orjson.loads(data)
