"""Read YAML that anybody may have written: what it stands for is counted before it is built.

Aliases make a small text stand for a huge value ("billion laughs"), nesting costs the parser's stack, and some long
scalars take quadratic time. All of it shows in the parser's events, which cost no more than the text.
Follows the limits of gopkg.in/yaml.v3 (decode.go: allowedAliasRatio) in spirit; JSON's own limit of depth is orjson's.
"""

from __future__ import annotations

from typing import Any

import orjson

from proa.objects.errors import BadRequest
from proa.objects.validation import quote

MAX_DEPTH = 250
MAX_EXPANDED_BYTES = 12 * 1024 * 1024
MAX_NUMBER_LENGTH = 300
_NUMBER = frozenset("0123456789:_.+-eE")


def load_yaml(body: bytes) -> Any:
    """Return the one document as JSON would have it; raise BadRequest."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check(yaml.parse(body, Loader=loader))
        value = yaml.load(body, Loader=loader)  # noqa: S506 safe loaders only
        return orjson.loads(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS))
    except (yaml.YAMLError, orjson.JSONEncodeError, ValueError) as error:
        raise BadRequest(f"error converting YAML to JSON: {error}") from None


def _check(events: Any) -> None:
    """Raise ValueError for a document that is not worth its building."""
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
        if size > MAX_EXPANDED_BYTES:
            raise ValueError("yaml: document contains excessive aliasing")


def find_repeated_keys(body: bytes) -> list[str]:
    """Return what yaml.v2 says of keys that one mapping has twice; the text was read once already."""
    import yaml

    found: list[str] = []
    nodes: list[Any] = [yaml.compose(body, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))]
    seen: set[int] = set()
    for node in nodes:  # grows while it is walked
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                if key.value in keys:
                    line = key.start_mark.line + 1
                    found.append(f"line {line}: key {quote(str(key.value))} already set in map")
                keys.add(key.value)
                nodes.append(value)
    return found
