"""Check what a patch makes of an object; what is wrong is then the patch's fault, and worded so.

Follows apiserver/pkg/endpoints/handlers/patch.go: JSON and merge patches are refused with the whole result in JSON,
strategic merge patches with the patch as Go prints a map and in the words of apimachinery/pkg/runtime/converter.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson

from proa.objects.errors import Cause, Invalid
from proa.objects.schemas.check import Checked, Faults, Strictness, go_type, prune
from proa.objects.schemas.schema import Schema
from proa.objects.validation import invalid

_GO_KINDS = {"string": "string", "bool": "bool", "array": "slice", "object": "map"}


def check_patched(
    obj: dict[str, Any],
    schema: Schema,
    strictness: Strictness,
    strategic_patch: bytes = b"",
    old: Mapping[str, Any] = MappingProxyType({}),
) -> Checked:
    """Return the patched `obj` checked and pruned, in place; raise Invalid.

    `strategic_patch` is the patch as it was sent, if it was a strategic merge patch. What `obj` shares with `old`, the
    stored object, was checked when that was stored: it is not looked at again.
    """
    is_strategic = bool(strategic_patch)
    whole = b"" if is_strategic else orjson.dumps(obj)  # before it is pruned
    touched = {key: value for key, value in obj.items() if value is not old.get(key)}
    names = list(touched)
    faults = prune(touched, schema)
    for name in names:
        if name in touched:
            obj[name] = touched[name]
        else:
            del obj[name]
    if faults is None:
        return Checked(obj)
    complaint = faults.undecodable and (_conversion_words(faults) if is_strategic else faults.undecodable)
    unknown = tuple(f'unknown field "{path}"' for path in faults.unknown)
    if not complaint and unknown and strictness == "Strict":
        complaint = f"strict decoding error: {', '.join(unknown)}"
    if complaint:
        shown = go_value(orjson.loads(strategic_patch)) if is_strategic else whole.decode()
        raise _refusal(invalid("patch", shown, complaint))
    return Checked(obj, unknown if strictness == "Warn" else ())


def _refusal(cause: Cause) -> Invalid:
    return Invalid(f' "" is invalid: {cause.field}: {cause.message}', causes=[cause])


def _conversion_words(faults: Faults) -> str:
    """Return the complaint as Go's converter from maps to structs has it."""
    if faults.mismatch is None:
        return faults.undecodable
    found, schema = faults.mismatch
    is_number = found.startswith("number")
    kind = _GO_KINDS.get(found, "float64" if "." in found else "int64")
    if schema.type == "array":
        return f"cannot restore slice from {kind}"
    if schema.type == "object":
        return f"cannot restore map from {kind}" if schema.values else f"cannot restore struct from: {kind}"
    target = go_type(schema)
    if is_number and target != "bool" and (target != "string" or kind == "int64"):
        return f"cannot convert {kind} to {target}"
    return f"unrecognized type: {target}"


def go_value(value: object) -> str:
    """Return a JSON value as Go's %+v prints it: map[a:1 b:[x <nil>]]."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go_value(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(go_value, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "<nil>" if value is None else str(value)
