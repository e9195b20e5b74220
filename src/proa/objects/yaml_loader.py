"""Read YAML as Kubernetes' readers do: true and false are the only booleans, dates and clock times are strings.

PyYAML reads YAML 1.1, where `on`, `yes`, `12:30` and `2024-01-01` are not strings. A key that a mapping has twice is
refused. How much a text may stand for, yaml_limits.py says. Follows gopkg.in/yaml.v3 (resolve.go).
"""

from __future__ import annotations

import functools
import re
from typing import Any

_WORDS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0b[01]+|0o?[0-7]+|0x[0-9a-fA-F]+|0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.nan", "-+.0123456789"),
    ("merge", r"<<", "<"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
)  # fmt: skip


@functools.cache
def make_loader() -> Any:
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
