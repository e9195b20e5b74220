"""Read no more of a stored object than is asked for: metadata as bytes, and the rest without who manages its fields.

An object is stored with kind, apiVersion and metadata first, and metadata ends with the revision (`ENDS_METADATA`),
which the entry has too. managedFields are half of many objects, in hundreds of small dicts, and hardly anybody reads
them. What is laid out otherwise (older stores, other versions) is decoded whole.
"""

from __future__ import annotations

import orjson

from proa.client.protocol import Object
from proa.store.protocol import Entry

ENDS_METADATA = b'"resourceVersion":"%d"}'
_METADATA = b'"metadata":'
_MANAGED = b',"managedFields":['
_END_OF_MANAGED = b'}],"resourceVersion":"%d"}'
"""A bare quote is no part of a string, and nothing within managedFields is called resourceVersion."""
_UNREAD = b',"managedFields":0'


def metadata_bytes(entry: Entry, head: bytes) -> bytes | None:
    """Return the object's metadata as it is stored, None where it must be decoded. `head` is the kind's (`head_of`)."""
    return cut_metadata(entry.value, entry.revision, head)


def cut_metadata(value: bytes, revision: int, head: bytes) -> bytes | None:
    """Return the same of a stored value and the revision that wrote it."""
    begin = len(head) + len(_METADATA)
    if not value.startswith(head) or not value.startswith(_METADATA, len(head)):
        return None
    ending = ENDS_METADATA % revision
    end = value.find(ending, begin)
    return None if end < 0 else value[begin : end + len(ending)]


def without_managed_fields(entry: Entry) -> Object:
    """Return the object; its managedFields are missing, or there."""
    value = entry.value
    start = value.find(_MANAGED)
    if start >= 0:
        end = value.find(_END_OF_MANAGED % entry.revision, start)
        if end >= 0:
            obj: Object = orjson.loads(value[:start] + _UNREAD + value[end + 2 :])
            if obj["metadata"].pop("managedFields", None) == 0:
                return obj
    whole: Object = orjson.loads(value)
    return whole
