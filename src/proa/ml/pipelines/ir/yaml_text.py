"""Read YAML as upstream's reader does: true and false are the only booleans, dates and clock times are strings.

PyYAML reads YAML 1.1, where `on`, `yes`, `12:30` and `2024-01-01` are not strings; a pipeline's defaults would change
on their way. A key that a mapping has twice is refused. Follows gopkg.in/yaml.v3 (resolve.go).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from typing import Any

from proa.objects.yaml_limits import check_size

MAX_TEXT_LENGTH = 8 * 1024 * 1024
"""A second of work for each of these; JSON is read a hundred times faster."""
MAX_EXPANDED_BYTES = 2 * MAX_TEXT_LENGTH
MAX_EVENTS = 1_000_000
"""Keys, values, starts and ends: each takes up to a kilobyte when it is built. 1,000 tasks have 100,000 of them."""

_WORDS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0b[01]+|0o?[0-7]+|0x[0-9a-fA-F]+|0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.nan", "-+.0123456789"),
    ("merge", r"<<", "<"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
)  # fmt: skip


def load_documents(text: str) -> list[Any]:
    """Return the documents that are not empty; raise ValueError."""
    import yaml

    if len(text) > MAX_TEXT_LENGTH:
        raise ValueError(
            f"yaml: {len(text)} characters; at most {MAX_TEXT_LENGTH}, or send the pipeline as JSON"
        )
    loader = _make_loader()
    try:
        check_size(_counted(yaml.parse(text, Loader=loader)), MAX_EXPANDED_BYTES)
        return [document for document in yaml.load_all(text, Loader=loader) if document is not None]
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"yaml: {where}{error.problem}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"yaml: {error}") from None


def _counted(events: Iterable[Any]) -> Iterator[Any]:
    for number, event in enumerate(events):
        if number >= MAX_EVENTS:
            raise ValueError("yaml: too many keys and values; send the pipeline as JSON")
        yield event


@functools.cache
def _make_loader() -> Any:
    """Return a safe loader (libyaml's, where there is one) with the words above."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 PyYAML's own, here without YAML 1.1's

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value:
                if key.value == "<<" and key.tag.endswith(":merge"):
                    continue
                if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                    raise yaml.constructor.ConstructorError(
                        None, None, "a key is not a string", key.start_mark
                    )
                if key.value in seen:
                    problem = f'mapping key "{key.value}" already defined'
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    def construct_integer(loader: Any, node: Any) -> int:
        value = node.value.replace("0o", "0", 1)
        return int(
            yaml.constructor.SafeConstructor.construct_yaml_int(loader, yaml.ScalarNode(node.tag, value))
        )

    for tag, pattern, first in _WORDS:
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), list(first))
    Loader.add_constructor("tag:yaml.org,2002:int", construct_integer)
    return Loader
