"""Work out what a mutation makes of an object: by an apply configuration, or by a JSON patch.

Follows apiserver/pkg/admission/plugin/policy/mutating/patch/{smd,json_patch}.go and pkg/cel/mutation/dynamic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from proa.apiserver.policies.compiled import EvaluationFailed
from proa.client.protocol import Object
from proa.objects.cel.budget import Budget
from proa.objects.cel.conversion import to_json
from proa.objects.cel.errors import CelRuntimeError
from proa.objects.cel.values import Struct
from proa.objects.errors import ApiError
from proa.objects.managed_fields.typed import node_of
from proa.objects.patch.json_patch import apply_json_patch
from proa.objects.patch.refusals import DoesNotApply
from proa.objects.schemas.schema import Schema
from proa.objects.validation import quote


def apply_configuration(value: Any, obj: Object, schema: Schema, budget: Budget) -> Object:
    """Return a private copy of the object with what an `Object{...}` says merged in; raise EvaluationFailed."""
    _check_names(value)
    config = _as_json(value, budget)
    config |= {"apiVersion": obj["apiVersion"], "kind": obj["kind"]}
    node = node_of(schema)
    faults = list(node.faults(config, ()))
    if faults:
        said = faults[0] if len(faults) == 1 else "\n".join(["errors:", *(f"  {fault}" for fault in faults)])
        raise EvaluationFailed(
            f"error applying patch: failed to convert patch object to typed object: {said}"
        )
    atomics = list(_atomics(config, schema, ""))
    if atomics:
        said = f"may not mutate atomic arrays, maps or structs: {', '.join(atomics)}"
        raise EvaluationFailed(f"error applying patch: invalid ApplyConfiguration: {said}")
    merged: Object = orjson.loads(orjson.dumps(node.merged(obj, config)))
    return merged


def apply_patch(value: Any, obj: Object, budget: Budget) -> Object:
    """Return a private copy of the object with a list of `JSONPatch{...}` applied; raise EvaluationFailed.

    Where a test of the patch fails, the object is as it was.
    """
    if not isinstance(value, list) or not all(isinstance(operation, Struct) for operation in value):
        raise EvaluationFailed(
            "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch"
        )
    for operation in value:
        _check_names(operation.fields.get("value"))
    patch = [_as_json(operation, budget) for operation in value]
    try:
        return apply_json_patch(obj, patch)
    except DoesNotApply as error:
        if error.why.startswith("testing"):
            return orjson.loads(orjson.dumps(obj))  # type: ignore[no-any-return]
        raise EvaluationFailed(f"JSON Patch: {error.why}") from None
    except ApiError as error:
        raise EvaluationFailed(f"JSON Patch: {error.message}") from None


def _as_json(value: Any, budget: Budget) -> Any:
    try:
        return to_json(value, budget)
    except CelRuntimeError as error:
        raise EvaluationFailed(str(error)) from None


def _check_names(value: Any) -> None:
    wrong = list(_wrong_names(value, "")) if isinstance(value, Struct) else []
    if wrong:
        raise EvaluationFailed("type mismatch: " + "\n".join(wrong))


def _wrong_names(value: Any, path: str) -> Iterator[str]:
    """Yield where a message is not named by the path of fields that leads to it."""
    if isinstance(value, Struct):
        path = path or value.name
        if value.name != path:
            why = "which matches field name path from root Object type"
            yield f"unexpected type name {quote(value.name)}, expected {quote(path)}, {why}"
        for key, field in value.fields.items():
            yield from _wrong_names(field, f"{path}.{key}")
    elif isinstance(value, list | dict):
        inner: Iterable[Any] = value if isinstance(value, list) else value.values()
        for item in inner:
            yield from _wrong_names(item, path)


def _atomics(value: Any, schema: Schema, path: str) -> Iterator[str]:
    """Yield where the value has something that can only be replaced as a whole."""
    if isinstance(value, dict):
        if schema.type == "object" and schema.map_type == "atomic":
            yield path
        for key, item in value.items():
            inner = schema.values if schema.values is not None else schema.properties.get(key)
            if inner is not None:
                yield from _atomics(item, inner, f"{path}.{key}")
    elif isinstance(value, list) and schema.type == "array":
        if schema.list_type not in ("set", "map"):
            yield path
        if schema.items is not None:
            for index, item in enumerate(value):
                yield from _atomics(item, schema.items, f"{path}[{index}]")
