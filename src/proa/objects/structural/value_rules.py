"""Tell what of a value breaks the rules of its schema: in full where there is something, fast where there is nothing.

Each schema is compiled once into a function that only says yes or no (value_tests.py). On a no the value is walked
again by `_Inspector`, which finds every fault, in the words and the order of kube-openapi pkg/validation/validate,
and forgives those in what an update left as it was (apiextensions-apiserver/pkg/apiserver/validation/ratcheting.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from proa.objects.errors import Cause
from proa.objects.quick_dataclass import dataclass
from proa.objects.structural.list_types import identity, map_key
from proa.objects.structural.node import ABSENT, Json, Node
from proa.objects.structural.value_tests import (
    ValueTests,
    format_of,
    is_in_enum,
    is_multiple,
    matches,
    number_types,
    type_name,
    types_of,
)
from proa.objects.validation import invalid, not_supported, quote, required, too_long, too_many

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1
NO_PATH = "<nil>"
"""How upstream prints the path to the whole object."""


@dataclass(frozen=True, slots=True)
class _Fault:
    """`text` tells it apart from others; a cause's field is below the validated value's own path."""

    text: str
    cause: Cause


class _Result:
    """Faults, each text once, and how much was right: by that the best of alternatives is found."""

    __slots__ = ("faults", "score")

    def __init__(self) -> None:
        self.faults: dict[str, _Fault] = {}
        self.score = 0

    def add(self, fault: _Fault) -> None:
        self.faults.setdefault(fault.text, fault)

    def merge(self, other: _Result) -> None:
        for text, fault in other.faults.items():
            self.faults.setdefault(text, fault)
        self.score += other.score


def validate_value(
    value: Any, raw: Json, tests: ValueTests, *, old: Any = ABSENT, path: str = ""
) -> list[Cause]:
    """Return what is wrong with a value by its JSON schema.

    With `old`, the value in whose place it comes, faults in parts that are the same are forgiven. `path` is that of
    the value, "" for a whole object.
    """
    if tests.of(raw)(value):
        return []
    result = _Inspector(path).walk(value, raw, "", old)
    return [fault.cause for fault in result.faults.values()]


class _Inspector:
    """`path` here is kube-openapi's: relative to the value, a leading dot below the root's additionalProperties."""

    def __init__(self, base: str) -> None:
        self._base = base

    def walk(self, value: Any, raw: Json, path: str, old: Any) -> _Result:
        result = _Result()
        if value is None:
            self._type(value, raw, path, result)
            self._enum(value, raw, path, result)
        else:
            if types_of(raw) or raw.get("format"):
                self._type(value, raw, path, result)
                result.score += 1
            self._junctors(value, raw, path, old, result)
            result.score += 1
            if isinstance(value, str):
                self._string(value, raw, path, result)
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                self._number(value, raw, path, result)
            elif isinstance(value, list):
                self._list(value, raw, path, old, result)
            self._enum(value, raw, path, result)
            result.score += 1
            if isinstance(value, dict):
                self._object(value, raw, path, old, result)
            result.score += 1
        if result.faults and old is not ABSENT and identity(value) == identity(old):
            result.faults = {}
        return result

    # Faults.

    def _field(self, path: str) -> str:
        below = path.removeprefix(".")
        if not self._base:
            return below or NO_PATH
        return f"{self._base}.{below}" if below else self._base

    def _invalid(self, path: str, value: Any, text: str, result: _Result) -> None:
        result.add(_Fault(text, invalid(self._field(path), value, text)))

    def _composite(self, text: str, result: _Result) -> None:
        result.add(_Fault(text, invalid(self._base or NO_PATH, "", text)))

    # Rules, in the order of upstream's validators.

    def _type(self, value: Any, raw: Json, path: str, result: _Result) -> None:
        types = types_of(raw)
        found = type_name(value)
        if value is None:
            fits = not types or bool(raw.get("nullable"))
        else:
            fits = not types or found in types or number_types(value, types)
        if fits or (isinstance(value, (str, list)) and format_of(raw)
                    and not {"number", "integer"} & set(types)):  # fmt: skip
            result.score += 1
            return
        text = f"{path} in body must be of type {','.join(types)}: {quote(found)}"
        cause = invalid(self._field(path), found, text)
        result.add(_Fault(text, Cause("FieldValueTypeInvalid", cause.message, cause.field)))

    def _enum(self, value: Any, raw: Json, path: str, result: _Result) -> None:
        enum = raw.get("enum")
        if enum and not is_in_enum(value, enum):
            words = [item if isinstance(item, str) else orjson.dumps(item).decode() for item in enum]
            text = f"{path} in body should be one of [{' '.join(map(str, enum))}]"
            result.add(_Fault(text, not_supported(self._field(path), value, words)))

    def _string(self, value: str, raw: Json, path: str, result: _Result) -> None:
        most, least, pattern = raw.get("maxLength"), raw.get("minLength"), raw.get("pattern")
        if most is not None and len(value) > most:
            text = f"{path} in body should be at most {int(most)} chars long"
            result.add(_Fault(text, too_long(self._field(path), int(most))))
        elif least is not None and len(value) < least:
            self._invalid(path, value, f"{path} in body should be at least {int(least)} chars long", result)
        elif pattern and not matches(pattern, value):
            self._invalid(path, value, f"{path} in body should match '{pattern}'", result)
        result.score += 1
        test = format_of(raw)
        if test is not None:
            if not test(value):
                text = f"{path} in body must be of type {raw['format']}: {quote(value)}"
                cause = invalid(self._field(path), value, text)
                result.add(_Fault(text, Cause("FieldValueTypeInvalid", cause.message, cause.field)))
            result.score += 1

    def _number(self, value: float, raw: Json, path: str, result: _Result) -> None:
        self._range(value, raw, path, result)
        factor = raw.get("multipleOf")
        if factor is not None and not is_multiple(value, factor):
            self._invalid(path, value, f"{path} in body should be a multiple of {_go(factor, value)}", result)
        least, most = raw.get("minimum"), raw.get("maximum")
        if least is not None and (value < least or (value == least and raw.get("exclusiveMinimum"))):
            than = "greater than" if raw.get("exclusiveMinimum") else "greater than or equal to"
            self._invalid(path, value, f"{path} in body should be {than} {_go(least, value)}", result)
        if most is not None and (value > most or (value == most and raw.get("exclusiveMaximum"))):
            than = "less than" if raw.get("exclusiveMaximum") else "less than or equal to"
            self._invalid(path, value, f"{path} in body should be {than} {_go(most, value)}", result)
        result.score += 2

    def _range(self, value: float, raw: Json, path: str, result: _Result) -> None:
        """Say where an integer does not fit its format."""
        if raw.get("type") != "integer" or number_types(value, ("integer",), raw.get("format") or ""):
            return
        form = raw.get("format")
        how = f"with format {form}" if form in ("int32", "int64") else "(default format)"
        self._composite(f"Checked value must be of type integer {how} in {path}", result)

    def _list(self, value: list[Any], raw: Json, path: str, old: Any, result: _Result) -> None:
        items = raw.get("items")
        if isinstance(items, dict):
            before = _old_items(value, raw, old)
            for index, item in enumerate(value):
                result.merge(self.walk(item, items, f"{path}[{index}]", before[index]))
        least, most = raw.get("minItems"), raw.get("maxItems")
        if least is not None and len(value) < least:
            self._invalid(path, len(value), f"{path} in body should have at least {int(least)} items", result)
        if most is not None and len(value) > most:
            text = f"{path} in body should have at most {int(most)} items"
            result.add(_Fault(text, too_many(self._field(path), len(value), int(most))))
        if raw.get("uniqueItems") and len({identity(item) for item in value}) < len(value):
            self._invalid(path, "", f"{path} in body shouldn't contain duplicates", result)
        result.score += 2

    def _object(self, value: dict[str, Any], raw: Json, path: str, old: Any, result: _Result) -> None:
        least, most = raw.get("minProperties"), raw.get("maxProperties")
        if least is not None and len(value) < least:
            text = f"{path} in body should have at least {int(least)} properties"
            self._invalid(path, len(value), text, result)
        if most is not None and len(value) > most:
            text = f"{path} in body should have at most {int(most)} properties"
            result.add(_Fault(text, too_many(self._field(path), len(value), int(most))))
        known: Mapping[str, Json] = raw.get("properties") or {}
        others = raw.get("additionalProperties")
        for key, item in value.items():
            if key in known:
                continue
            if others is False:
                self._invalid(path, key, f"{path}.{key} in body is a forbidden property", result)
            elif isinstance(others, dict):
                result.merge(self.walk(item, others, f"{path}.{key}", _old_field(old, key, raw)))
        for key, schema in known.items():
            if key in value:
                here = f"{path}.{key}" if path else key
                before = _old_field(old, key, raw)
                if not path and not self._base and key in ("kind", "apiVersion"):
                    before = ABSENT
                result.merge(self.walk(value[key], schema, here, before))
        for key in raw.get("required") or ():
            if key not in value:
                here = f"{path}.{key}"
                result.add(_Fault(f"{here} in body is required", required(self._field(here))))
        result.score += 1

    def _junctors(self, value: Any, raw: Json, path: str, old: Any, result: _Result) -> None:
        self._any_of(value, raw, path, old, result)
        self._one_of(value, raw, path, old, result)
        if schemas := raw.get("allOf"):
            valid = 0
            for schema in schemas:
                found = self.walk(value, schema, path, old)
                valid += not found.faults
                result.merge(found)
            if valid != len(schemas):
                suffix = "" if valid else ". None validated"
                self._composite(f"{quote(path)} must validate all the schemas (allOf){suffix}", result)
        if (schema := raw.get("not")) is not None and not self.walk(value, schema, path, old).faults:
            self._composite(f"{quote(path)} must not validate the schema (not)", result)
        result.score += 1

    def _any_of(self, value: Any, raw: Json, path: str, old: Any, result: _Result) -> None:
        schemas = _alternatives(raw)
        if not schemas:
            return
        found = [self.walk(value, schema, path, old) for schema in schemas]
        valid = next((r for r in found if not r.faults), None)
        if valid is None:
            self._composite(f"{quote(path)} must validate at least one schema (anyOf)", result)
        result.merge(valid or _best(found))

    def _one_of(self, value: Any, raw: Json, path: str, old: Any, result: _Result) -> None:
        schemas = raw.get("oneOf")
        if not schemas:
            return
        found = [self.walk(value, schema, path, old) for schema in schemas]
        valid = [r for r in found if not r.faults]
        if len(valid) == 1:
            result.merge(valid[0])
            return
        words = f"Found {len(valid)} valid alternatives" if valid else "Found none valid"
        text = f"{quote(path)} must validate one and only one schema (oneOf). {words}"
        self._composite(text, result)
        if not valid:
            result.merge(_best(found))


def _alternatives(raw: Json) -> Sequence[Json]:
    found: Sequence[Json] = raw.get("anyOf") or ()
    return found


def _best(results: Iterable[_Result]) -> _Result:
    best: _Result | None = None
    for result in results:
        if best is None or result.score > best.score:
            best = result
    assert best is not None
    return best


def _old_field(old: Any, key: str, raw: Json) -> Any:
    """Return the field in the old value that a field comes in place of."""
    return old.get(key) if isinstance(old, dict) else ABSENT


def _old_items(value: list[Any], raw: Json, old: Any) -> list[Any]:
    """Return for each item the old one in whose place it comes: only items of maps have such."""
    if raw.get("x-kubernetes-list-type") != "map" or not isinstance(old, list):
        return [ABSENT] * len(value)
    node = Node(raw)
    before: dict[Any, Any] = {}
    for item in old:
        before.setdefault(identity(map_key(item, node)), item)
    return [before.get(identity(map_key(item, node)), ABSENT) for item in value]


def _go(limit: float, value: float) -> str:
    """Return a limit as Go prints it: an integer beside an integer, else a float as %v does."""
    if isinstance(value, int) or (float(limit).is_integer() and abs(limit) < 1e21):
        return str(int(limit))
    return repr(float(limit))
