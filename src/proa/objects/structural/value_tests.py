"""Compile a JSON schema into a function that tells whether a value keeps all its rules.

One for each schema, made when it is first needed and kept with it. What a fault is called is not known here
(value_rules.py); the two agree, which tests hold them to. Follows kube-openapi pkg/validation/validate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from proa.objects.structural.list_types import identity
from proa.objects.structural.node import Json
from proa.objects.structural.patterns import compiled

Test = Callable[[Any], bool]
_INT64 = 1 << 63
_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}


class ValueTests:
    """The compiled tests of one definition's schemas, by their identity; a schema is held, so that it stays its own."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Json, Test]] = {}

    def of(self, raw: Json) -> Test:
        """Return the test of a schema."""
        found = self._made.get(id(raw))
        if found is None:
            found = self._made[id(raw)] = (raw, _compile(raw, self))
        return found[1]


def types_of(raw: Json) -> tuple[str, ...]:
    """Return the types that a schema allows; none: all."""
    if raw.get("x-kubernetes-int-or-string"):
        return ("integer", "string")
    kind = raw.get("type")
    return (kind,) if kind else ()


def type_name(value: Any) -> str:
    """Return the JSON schema type of a value."""
    return _NAMES.get(type(value), "null")


def number_types(value: Any, types: Sequence[str], form: str = "") -> bool:
    """Tell whether a number is of one of the types: an integer is a number, and 1.0 an integer."""
    if type(value) is int:
        if "number" in types:
            return True
        most = 1 << 31 if form == "int32" else _INT64
        return "integer" in types and -most <= value < most
    if type(value) is float and "integer" in types:
        return value.is_integer() and abs(value) < (1 << 31 if form == "int32" else 1 << 53)
    return False


def is_in_enum(value: Any, enum: Sequence[Any]) -> bool:
    """Tell whether a value is one of those listed; 1 and 1.0 are one, True and 1 are not."""
    return any(value == item and (type(value) is bool) == (type(item) is bool) for item in enum)


def is_multiple(value: float, factor: float) -> bool:
    """Tell whether a number is a multiple, by as much as floats can tell."""
    if factor <= 0:
        return False
    if isinstance(value, int) and float(factor).is_integer():
        return value % int(factor) == 0
    ratio = 1 / factor * value if factor < 1 else value / factor
    return ratio == ratio and abs(ratio - round(ratio)) < 1e-9


def matches(pattern: str, text: str) -> bool:
    """Tell whether a pattern is found in a text."""
    return compiled(pattern).search(text) is not None


def _compile(raw: Json, tests: ValueTests) -> Test:
    parts: list[Test] = []
    types, nullable = types_of(raw), bool(raw.get("nullable"))
    enum = raw.get("enum")
    if enum:
        parts.append(lambda value: is_in_enum(value, enum))
    if test := _junctors(raw, tests):
        parts.append(test)
    by_type: dict[type, Test] = {}
    for kind, make in ((str, _strings), (list, _lists), (dict, _objects)):
        if (found := make(raw, tests)) is not None:
            by_type[kind] = found
    if (numbers := _numbers(raw)) is not None:
        by_type[int] = by_type[float] = numbers
    formatted = format_of(raw) is not None
    allowed = _allowed(types)

    def run(value: Any) -> bool:
        if value is None:
            return (not types or nullable) and (not enum or is_in_enum(None, enum))
        kind = type(value)
        if (
            types
            and kind not in allowed
            and not number_types(value, types)
            and not (formatted and kind is list)
        ):
            return False
        test = by_type.get(kind)
        if test is not None and not test(value):
            return False
        return all(part(value) for part in parts) if parts else True

    return run


def _allowed(types: Sequence[str]) -> frozenset[type]:
    return frozenset(kind for kind, name in _NAMES.items() if name in types and kind is not int)


def _junctors(raw: Json, tests: ValueTests) -> Test | None:
    any_of, one_of, all_of, nots = (raw.get(key) for key in ("anyOf", "oneOf", "allOf", "not"))
    if not (any_of or one_of or all_of or nots is not None):
        return None

    def run(value: Any) -> bool:
        if any_of and not any(tests.of(schema)(value) for schema in any_of):
            return False
        if one_of and sum(tests.of(schema)(value) for schema in one_of) != 1:
            return False
        if all_of and not all(tests.of(schema)(value) for schema in all_of):
            return False
        return nots is None or not tests.of(nots)(value)

    return run


def format_of(raw: Json) -> Callable[[str], bool] | None:
    """Return the test of the format that a schema names, or None; the many tests are imported for the first."""
    if not raw.get("format"):
        return None
    from proa.objects.structural.formats import find_format

    return find_format(raw["format"], raw.get("type") or "")


def _strings(raw: Json, tests: ValueTests) -> Test | None:
    most, least, pattern = raw.get("maxLength"), raw.get("minLength"), raw.get("pattern")
    form = format_of(raw)
    if most is None and least is None and not pattern and form is None:
        return None

    def run(value: str) -> bool:
        if (most is not None and len(value) > most) or (least is not None and len(value) < least):
            return False
        if pattern and not matches(pattern, value):
            return False
        return form is None or form(value)

    return run


def _numbers(raw: Json) -> Test | None:
    most, least, factor = raw.get("maximum"), raw.get("minimum"), raw.get("multipleOf")
    above, below = bool(raw.get("exclusiveMinimum")), bool(raw.get("exclusiveMaximum"))
    is_integer, form = raw.get("type") == "integer", raw.get("format") or ""
    if most is None and least is None and factor is None and not is_integer:
        return None

    def run(value: float) -> bool:
        if is_integer and not number_types(value, ("integer",), form):
            return False
        if least is not None and (value < least or (above and value == least)):
            return False
        if most is not None and (value > most or (below and value == most)):
            return False
        return factor is None or is_multiple(value, factor)

    return run


def _lists(raw: Json, tests: ValueTests) -> Test | None:
    items, least, most = raw.get("items"), raw.get("minItems"), raw.get("maxItems")
    if not isinstance(items, dict) and least is None and most is None and not raw.get("uniqueItems"):
        return None
    unique = bool(raw.get("uniqueItems"))

    def run(value: list[Any]) -> bool:
        if (least is not None and len(value) < least) or (most is not None and len(value) > most):
            return False
        if unique and len({identity(item) for item in value}) < len(value):
            return False
        if not isinstance(items, dict):
            return True
        test = tests.of(items)
        return all(test(item) for item in value)

    return run


def _objects(raw: Json, tests: ValueTests) -> Test | None:
    known, others = raw.get("properties") or {}, raw.get("additionalProperties")
    required: Sequence[str] = raw.get("required") or ()
    least, most = raw.get("minProperties"), raw.get("maxProperties")
    bounded = least is not None or most is not None
    if not (known or isinstance(others, dict) or others is False or required or bounded):
        return None
    found: dict[str, Test] = {}

    def run(value: dict[str, Any]) -> bool:
        if (least is not None and len(value) < least) or (most is not None and len(value) > most):
            return False
        for key in required:
            if key not in value:
                return False
        for key, item in value.items():
            test = found.get(key)
            if test is None:
                schema = known.get(key)
                if schema is not None:
                    test = found[key] = tests.of(schema)
                elif isinstance(others, dict):
                    test = tests.of(others)
                elif others is False:
                    return False
                else:
                    continue
            if not test(item):
                return False
        return True

    return run
