"""Put values in the place of placeholders: `{{$.inputs.parameters['x']}}`, and Concat and IfPresent written as JSON.

A template is read once: what a value brings along is never read as a placeholder. Values go into a pod's command, where
Kubernetes expands `$(NAME)` and `$$`; so their dollars are doubled, while those of the template stay as the author
wrote them. Source: backend/src/v2/driver/util.go, compileCmdAndArgs of launcher_v2.go, dsl/placeholders.py of the SDK.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Sequence

Key = str | int
LookUp = Callable[[tuple[Key, ...]], str | None]
"""What a placeholder's path stands for; None leaves it as it is. The path of `{{$}}` is empty."""

_STEP = r"\.[A-Za-z_][A-Za-z0-9_-]*|\[(?:'[^'\]]*'|\"[^\"\]]*\"|[0-9]{1,6})\]"
_PLACEHOLDER = re.compile(r"\{\{\$((?:" + _STEP + r")*)\}\}")
_KEY = re.compile(_STEP)
_STRUCTURES = ('{"Concat":', '{"IfPresent":')
_DEEPEST = 32


def substitute(template: str, look_up: LookUp, *, for_command: bool = False) -> str:
    """Return the template with what its placeholders stand for; `for_command` doubles the dollars of values."""

    def replace(match: re.Match[str]) -> str:
        value = look_up(parse_path(match[1]))
        if value is None:
            return match[0]
        return value.replace("$", "$$") if for_command else value

    return _PLACEHOLDER.sub(replace, template)


def parse_path(text: str) -> tuple[Key, ...]:
    """Return the keys of `.inputs.parameters['x'][0]`."""
    return tuple(_parse_key(match[0]) for match in _KEY.finditer(text))


def expand_structures(words: Sequence[str], present: Container[str]) -> list[str]:
    """Return the words of a command with Concat and IfPresent worked out; `present` are the inputs that have values.

    Raises ValueError for a structure that is not one.
    """
    expanded: list[str] = []
    for word in words:
        if word.lstrip().startswith(_STRUCTURES):
            expanded += _expand(json.loads(word), present, 0)
        else:
            expanded.append(word)
    return expanded


def _parse_key(text: str) -> Key:
    if text.startswith("."):
        return text[1:]
    inner = text[1:-1]
    return int(inner) if inner.isdigit() else inner[1:-1]


def _expand(node: object, present: Container[str], depth: int) -> list[str]:
    if depth > _DEEPEST:
        raise ValueError(f"placeholders are nested more than {_DEEPEST} deep")
    if isinstance(node, str):
        return [node]
    if isinstance(node, list):
        return [word for item in node for word in _expand(item, present, depth + 1)]
    if isinstance(node, dict) and isinstance(items := node.get("Concat"), list):
        return ["".join(_single(item, present, depth + 1) for item in items)]
    if isinstance(node, dict) and isinstance(condition := node.get("IfPresent"), dict):
        chosen = condition.get("Then" if condition.get("InputName") in present else "Else")
        return [] if chosen is None else _expand(chosen, present, depth + 1)
    raise ValueError(f"neither a string nor Concat nor IfPresent: {json.dumps(node)[:80]}")


def _single(node: object, present: Container[str], depth: int) -> str:
    if isinstance(node, list):
        raise ValueError("a list cannot be part of Concat")
    return "".join(_expand(node, present, depth))
