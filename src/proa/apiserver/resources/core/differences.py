"""Show how two objects differ, for refusals that say that something has changed."""

from __future__ import annotations

import orjson

from proa.client.protocol import Object


def show_difference(old: Object, new: Object) -> str:
    """Return a unified diff of the two as JSON."""
    import difflib

    before, after = (
        orjson.dumps(spec, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode().splitlines()
        for spec in (old, new)
    )
    return "\n".join(list(difflib.unified_diff(before, after, lineterm="", n=2))[2:])
