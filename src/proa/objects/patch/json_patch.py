"""Apply a JSON patch as RFC 6902 defines it, all operations or none.

As in the library that Kubernetes uses (evanphx/json-patch): array indexes may count from the end (-1), and a
test for null passes where there is nothing. Bounded as upstream: 10,000 operations, 3 MiB of copies.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

from proa.objects.errors import BadRequest, RequestEntityTooLarge
from proa.objects.patch.refusals import DoesNotApply, too_deep
from proa.objects.patch.values import is_same, json_type_name, private_copy

MAX_OPERATIONS = 10_000
MAX_COPIED_BYTES = 3 * 1024 * 1024

_INDEX = re.compile(r"[+-]?[0-9]{1,18}")
_ABSENT = object()


def apply_json_patch(obj: dict[str, Any], patch: Any) -> dict[str, Any]:
    """Return a new object.

    Raises BadRequest (not a patch), RequestEntityTooLarge (too many operations), or an Invalid whose `why`
    says which operation does not apply.
    """
    _check_form(patch)
    try:
        document = _Document(private_copy(obj))
        for operation in patch:
            document.apply(operation)
    except RecursionError:
        raise too_deep() from None
    if not isinstance(document.root, dict):
        raise DoesNotApply("the patch leaves no object")
    return document.root


def _check_form(patch: Any) -> None:
    if not isinstance(patch, list):
        raise BadRequest(
            f"error decoding patch: json: cannot unmarshal {json_type_name(patch)} "
            "into Go value of type []handlers.jsonPatchOp"
        )
    if len(patch) > MAX_OPERATIONS:
        raise RequestEntityTooLarge(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(patch)}"
        )
    for operation in patch:
        if not isinstance(operation, dict):
            raise BadRequest(
                f"error decoding patch: json: cannot unmarshal {json_type_name(operation)} "
                "into Go value of type handlers.jsonPatchOp"
            )
        for field in ("op", "path", "from"):
            if not isinstance(operation.get(field, ""), str):
                raise BadRequest(
                    f"error decoding patch: json: cannot unmarshal {json_type_name(operation[field])} "
                    f"into Go struct field jsonPatchOp.{field} of type string"
                )


class _Document:
    """The object while it is being patched."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self._copied_bytes = 0
        self._operations: dict[str, Callable[[dict[str, Any]], None]] = {
            "add": self._add,
            "remove": self._remove,
            "replace": self._replace,
            "move": self._move,
            "copy": self._copy,
            "test": self._test,
        }

    def apply(self, operation: dict[str, Any]) -> None:
        """Apply one operation; raise DoesNotApply."""
        name = operation.get("op", "unknown")
        if name not in self._operations:
            raise DoesNotApply(f"Unexpected kind: {name}")
        self._operations[name](operation)

    def _add(self, operation: dict[str, Any]) -> None:
        self._put(operation, private_copy(operation.get("value")))

    def _remove(self, operation: dict[str, Any]) -> None:
        self._take(operation, _pointer(operation, "path"))

    def _replace(self, operation: dict[str, Any]) -> None:
        path, value = _pointer(operation, "path"), private_copy(operation.get("value"))
        if not path:
            self.root = value
            return
        parent, key = self._parent(operation, path)
        place = _place(parent, key)
        if place is None:
            raise DoesNotApply(
                f"replace operation does not apply: doc is missing key: {operation['path']}: missing value"
            )
        parent[place] = value

    def _move(self, operation: dict[str, Any]) -> None:
        source, target = _pointer(operation, "from"), _pointer(operation, "path")
        if target[: len(source)] == source and len(target) > len(source):
            raise DoesNotApply(f"error in move for path: '{operation['path']}': it is inside of what moves")
        self._put(operation, self._take(operation, source))

    def _copy(self, operation: dict[str, Any]) -> None:
        value = self._find(operation, _pointer(operation, "from"))
        if value is _ABSENT:
            raise DoesNotApply(f"error in copy for from: '{operation['from']}': missing value")
        self._copied_bytes += len(orjson.dumps(value))
        if self._copied_bytes > MAX_COPIED_BYTES:
            raise DoesNotApply(
                "Unable to complete the copy, the accumulated size increase of copy is "
                f"{self._copied_bytes}, exceeding the limit {MAX_COPIED_BYTES}"
            )
        self._put(operation, private_copy(value))

    def _test(self, operation: dict[str, Any]) -> None:
        found = self._find(operation, _pointer(operation, "path"))
        if not is_same(None if found is _ABSENT else found, operation.get("value")):
            raise DoesNotApply(f"testing value {operation['path']} failed: test failed")

    def _put(self, operation: dict[str, Any], value: Any) -> None:
        """Add a value at the operation's path."""
        path = _pointer(operation, "path")
        if not path:
            self.root = value
            return
        parent, key = self._parent(operation, path)
        if isinstance(parent, dict):
            parent[key] = value
            return
        place = len(parent) if key == "-" else _index(key, len(parent) + 1)
        if place is None:
            raise DoesNotApply(
                f"error in add for path: '{operation['path']}': Unable to access invalid index: {key}"
            )
        parent.insert(place, value)

    def _take(self, operation: dict[str, Any], path: list[str]) -> Any:
        """Remove and return the value at `path`."""
        if not path:
            raise DoesNotApply(f"{operation['op']} operation does not apply: the whole object cannot go")
        parent, key = self._parent(operation, path)
        place = _place(parent, key)
        if place is None:
            raise DoesNotApply(
                f"error in remove for path: '{_text(path)}': Unable to remove nonexistent key: {key}"
            )
        return parent.pop(place)

    def _find(self, operation: dict[str, Any], path: list[str]) -> Any:
        """Return the value at `path`, _ABSENT when there is none; its parent must be there."""
        if not path:
            return self.root
        parent, key = self._parent(operation, path)
        place = _place(parent, key)
        return _ABSENT if place is None else parent[place]

    def _parent(self, operation: dict[str, Any], path: list[str]) -> tuple[Any, str]:
        """Return the dict or list that holds the last step of `path`, and that step."""
        holder = self.root
        for key in path[:-1]:
            place = _place(holder, key)
            holder = holder[place] if place is not None else None
        if not isinstance(holder, dict | list):
            raise DoesNotApply(
                f'{operation["op"]} operation does not apply: doc is missing path: "{_text(path)}": missing value'
            )
        return holder, path[-1]


def _place(holder: Any, key: str) -> Any:
    """Return the key or index of an existing item of a dict or list, None when there is none."""
    if isinstance(holder, dict):
        return key if key in holder else None
    return _index(key, len(holder)) if isinstance(holder, list) else None


def _index(key: str, length: int) -> int | None:
    """Return the index that `key` names among `length` places; -1 is the last."""
    if not _INDEX.fullmatch(key):
        return None
    place = int(key)
    return place % length if -length <= place < length else None


def _pointer(operation: dict[str, Any], field: str) -> list[str]:
    """Return the steps of the JSON pointer (RFC 6901) in a field of the operation."""
    text = operation.get(field)
    if text is None:
        raise DoesNotApply(f"{operation['op']} operation failed to decode {field}: missing value")
    if not text:
        return []
    head, *steps = text.split("/")
    if head:
        raise DoesNotApply(
            f'{operation["op"]} operation does not apply: doc is missing path: "{text}": missing value'
        )
    return [step.replace("~1", "/").replace("~0", "~") for step in steps]


def _text(path: list[str]) -> str:
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in path)
