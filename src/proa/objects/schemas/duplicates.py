"""Find the fields that a JSON body gives twice, which decoding into a dict hides.

Strict decoding (sigs.k8s.io/json) reports them. The usual body has none: comparing the number of keys in the
text with the number of those that survived decoding tells so without parsing again.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

_SPACED = (b" :", b"\n:", b"\t:", b"\r:")
_SPACED_KEY = re.compile(rb'"[ \t\r\n]+:')


def may_have_duplicates(body: bytes, obj: dict[str, Any]) -> bool:
    """Tell whether `body`, of which `obj` is the whole decoding, may give a field twice; mostly not, and at once.

    Where a key ends in another way than the usual one, or strings may be written otherwise, that cannot be told here.
    """
    if any(map(body.__contains__, _SPACED)) and _SPACED_KEY.search(body):
        return True
    if b'\\\\":' in body or b"\\u" in body:
        return True
    try:
        return _key_endings(body) != _key_endings(orjson.dumps(obj))
    except TypeError:  # it is too deep to be encoded: whoever checks it refuses it in better words
        return True


def _key_endings(text: bytes) -> int:
    """Return how many keys there are, and strings that begin with a colon; within a string, a quote has a backslash."""
    return text.count(b'":') - text.count(b'\\":')


def find_duplicate_fields(body: bytes, limit: int = 100) -> list[str]:
    """Return the paths of fields given more than once in `body`."""
    found: list[str] = []
    _collect(json.loads(body, object_pairs_hook=_Pairs), "", found, limit)
    return found


class _Pairs(list[tuple[str, Any]]):
    """An object's members as they were written."""


def _collect(value: Any, path: str, found: list[str], limit: int) -> None:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, item in value:
            here = f"{path}.{key}" if path else key
            if key in seen and len(found) < limit:
                found.append(here)
            seen.add(key)
            _collect(item, here, found, limit)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _collect(item, f"{path}[{index}]", found, limit)
