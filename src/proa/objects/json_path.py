"""Find values in objects by the JSONPath that Kubernetes knows: `.status.conditions[?(@.type=="Ready")].status`.

Fields, ['quoted'] fields, indices, slices, unions, `*`, `..` and filters. What is missing is not found, never wrong.
Follows client-go/util/jsonpath. A path is parsed once; how much one search visits is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

Step = Callable[[Any], Iterable[Any]]
MAX_VISITS = 10_000
MAX_STEPS = 100
_FIELD = re.compile(r"(?:\\.|[^.\[\]\s\\])+")
_INDEX = re.compile(r"-?\d+\Z")
_SLICE = re.compile(r"(-?\d*):(-?\d*)(?::(-?\d*))?\Z")
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_FILTER = re.compile(r"\?\((.*)\)\Z", re.S)
_COMPARISON = re.compile(r"(==|!=|<=|>=|<|>)")


class BadJsonPath(ValueError):
    """The path cannot be read."""


@lru_cache(maxsize=2048)
def parse_json_path(path: str) -> tuple[Step, ...]:
    """Return the steps of a path such as .spec.replicas; raise BadJsonPath."""
    steps: list[Step] = []
    position = 1 if path.startswith(("$", "@")) else 0
    while position < len(path):
        if path.startswith("..", position):
            steps.append(_descend)
            position += 1 if path[position + 2 : position + 3] not in ("[", "") else 2
        elif path[position] == ".":
            position += 1
            if position == len(path) or path[position] == "[":
                continue
            if path[position] == "*":
                steps.append(_all)
                position += 1
                continue
            found = _FIELD.match(path, position)
            if found is None:
                raise BadJsonPath(f"unrecognized character in action: {path[position:]!r}")
            steps.append(_field(re.sub(r"\\(.)", r"\1", found[0])))
            position = found.end()
        elif path[position] == "[":
            end = _closing(path, position)
            steps.append(_subscript(path[position + 1 : end].strip()))
            position = end + 1
        else:
            raise BadJsonPath(f"unrecognized character in action: {path[position:]!r}")
        if len(steps) > MAX_STEPS:
            raise BadJsonPath("too many steps")
    return tuple(steps)


def find_values(obj: Any, steps: Iterable[Step]) -> list[Any]:
    """Return what a path leads to, in order; nothing once too much would have to be visited."""
    found = [obj]
    visits = 0
    for step in steps:
        below: list[Any] = []
        for value in found:
            for item in step(value):
                visits += 1
                if visits > MAX_VISITS:
                    return []
                below.append(item)
        found = below
    return found


def _closing(path: str, start: int) -> int:
    """Return where the bracket closes that opens at `start`, quotes and brackets within passed over."""
    depth, position = 0, start
    while position < len(path):
        quoted = _QUOTED.match(path, position)
        if quoted is not None:
            position = quoted.end()
            continue
        depth += (path[position] == "[") - (path[position] == "]")
        if not depth:
            return position
        position += 1
    raise BadJsonPath("unterminated array")


def _field(name: str) -> Step:
    def step(value: Any) -> Iterable[Any]:
        return (value[name],) if isinstance(value, dict) and name in value else ()

    return step


def _all(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return [value[key] for key in sorted(value)]
    return value if isinstance(value, list) else ()


def _descend(value: Any) -> Iterator[Any]:
    yield value
    for item in _all(value):
        yield from _descend(item)


def _subscript(text: str) -> Step:
    if text == "*":
        return _all
    if found := _FILTER.match(text):
        return _filter(found[1])
    if _QUOTED.fullmatch(text):
        return _field(_unquoted(text))
    if _INDEX.match(text):
        return _index(int(text))
    if found := _SLICE.match(text):
        start, stop, stride = (int(part) if part else None for part in found.groups())
        if stride is not None and stride <= 0:
            raise BadJsonPath("step must be > 0")
        return lambda value: value[start:stop:stride] if isinstance(value, list) else ()
    parts = [part.strip() for part in _split(text)]
    if len(parts) > 1:
        steps = [_subscript(part) for part in parts]
        return lambda value: [item for step in steps for item in step(value)]
    raise BadJsonPath(f"invalid array index {text}")


def _split(text: str) -> list[str]:
    parts, last, position = [], 0, 0
    while position < len(text):
        quoted = _QUOTED.match(text, position)
        if quoted is not None:
            position = quoted.end()
            continue
        if text[position] == ",":
            parts.append(text[last:position])
            last = position + 1
        position += 1
    return [*parts, text[last:]]


def _index(number: int) -> Step:
    def step(value: Any) -> Iterable[Any]:
        if not isinstance(value, list) or not -len(value) <= number < len(value):
            return ()
        return (value[number],)

    return step


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _filter(text: str) -> Step:
    left, operator, right = _comparison(text)
    first, second = _operand(left), _operand(right) if operator else None

    def passes(item: Any) -> bool:
        found = first(item)
        if second is None:
            return bool(found)
        others = second(item)
        return bool(found) and bool(others) and _compare(found[0], operator, others[0])

    return lambda value: [item for item in value if passes(item)] if isinstance(value, list) else ()


def _comparison(text: str) -> tuple[str, str, str]:
    position = 0
    while position < len(text):
        quoted = _QUOTED.match(text, position)
        if quoted is not None:
            position = quoted.end()
            continue
        found = _COMPARISON.match(text, position)
        if found is not None:
            return text[:position].strip(), found[0], text[found.end() :].strip()
        position += 1
    return text.strip(), "", ""


def _operand(text: str) -> Callable[[Any], list[Any]]:
    if text.startswith("@"):
        steps = parse_json_path(text)
        return lambda item: find_values(item, steps)
    if _QUOTED.fullmatch(text):
        constant: Any = _unquoted(text)
    elif text in ("true", "false"):
        constant = text == "true"
    else:
        try:
            constant = float(text) if "." in text or "e" in text else int(text)
        except ValueError:
            raise BadJsonPath(f"unrecognized identifier {text}") from None
    return lambda item: [constant]


def _compare(left: Any, operator: str, right: Any) -> bool:
    if operator == "==":
        return bool(left == right)
    if operator == "!=":
        return bool(left != right)
    if isinstance(left, bool) or isinstance(right, bool):
        return False
    numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
    if not numbers and not (isinstance(left, str) and isinstance(right, str)):
        return False
    return bool({"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator])
