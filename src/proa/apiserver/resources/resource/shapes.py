"""Check lists and maps of device kinds: how many items, each of them, none twice (pkg/apis/resource/validation).

Limits are those of api/resource/v1/types.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from proa.objects.errors import Cause
from proa.objects.validation import duplicate, required, too_long, too_many

Check = Callable[[Any, str], list[Cause]]
SHORTEST_KEY = 16


def validate_list(items: Sequence[Any], most: int, check: Check, field: str) -> list[Cause]:
    """Check each item; of a list that is too long only that is said. `most` below 0: any number."""
    if 0 <= most < len(items):
        return [too_many(field, len(items), most)]
    return [cause for index, item in enumerate(items) for cause in check(item, f"{field}[{index}]")]


def validate_set(
    items: Sequence[Any], most: int, check: Check, key: Callable[[Any], object], field: str
) -> list[Cause]:
    """Check each item, and that no two have one key."""
    if 0 <= most < len(items):
        return [too_many(field, len(items), most)]
    causes = validate_list(items, -1, check, field)
    seen: set[object] = set()
    for index, item in enumerate(items):
        found = key(item)
        if found in seen:
            causes.append(duplicate(f"{field}[{index}]", found))
        seen.add(found)
    return causes


def validate_map(
    items: Mapping[str, Any], most: int, longest_key: int, check_key: Check, check: Check, field: str
) -> list[Cause]:
    """Check each key and value; keys that are too long are shown without their middle."""
    if 0 <= most < len(items):
        return [too_many(field, len(items), most)]
    causes: list[Cause] = []
    for key, item in items.items():
        causes += check_key(key, field)
        causes += check(item, f"{field}[{_shortened(key, longest_key)}]")
    return causes


def _shortened(key: str, longest: int) -> str:
    longest = max(longest, SHORTEST_KEY)
    if len(key) <= longest:
        return key
    rest = longest - 3
    return f"{key[: (rest + 1) // 2]}...{key[len(key) - rest // 2 :]}"


def validate_parameters(value: Any, field: str, most: int) -> list[Cause]:
    """Check free-form data: an object, of so many bytes of JSON."""
    if value is None:
        return [required(field)]
    if len(orjson.dumps(value)) > most:
        return [too_long(field, most)]
    if not isinstance(value, dict):
        message = 'Invalid value: "<value omitted>": must be a valid JSON object'
        return [Cause("FieldValueInvalid", message, field)]
    return []


def anything(_: Any, __: str) -> list[Cause]:
    """Find nothing wrong."""
    return []
