"""Read durations as Gateway API has them (GEP-2257: `1h30m`). Pure."""

from __future__ import annotations

import re

_PART = re.compile(r"([0-9]{1,5})(h|ms|m|s)")
_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def read_duration(text: str | None) -> float | None:
    """Return the seconds; None for none, and for 0, which is no limit."""
    if not text:
        return None
    return sum(int(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(text)) or None
