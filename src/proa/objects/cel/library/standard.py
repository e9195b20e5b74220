"""CEL's own functions: operators, sizes, conversions and tests of text (cel-go common/stdlib/standard.go)."""

from __future__ import annotations

import math
import re
from typing import Any

from proa.objects.cel import operators
from proa.objects.cel.budget import Budget
from proa.objects.cel.errors import CelRuntimeError
from proa.objects.cel.functions import Functions, Overload, overload
from proa.objects.cel.library.regex import charge_match, compile_pattern
from proa.objects.cel.values import (
    INT_MAX,
    INT_MIN,
    UINT_MAX,
    Timestamp,
    TypeValue,
    Uint,
    equal,
    type_name,
)

_ORDERED = ("bool", "int", "uint", "double", "string", "bytes", "timestamp", "duration")
_NUMBERS = ("int", "uint", "double")
_INT_TEXT = re.compile(r"[+-]?[0-9]{1,25}\Z", re.ASCII)
_FLOAT_TEXT = re.compile(r"[+-]?([0-9]+\.?[0-9]*([eE][+-]?[0-9]+)?|\.[0-9]+([eE][+-]?[0-9]+)?|inf|infinity|nan)\Z",
                         re.ASCII | re.IGNORECASE)  # fmt: skip


def _operator(implementation: Any, *signatures: str, charges: bool = False) -> tuple[Overload, ...]:
    """Overloads that look at their operands themselves, so that nothing is dispatched."""
    made = [overload(signature, implementation, charges=charges) for signature in signatures]
    return tuple(
        Overload(o.member, o.parameters, o.result, o.implementation, o.charges, (None,) * len(o.takes))
        for o in made
    )


def _relation(test: Any) -> tuple[Overload, ...]:
    pairs = [(kind, kind) for kind in _ORDERED]
    pairs += [(a, b) for a in _NUMBERS for b in _NUMBERS if a != b]
    return _operator(test, *(f"({a}, {b}) -> bool" for a, b in pairs), charges=True)


def _same_type(operator: Any, *kinds: str) -> tuple[Overload, ...]:
    return _operator(operator, *(f"({kind}, {kind}) -> {kind}" for kind in kinds))


