"""Times of metrics' points on the wire: RFC 3339 with up to nine digits of a second; seconds since the epoch here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from proa.objects import meta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_time(text: str) -> float:
    """Return the seconds since the epoch; raise ValueError for what is no RFC 3339 time."""
    try:
        return meta.parse_time(text)
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:80]!r} is no time such as 2006-01-02T15:04:05Z") from None


def write_time(seconds: float) -> str:
    """Return an RFC 3339 time in UTC, with as many digits as it takes."""
    moment = _EPOCH + timedelta(microseconds=round(seconds * 1e6))
    fraction = f"{moment.microsecond:06}".rstrip("0")
    return moment.strftime("%Y-%m-%dT%H:%M:%S").zfill(19) + (f".{fraction}" if fraction else "") + "Z"
