"""Every property that a schema may have can be written in CEL, by escaping what is no identifier there.

Follows apiserver/pkg/cel/escaping.go.
"""

from __future__ import annotations

import re

RESERVED = frozenset({
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
    "loop", "package", "namespace", "return", "var", "void", "while",
})  # fmt: skip
_EXPRESSIBLE = re.compile(r"[A-Za-z_.\-/][A-Za-z0-9_.\-/]*\Z", re.ASCII)
_SEQUENCES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_TO_ESCAPE = re.compile(r"__|\.|-|/")
_ESCAPED = re.compile(r"__(underscores|dot|dash|slash)__|__")
_ORIGINALS = {"underscores": "__", "dot": ".", "dash": "-", "slash": "/"}


def escape(name: str) -> str | None:
    """Return how CEL writes a property's name, None where it cannot."""
    if not _EXPRESSIBLE.match(name):
        return None
    if name in RESERVED:
        return f"__{name}__"
    return _TO_ESCAPE.sub(lambda m: _SEQUENCES[m[0]], name)


def unescape(name: str) -> str | None:
    """Return the property that CEL's name stands for, None where it stands for none."""
    if "__" not in name:
        return name
    if name.startswith("__") and name.endswith("__") and name[2:-2] in RESERVED:
        return name[2:-2]
    if any(found[1] is None for found in _ESCAPED.finditer(name)):
        return None
    return _ESCAPED.sub(lambda m: _ORIGINALS[m[1]], name)
