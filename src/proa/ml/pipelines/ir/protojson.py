"""Read JSON as protobuf's JSON mapping reads a message: known fields only, right types, one name for each field.

What comes out has camelCase names and no nulls; fields of messages may come in by either name, keys of maps are left
as they are. Numbers are numbers and enums are names. Follows google.golang.org/protobuf/encoding/protojson (decode.go).
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from typing import Any

from proa.ml.pipelines.ir.problems import Problems
from proa.ml.pipelines.ir.schema import ENUMS, MESSAGES, ONEOFS
from proa.objects.validation import quote

MAX_DEPTH = 250
_LIMITS = {"int32": 2**31, "int64": 2**63}
_DURATION = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,9})?s")
_INTEGER = re.compile(r"-?[0-9]{1,19}")


def read_message(name: str, value: object, path: str, problems: Problems) -> dict[str, Any]:
    """Return `value` as message `name`, noting in `problems` what is wrong; what is wrong is left out."""
    if not isinstance(value, Mapping):
        problems.add(path, f"expected an object, got {_kind(value)}")
        return {}
    types, known = MESSAGES[name], _names(name)
    read: dict[str, Any] = {}
    for key, part in value.items():
        place = f"{path}.{key}" if path else str(key)
        field = known.get(key)
        if field is None:
            problems.add(place, f"unknown field {quote(str(key))}; known: {', '.join(types) or 'none'}")
        elif field in read:
            problems.add(place, f"duplicate field {quote(field)}")
        elif part is not None or types[field] == "any":
            read[field] = _read(types[field], part, place, problems)
    for choices in ONEOFS.get(name, ()):
        given = [field for field in choices if field in read]
        if len(given) > 1:
            problems.add(path, f"only one of {', '.join(choices)} may be set, got {', '.join(given)}")
    return read


@functools.cache
def _names(name: str) -> dict[str, str]:
    """Return the field that each name of a message's stands for."""
    fields = MESSAGES[name]
    return {re.sub("[A-Z]", lambda m: "_" + m[0].lower(), field): field for field in fields} | {
        field: field for field in fields
    }


def _read(word: str, value: object, path: str, problems: Problems) -> Any:
    if word.startswith("[]"):
        if not isinstance(value, list | tuple):
            problems.add(path, f"expected a list, got {_kind(value)}")
            return []
        return [_read(word[2:], item, f"{path}[{index}]", problems) for index, item in enumerate(value)]
    if word.startswith("{}"):
        if not isinstance(value, Mapping):
            problems.add(path, f"expected an object, got {_kind(value)}")
            return {}
        return {
            str(key): _read(word[2:], item, f"{path}[{key}]", problems)
            for key, item in value.items()
            if _is_key(key, path, problems)
        }
    if word in MESSAGES:
        return read_message(word, value, path, problems)
    if word.startswith("enum "):
        return _read_enum(ENUMS[word[5:]], value, path, problems)
    return _SCALARS[word](word, value, path, problems)


def _is_key(key: object, path: str, problems: Problems) -> bool:
    if not isinstance(key, str):
        problems.add(path, f"expected keys that are strings, got {key!r}")
    return isinstance(key, str)


def _read_enum(names: tuple[str, ...], value: object, path: str, problems: Problems) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return names[value]
    if not isinstance(value, str) or value not in names:
        problems.add(path, f"{_shown(value)} is none of {', '.join(names[1:])}")
        return names[0]
    return value


def _read_string(word: str, value: object, path: str, problems: Problems) -> str:
    if not isinstance(value, str):
        problems.add(path, f"expected a string, got {_kind(value)}")
        return ""
    return value


def _read_bool(word: str, value: object, path: str, problems: Problems) -> bool:
    if not isinstance(value, bool):
        problems.add(path, f"expected true or false, got {_kind(value)}")
    return value is True


def _read_integer(word: str, value: object, path: str, problems: Problems) -> int:
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif (isinstance(value, float) and value.is_integer()) or (
        isinstance(value, str) and _INTEGER.fullmatch(value)
    ):
        number = int(value)
    if number is None or not -_LIMITS[word] <= number < _LIMITS[word]:
        problems.add(path, f"expected an integer ({word}), got {_shown(value)}")
        return 0
    return number


def _read_double(word: str, value: object, path: str, problems: Problems) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value):
        return value
    if isinstance(value, str) and len(value) < 50:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
    problems.add(path, f"expected a number, got {_shown(value)}")
    return 0.0


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no double holds
        return False


def _read_duration(word: str, value: object, path: str, problems: Problems) -> str:
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        problems.add(path, f'expected a duration in seconds such as "30s", got {_shown(value)}')
        return "0s"
    return value


def _read_struct(word: str, value: object, path: str, problems: Problems) -> Any:
    if not isinstance(value, Mapping):
        problems.add(path, f"expected an object, got {_kind(value)}")
        return {}
    return read_json(value, path, problems)


def _read_any(word: str, value: object, path: str, problems: Problems) -> Any:
    return read_json(value, path, problems)


_SCALARS = {
    "string": _read_string,
    "bool": _read_bool,
    "int32": _read_integer,
    "int64": _read_integer,
    "double": _read_double,
    "duration": _read_duration,
    "struct": _read_struct,
    "any": _read_any,
}


def read_json(value: object, path: str, problems: Problems, depth: int = 0) -> Any:
    """Return a copy of `value`, which must be what JSON can say."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int | float) and _is_finite(value):
        return _as_written(value)
    if depth >= MAX_DEPTH:
        problems.add(path, f"nested deeper than {MAX_DEPTH}")
        return None
    if isinstance(value, Mapping):
        return {
            key: read_json(item, f"{path}[{key}]", problems, depth + 1)
            for key, item in value.items()
            if _is_key(key, path, problems)
        }
    if isinstance(value, list | tuple):
        return [read_json(item, f"{path}[{i}]", problems, depth + 1) for i, item in enumerate(value)]
    problems.add(path, f"expected what JSON can say, got {_shown(value)}")
    return None


def _as_written(number: float) -> float:
    """Return a number as protobuf writes it again: the SDK writes 7.0 for every 7, which Go writes as 7."""
    if isinstance(number, float):
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    return number if abs(number) < 2**63 else float(number)


def _kind(value: object) -> str:
    kinds = ((bool, "a bool"), (str, "a string"), (int, "a number"), (float, "a number"), (list, "a list"))
    if value is None:
        return "null"
    return next((word for kind, word in kinds if isinstance(value, kind)), "an object")


def _shown(value: object) -> str:
    """Return a short form of a value for a message."""
    if isinstance(value, str):
        return quote(value if len(value) <= 60 else value[:60] + "…")
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        return _kind(value)
    return repr(value)
