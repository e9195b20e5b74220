"""Work with text by characters, and format it (cel-go ext/strings.go version 2, ext/formatting.go)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from proa.objects.cel.budget import Budget
from proa.objects.cel.errors import CelRuntimeError
from proa.objects.cel.functions import Functions, overload
from proa.objects.cel.library.standard import show_double
from proa.objects.cel.library.times import show_duration, show_timestamp
from proa.objects.cel.operators import shown
from proa.objects.cel.values import Duration, Timestamp, TypeValue, Uint

_UPPER = {code: code - 32 for code in range(97, 123)}
_LOWER = {code: code + 32 for code in range(65, 91)}
_CLAUSE = re.compile(r"%(?:%|(?:\.([0-9]{1,4}))?(.?))", re.DOTALL)
_MAX_PRECISION = 1000
_SPACE = " \t\n\v\f\r\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029" \
         "\u202f\u205f\u3000"  # fmt: skip


def _out_of_range(at: int) -> CelRuntimeError:
    return CelRuntimeError(f"index out of range: {at}")


def _char_at(text: str, at: int) -> str:
    if not 0 <= at <= len(text):
        raise _out_of_range(at)
    return text[at : at + 1]


def _index_of(text: str, part: str, budget: Budget) -> int:
    return _index_from(text, part, 0, budget)


def _index_from(text: str, part: str, start: int, budget: Budget) -> int:
    budget.charge(len(text) // 10)
    if part == "":
        return start
    if not 0 <= start < len(text):
        if start >= 0 and start == len(text):
            return -1
        raise _out_of_range(start)
    return text.find(part, start)


def _last_index_of(text: str, part: str, budget: Budget) -> int:
    budget.charge(len(text) // 10)
    return len(text) if part == "" else text.rfind(part)


def _last_index_to(text: str, part: str, end: int, budget: Budget) -> int:
    budget.charge(len(text) // 10)
    if part == "":
        return end
    if not 0 <= end < len(text):
        if end >= 0 and end == len(text):
            return -1
        raise _out_of_range(end)
    return text.rfind(part, 0, end + len(part))


def _case(table: dict[int, int]) -> Callable[[str, Budget], str]:
    def change(text: str, budget: Budget) -> str:
        budget.charge(len(text) // 10)
        return text.translate(table)

    return change


def _replace(text: str, old: str, new: str, budget: Budget) -> str:
    return _replace_some(text, old, new, -1, budget)


def _replace_some(text: str, old: str, new: str, most: int, budget: Budget) -> str:
    count = text.count(old)
    if most >= 0:
        count = min(count, most)
    budget.charge((len(text) + count * (len(new) + 1)) // 10)
    return text.replace(old, new, count)


def _split(text: str, separator: str, budget: Budget) -> list[str]:
    return _split_some(text, separator, -1, budget)


def _split_some(text: str, separator: str, most: int, budget: Budget) -> list[str]:
    budget.charge(len(text) // 10)
    if most == 0:
        return []
    if separator == "":
        budget.charge(len(text))
        if most < 0 or most >= len(text):
            return list(text)
        return [*text[: most - 1], text[most - 1 :]]
    budget.charge(text.count(separator))
    return text.split(separator, -1 if most < 0 else most - 1)


def _substring_from(text: str, start: int) -> str:
    if not 0 <= start <= len(text):
        raise _out_of_range(start)
    return text[start:]


def _substring(text: str, start: int, end: int) -> str:
    if start > end:
        raise CelRuntimeError(f"invalid substring range. start: {start}, end: {end}")
    for at in (start, end):
        if not 0 <= at <= len(text):
            raise _out_of_range(at)
    return text[start:end]


def _trim(text: str, budget: Budget) -> str:
    budget.charge(len(text) // 10)
    return text.strip(_SPACE)


def _join(items: list[Any], budget: Budget) -> str:
    return _join_with(items, "", budget)


def _join_with(items: list[Any], separator: str, budget: Budget) -> str:
    budget.charge(len(items))
    for item in items:
        if type(item) is not str:
            raise CelRuntimeError(f"join: invalid input: {item!r:.100}")
    budget.charge((sum(map(len, items)) + len(separator) * len(items)) // 10)
    return separator.join(items)


_QUOTED = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\",
           '"': '\\"'}  # fmt: skip


def _quote(text: str, budget: Budget) -> str:
    budget.charge(len(text) // 5)
    return '"' + "".join(_QUOTED.get(c, c) for c in text) + '"'


# --- format


def _format(text: str, arguments: list[Any], budget: Budget) -> str:
    made: list[str] = []
    used = at = 0
    for clause in _CLAUSE.finditer(text):
        made.append(text[at : clause.start()])
        at = clause.end()
        if clause[0] == "%%":
            made.append("%")
            continue
        verb = clause[2]
        if not verb:
            raise CelRuntimeError("unexpected end of string")
        if used >= len(arguments):
            raise CelRuntimeError(f"index {used} out of range")
        precision = 6 if clause[1] is None else int(clause[1])
        made.append(_formatted(verb, arguments[used], precision, budget))
        used += 1
        budget.charge(1 + len(made[-1]) // 10)
    budget.charge(len(text) // 10)
    return "".join([*made, text[at:]])


def _formatted(verb: str, value: Any, precision: int, budget: Budget) -> str:
    formatter = _VERBS.get(verb)
    if formatter is None:
        raise CelRuntimeError(f'could not parse formatting clause: unrecognized formatting clause "{verb}"')
    if precision > _MAX_PRECISION:
        raise CelRuntimeError(f"could not parse formatting clause: precision {precision} is too large")
    return formatter(value, precision, budget)


def _refused(verb: str, value: Any) -> CelRuntimeError:
    return CelRuntimeError(f"error during formatting: {verb} clause cannot be used on {type(value).__name__}")


def _plain(value: Any, precision: int, budget: Budget) -> str:
    """%s: everything, lists and maps included."""
    budget.charge(1)
    kind = type(value)
    if kind is str:
        return str(value)
    if value is None:
        return "null"
    if kind is float:
        return show_double(value)
    if kind in (bool, int, Uint):
        return shown(value)
    if kind is bytes:
        return str(value.decode(errors="replace"))
    if kind is Timestamp:
        return show_timestamp(value)
    if kind is Duration:
        return show_duration(value)
    if kind is TypeValue:
        return str(value.name)
    if kind is list:
        return "[" + ", ".join(_plain(item, precision, budget) for item in value) + "]"
    if kind is dict:
        pairs = sorted((_plain(k, precision, budget), _plain(v, precision, budget)) for k, v in value.items())
        return "{" + ", ".join(f"{key}: {item}" for key, item in pairs) + "}"
    raise _refused("string", value)


def _decimal(value: Any, precision: int, budget: Budget) -> str:
    if type(value) in (int, Uint):
        return str(int(value))
    if type(value) is float and (math.isnan(value) or math.isinf(value)):
        return show_double(value)
    raise _refused("decimal", value)


def _fixed(value: Any, precision: int, budget: Budget) -> str:
    return _real("fixed-point", "f", value, precision)


def _scientific(value: Any, precision: int, budget: Budget) -> str:
    return _real("scientific", "e", value, precision)


def _real(name: str, verb: str, value: Any, precision: int) -> str:
    if type(value) not in (int, Uint, float):
        raise _refused(name, value)
    number = float(value)
    if math.isnan(number) or math.isinf(number):
        return show_double(number)
    return f"{number:.{precision}{verb}}"


def _binary(value: Any, precision: int, budget: Budget) -> str:
    if type(value) in (int, Uint, bool):
        return f"{int(value):b}"
    raise _refused("binary", value)


def _octal(value: Any, precision: int, budget: Budget) -> str:
    if type(value) in (int, Uint):
        return f"{int(value):o}"
    raise _refused("octal", value)


def _hex(upper: bool) -> Callable[[Any, int, Budget], str]:
    def formatted(value: Any, precision: int, budget: Budget) -> str:
        if type(value) in (int, Uint):
            text = f"{int(value):x}"
        elif type(value) in (str, bytes):
            budget.charge(len(value) // 5)
            text = (value.encode() if type(value) is str else value).hex()
        else:
            raise _refused("hex", value)
        return text.upper() if upper else text

    return formatted


_VERBS: dict[str, Callable[[Any, int, Budget], str]] = {
    "s": _plain, "d": _decimal, "f": _fixed, "e": _scientific, "b": _binary, "o": _octal, "x": _hex(False),
    "X": _hex(True),
}  # fmt: skip

FUNCTIONS: Functions = {
    "charAt": (overload("string.(int) -> string", _char_at),),
    "indexOf": (
        overload("string.(string) -> int", _index_of, charges=True),
        overload("string.(string, int) -> int", _index_from, charges=True),
    ),
    "lastIndexOf": (
        overload("string.(string) -> int", _last_index_of, charges=True),
        overload("string.(string, int) -> int", _last_index_to, charges=True),
    ),
    "lowerAscii": (overload("string.() -> string", _case(_LOWER), charges=True),),
    "upperAscii": (overload("string.() -> string", _case(_UPPER), charges=True),),
    "replace": (
        overload("string.(string, string) -> string", _replace, charges=True),
        overload("string.(string, string, int) -> string", _replace_some, charges=True),
    ),
    "split": (
        overload("string.(string) -> list(string)", _split, charges=True),
        overload("string.(string, int) -> list(string)", _split_some, charges=True),
    ),
    "substring": (
        overload("string.(int) -> string", _substring_from),
        overload("string.(int, int) -> string", _substring),
    ),
    "trim": (overload("string.() -> string", _trim, charges=True),),
    "format": (overload("string.(list(dyn)) -> string", _format, charges=True),),
    "strings.quote": (overload("(string) -> string", _quote, charges=True),),
    "join": (
        overload("list(string).() -> string", _join, charges=True),
        overload("list(string).(string) -> string", _join_with, charges=True),
    ),
}
