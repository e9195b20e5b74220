"""Write and read times as google.protobuf.Timestamp in JSON: RFC 3339, in UTC, with no more digits than needed."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from proa.ml.pipelines.api.refusals import invalid

_TIME = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_SECONDS = 253402300799.0  # 9999-12-31T23:59:59Z


def format_time(seconds: float) -> str:
    """Return "2026-01-02T03:04:05.678Z"; 0 is 1970-01-01T00:00:00Z, as upstream says of what has not happened yet."""
    millis = round(min(max(seconds, 0.0), _MAX_SECONDS) * 1000)
    text = datetime.fromtimestamp(millis // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{millis % 1000:03d}Z" if millis % 1000 else f"{text}Z"


def parse_time(text: object, path: str) -> float:
    """Return epoch seconds; raise Refusal."""
    found = _TIME.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise invalid(f"invalid google.protobuf.Timestamp value at {path}: {text!r}")
    zone = "+00:00" if found[3] in "Zz" else found[3]
    try:
        moment = datetime.fromisoformat(found[1].upper() + zone)
        return (moment - _EPOCH).total_seconds() + float(found[2] or 0)
    except (ValueError, OverflowError):
        raise invalid(f"invalid google.protobuf.Timestamp value at {path}: {text!r}") from None