def _size(value: Any, budget: Budget) -> int:
    if type(value) is str:
        budget.charge(len(value) // 10)
    return len(value)


def _matches(text: str, pattern: str, budget: Budget) -> bool:
    charge_match(text, pattern, budget)
    compiled = compile_pattern(pattern)
    return compiled.search(text) is not None


def _contains(text: str, part: str, budget: Budget) -> bool:
    budget.charge((len(text) + len(part)) // 10)
    return part in text


def to_int(value: Any) -> int:
    """Return `int(value)`; raise CelRuntimeError."""
    if type(value) is str:
        if not _INT_TEXT.match(value):
            raise CelRuntimeError(f'strconv.ParseInt: parsing "{value[:100]}": invalid syntax')
        value = int(value)
    elif type(value) is float:
        if math.isnan(value) or math.isinf(value) or not -(2.0**63) < value < 2.0**63:
            raise CelRuntimeError("integer overflow")
        value = int(value)
    elif type(value) is Timestamp:
        value = value.nanoseconds // 1_000_000_000
    elif type(value) not in (int, Uint):
        value = value.nanoseconds
    if not INT_MIN <= value <= INT_MAX:
        raise CelRuntimeError("integer overflow")
    return int(value)


def to_uint(value: Any) -> Uint:
    """Return `uint(value)`; raise CelRuntimeError."""
    if type(value) is str:
        if not _INT_TEXT.match(value) or value[0] in "+-":
            raise CelRuntimeError(f'strconv.ParseUint: parsing "{value[:100]}": invalid syntax')
        value = int(value)
    elif type(value) is float:
        if math.isnan(value) or not 0 <= value < 2.0**64:
            raise CelRuntimeError("unsigned integer overflow")
        value = int(value)
    if not 0 <= value <= UINT_MAX:
        raise CelRuntimeError("unsigned integer overflow")
    return Uint(value)


def to_double(value: Any) -> float:
    """Return `double(value)`; raise CelRuntimeError."""
    if type(value) is str and not _FLOAT_TEXT.match(value):
        raise CelRuntimeError(f'strconv.ParseFloat: parsing "{value[:100]}": invalid syntax')
    return float(value)


def show_double(value: float) -> str:
    """Return a double as Go's %g writes it."""
    if math.isnan(value) or math.isinf(value):
        return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")
    text = repr(value)
    if "e" in text:
        mantissa, _, exponent = text.partition("e")
        return f"{mantissa.removesuffix('.0')}e{exponent[0]}{exponent[1:].zfill(2)}"
    return text.removesuffix(".0")


def _from_bytes(value: bytes, budget: Budget) -> str:
    budget.charge(len(value) // 10)
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise CelRuntimeError("invalid UTF-8 in bytes, cannot convert to string") from None


def _to_bool(text: str) -> bool:
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise CelRuntimeError(f'strconv.ParseBool: parsing "{text[:100]}": invalid syntax')


def _same(value: Any) -> Any:
    return value


def _type_of(value: Any) -> TypeValue:
    return TypeValue(type_name(value))


def _encode(text: str, budget: Budget) -> bytes:
    budget.charge(len(text) // 10)
    return text.encode("utf-8", "surrogatepass")


_EQUATABLE = "(A, A) -> bool"
FUNCTIONS: Functions = {
    "_?_:_": _operator(_same, "(bool, A, A) -> A"),
    "!_": _operator(operators.invert, "(bool) -> bool"),
    "-_": _operator(operators.negate, "(int) -> int", "(double) -> double"),
    "_==_": _operator(equal, _EQUATABLE, charges=True),
    "_!=_": _operator(lambda a, b, budget: not equal(a, b, budget), _EQUATABLE, charges=True),
    "_+_": _operator(
        operators.add,
        *(f"({kind}, {kind}) -> {kind}" for kind in ("bytes", "double", "duration", "int", "string", "uint")),
        "(duration, timestamp) -> timestamp",
        "(timestamp, duration) -> timestamp",
        "(list(A), list(A)) -> list(A)",
        charges=True,
    ),
    "_-_": _same_type(operators.subtract, "double", "duration", "int", "uint")
    + _operator(
        operators.subtract, "(timestamp, duration) -> timestamp", "(timestamp, timestamp) -> duration"
    ),
    "_*_": _same_type(operators.multiply, "double", "int", "uint"),
    "_/_": _same_type(operators.divide, "double", "int", "uint"),
    "_%_": _same_type(operators.modulo, "int", "uint"),
    "_<_": _relation(lambda a, b, budget: operators.ordered(a, b, budget) < 0),
    "_<=_": _relation(lambda a, b, budget: operators.ordered(a, b, budget) <= 0),
    "_>_": _relation(lambda a, b, budget: operators.ordered(a, b, budget) > 0),
    "_>=_": _relation(lambda a, b, budget: operators.ordered(a, b, budget) >= 0),
    "_[_]": _operator(
        operators.index,
        "(list(A), int) -> A",
        "(map(A, B), A) -> B",
        "(optional(list(A)), int) -> optional(A)",
        "(optional(map(A, B)), A) -> optional(B)",
        charges=True,
    ),
    "_[?_]": _operator(
        operators.optional_index,
        "(list(A), int) -> optional(A)",
        "(map(A, B), A) -> optional(B)",
        "(optional(list(A)), int) -> optional(A)",
        "(optional(map(A, B)), A) -> optional(B)",
        charges=True,
    ),
    "@in": _operator(operators.contains, "(A, list(A)) -> bool", "(A, map(A, B)) -> bool", charges=True),
    "size": tuple(
        overload(signature, _size, charges=True)
        for kind in ("bytes", "list(A)", "map(A, B)", "string")
        for signature in (f"({kind}) -> int", f"{kind}.() -> int")
    ),
    "type": (overload("(A) -> type(A)", _type_of),),
    "dyn": (overload("(A) -> dyn", _same),),
    "bool": (overload("(bool) -> bool", _same), overload("(string) -> bool", _to_bool)),
    "bytes": (overload("(bytes) -> bytes", _same), overload("(string) -> bytes", _encode, charges=True)),
    "double": tuple(overload(f"({kind}) -> double", to_double) for kind in (*_NUMBERS, "string")),
    "int": tuple(
        overload(f"({kind}) -> int", to_int) for kind in (*_NUMBERS, "string", "timestamp", "duration")
    ),
    "uint": tuple(overload(f"({kind}) -> uint", to_uint) for kind in (*_NUMBERS, "string")),
    "string": (
        overload("(string) -> string", _same),
        overload("(bool) -> string", lambda value: "true" if value else "false"),
        overload("(bytes) -> string", _from_bytes, charges=True),
        overload("(double) -> string", show_double),
        overload("(int) -> string", str),
        overload("(uint) -> string", lambda value: str(int(value))),
    ),
    "contains": (overload("string.(string) -> bool", _contains, charges=True),),
    "endsWith": (overload("string.(string) -> bool", str.endswith),),
    "startsWith": (overload("string.(string) -> bool", str.startswith),),
    "matches": (
        overload("(string, string) -> bool", _matches, charges=True),
        overload("string.(string) -> bool", _matches, charges=True),
    ),
}
