"""Count what YAML that anybody may have written stands for, before it is built.

Aliases make a small text stand for a huge value ("billion laughs"), nesting costs the parser's stack, and some long
scalars take quadratic time. All of it shows in the parser's events, which cost no more than the text.
Follows the limits of gopkg.in/yaml.v3 (decode.go: allowedAliasRatio) in spirit; JSON's own limit of depth is orjson's.
"""

from __future__ import annotations

from typing import Any

MAX_DEPTH = 250
MAX_NUMBER_LENGTH = 300
_NUMBER = frozenset("0123456789:_.+-eE")


def check_size(events: Any, max_expanded_bytes: int) -> None:
    """Raise ValueError for text that is not worth its building; `events` are `yaml.parse`'s."""
    import yaml

    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str, int]] = []  # anchor, and the size of what came before
    size = 0
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor or "", size))
            sizes.pop(event.anchor or "", None)
            size += 1
            if len(open_nodes) > MAX_DEPTH:
                raise ValueError(f"yaml: exceeded max depth of {MAX_DEPTH}")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = size - before
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in {anchor for anchor, _ in open_nodes}:
                raise ValueError(f"yaml: anchor '{event.anchor}' value contains itself")
            size += sizes.get(event.anchor or "", 1)
        elif isinstance(event, yaml.ScalarEvent):
            size += len(event.value) + 1
            if event.anchor:
                sizes[event.anchor] = len(event.value) + 1
            may_be_number = event.implicit[0] or event.tag
            if may_be_number and len(event.value) > MAX_NUMBER_LENGTH and _NUMBER.issuperset(event.value):
                raise ValueError(f"yaml: a number of {len(event.value)} characters")
        if size > max_expanded_bytes:
            raise ValueError("yaml: document contains excessive aliasing")
