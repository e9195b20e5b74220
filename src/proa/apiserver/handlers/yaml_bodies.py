"""Read the YAML of a request's body, which anybody may have written, as JSON would have it."""

from __future__ import annotations

from typing import Any

import orjson

from proa.objects.errors import BadRequest
from proa.objects.validation import quote
from proa.objects.yaml_limits import check_size

MAX_EXPANDED_BYTES = 12 * 1024 * 1024


def load_yaml(body: bytes) -> Any:
    """Return the one document as JSON would have it; raise BadRequest."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        check_size(yaml.parse(body, Loader=loader), MAX_EXPANDED_BYTES)
        value = yaml.load(body, Loader=loader)  # noqa: S506 safe loaders only
        return orjson.loads(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS))
    except (yaml.YAMLError, orjson.JSONEncodeError, ValueError) as error:
        raise BadRequest(f"error converting YAML to JSON: {error}") from None


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
