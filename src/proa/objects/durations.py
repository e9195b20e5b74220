"""Read durations as Go writes them, exactly: `1h30m`, `-1.5s`, `0`.

Follows ParseDuration of Go's package time, whose words the errors have.
"""

from __future__ import annotations

import re

SECOND = 1_000_000_000
"""Nanoseconds."""
MOST = 2**63 - 1
MAX_LENGTH = 100
"""Of the text: none that is meant is longer."""
_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": SECOND, "m": 60 * SECOND,
          "h": 3600 * SECOND}  # fmt: skip
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([^0-9.]*)")


def parse_duration(text: str) -> int:
    """Return nanoseconds; raise ValueError in Go's words."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0
    if not rest or len(rest) > MAX_LENGTH:
        raise ValueError(f'time: invalid duration "{text[:MAX_LENGTH]}"')
    total = at = 0
    while at < len(rest):
        match = _PART.match(rest, at)
        if match is None:
            raise ValueError(f'time: invalid duration "{text}"')
        number, unit = match.groups()
        if not unit:
            raise ValueError(f'time: missing unit in duration "{text}"')
        if unit not in _UNITS:
            raise ValueError(f'time: unknown unit "{unit}" in duration "{text}"')
        whole, _, fraction = number.partition(".")
        total += int(whole or 0) * _UNITS[unit]
        total += int(fraction) * _UNITS[unit] // 10 ** len(fraction) if fraction else 0
        at = match.end()
    if total > MOST:
        raise ValueError(f'time: invalid duration "{text}"')
    return -total if text.startswith("-") else total
