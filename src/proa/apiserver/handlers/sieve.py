"""Tell from its bytes that a stored object is none that a selector picks, so that it need not be decoded.

What a selector demands of labels, and of fields that stand in the object as they are (`verbatim_fields`), stands in the
JSON of each object that it picks: keys and values of labels look the same there. Objects are stored without spaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from proa.apiserver.handlers.options import Selection
from proa.store.protocol import Change

_PLAIN = re.compile(r"[A-Za-z0-9/._:-]*\Z", re.ASCII)
"""Text that looks the same in JSON."""
MAX_NEEDLES = 8


class Sieve:
    """What must stand in an object; nothing for a selector of which that cannot be told."""

    __slots__ = ("needles",)

    def __init__(self, selection: Selection) -> None:
        self.needles = tuple(_needles(selection))[:MAX_NEEDLES]

    def passes(self, value: bytes | None) -> bool:
        """Tell whether an object may be picked; False for none."""
        return value is not None and all(map(value.__contains__, self.needles))

    def passes_change(self, change: Change) -> bool:
        """Tell whether the object may be picked after a change, or may have been before."""
        return self.passes(change.value) or self.passes(change.previous)


def _needles(selection: Selection) -> Iterator[bytes]:
    if selection.definition.conversion is not None:
        return  # a webhook may change labels
    for path in selection.definition.verbatim_fields:
        value = selection.fields.required_value(path)
        if value and _PLAIN.match(value):
            yield b'"%b"' % value.encode()
    for requirement in selection.labels.requirements:
        key, values = requirement.key, requirement.values
        if not _PLAIN.match(key) or requirement.operator in ("!=", "notin", "!"):
            continue
        if requirement.operator in ("=", "==", "in") and len(values) == 1 and _PLAIN.match(values[0]):
            yield b'"%b":"%b"' % (key.encode(), values[0].encode())
        else:
            yield b'"%b":' % key.encode()
