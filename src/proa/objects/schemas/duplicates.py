"""Find the fields that a JSON body gives twice, which decoding into a dict hides.

Strict decoding (sigs.k8s.io/json) reports them. The usual body has none: comparing the number of keys in the
text with the number that survived decoding tells so without parsing again.
"""

from __future__ import annotations

import json
from typing import Any


def find_duplicate_fields(body: bytes, obj: dict[str, Any], limit: int = 100) -> list[str]:
    """Return the paths of fields given more than once in `body`, of which `obj` may be a pruned decoding."""
    if body.count(b'":') == _count_keys(obj) and b'" :' not in body:
        return []
    found: list[str] = []
    _collect(json.loads(body, object_pairs_hook=_Pairs), "", found, limit)
    return found


class _Pairs(list[tuple[str, Any]]):
    """An object's members as they were written."""


def _count_keys(obj: dict[str, Any]) -> int:
    count = 0
    todo: list[Any] = [obj]
    for node in todo:  # grows while it is walked
        if type(node) is dict:
            count += len(node)
            todo += [v for v in node.values() if type(v) is dict or type(v) is list]
        else:
            todo += [v for v in node if type(v) is dict or type(v) is list]
    return count


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
