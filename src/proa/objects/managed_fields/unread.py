"""Leave metadata.managedFields out of what is decoded: half of many objects, in hundreds of small dicts.

They are cut out of the text where it is laid out as the store has it, with the resourceVersion behind them; of other
texts, and where an object within another was met, everything is decoded.
"""

from __future__ import annotations

_MANAGED = b',"managedFields":['
_END_OF_LIST = b'],"'
"""A bare quote is no part of a string, and no list is in managedFields but itself."""
_LAST_OF_METADATA = b"]}"
_NEXT = b'"resourceVersion":"'
UNREAD = 0
"""Stands where managedFields stood: who finds it in an object's metadata, and takes it away, has cut the right ones."""


def cut_managed_fields(text: bytes) -> bytes | None:
    """Return the JSON text with UNREAD for its first managedFields; None where that is not simple."""
    start = text.find(_MANAGED)
    if start < 0:
        return None
    end = text.find(_END_OF_LIST, start)
    if end < 0 or not text.startswith(_NEXT, end + 2):
        return None
    if (
        text.find(_LAST_OF_METADATA, start, end) >= 0
    ):  # then what ends here is a list of another object within
        return None
    return text[:start] + b',"managedFields":%d' % UNREAD + text[end + 1 :]
