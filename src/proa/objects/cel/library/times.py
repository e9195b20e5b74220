"""Timestamps and durations, with time zones (cel-go common/types/timestamp.go, duration.go, cel/library.go)."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from proa.objects.cel.errors import CelRuntimeError
from proa.objects.cel.functions import Functions, Overload, overload
from proa.objects.cel.values import SECOND, Duration, Timestamp, checked_timestamp, parse_duration

_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d{1,40}))?(?:Z|([+-])(\d\d):(\d\d))\Z", re.ASCII
)
_OFFSET = re.compile(r"([+-]?)(\d\d):(\d\d)\Z", re.ASCII)


def read_timestamp(text: str) -> Timestamp:
    """Read RFC 3339; raise CelRuntimeError."""
    match = _TIMESTAMP.match(text)
    problem = CelRuntimeError(f'parsing time "{text[:100]}" as "2006-01-02T15:04:05Z07:00": cannot parse')
    if match is None:
        raise problem
    year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
    valid = 1 <= month <= 12 and hour < 24 and minute < 60 and second < 60
    if not valid or year < 1 or not 1 <= day <= calendar.monthrange(year, month)[1]:
        raise problem
    moment = calendar.timegm((year, month, day, hour, minute, second))
    if match[8]:
        offset = (int(match[9]) * 60 + int(match[10])) * 60
        moment += offset if match[8] == "-" else -offset
    fraction = int((match[7] or "0")[:9].ljust(9, "0"))
    return checked_timestamp(moment * SECOND + fraction)


def show_timestamp(moment: Timestamp) -> str:
    """Return RFC 3339 with as many digits of the second as there are."""
    seconds, fraction = divmod(moment.nanoseconds, SECOND)
    shown = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).strftime("%m-%dT%H:%M:%S")
    year = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).year
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{year:04d}-{shown}{digits}Z"


def show_duration(duration: Duration) -> str:
    """Return seconds, as `3600s`."""
    whole, fraction = divmod(abs(duration.nanoseconds), SECOND)
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{'-' if duration.nanoseconds < 0 else ''}{whole}{digits}s"


def _timestamp_of(seconds: int) -> Timestamp:
    return checked_timestamp(seconds * SECOND)


def _duration_of(text: str) -> Duration:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise CelRuntimeError(str(error)) from None


def _local(moment: Timestamp, zone: str) -> datetime:
    utc = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment.nanoseconds // 1000)
    try:
        return utc.astimezone(_zone(zone))
    except OverflowError:
        raise CelRuntimeError("timestamp overflow") from None


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    if name in ("UTC", ""):
        return UTC
    match = _OFFSET.match(name)
    if match:
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        if offset >= timedelta(hours=24):
            raise CelRuntimeError(f"unknown time zone {name}")
        return timezone(-offset if match[1] == "-" else offset)
    if len(name) > 64 or not re.fullmatch(r"[A-Za-z0-9_+/-]+", name, re.ASCII) or name.startswith("/"):
        raise CelRuntimeError(f"unknown time zone {name[:64]}")
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise CelRuntimeError(f"unknown time zone {name}") from None


def _part(read: Callable[[datetime], int]) -> tuple[Overload, ...]:
    return (
        overload("timestamp.() -> int", lambda moment: read(_local(moment, ""))),
        overload("timestamp.(string) -> int", lambda moment, zone: read(_local(moment, zone))),
    )


def _whole(nanoseconds: int) -> Overload:
    def count(duration: Duration) -> int:
        whole = abs(duration.nanoseconds) // nanoseconds
        return whole if duration.nanoseconds >= 0 else -whole

    return overload("duration.() -> int", count)


def _same(value: Any) -> Any:
    return value


FUNCTIONS: Functions = {
    "timestamp": (
        overload("(timestamp) -> timestamp", _same),
        overload("(int) -> timestamp", _timestamp_of),
        overload("(string) -> timestamp", read_timestamp),
    ),
    "duration": (
        overload("(duration) -> duration", _same),
        overload("(string) -> duration", _duration_of),
    ),
    "string": (
        overload("(timestamp) -> string", show_timestamp),
        overload("(duration) -> string", show_duration),
    ),
    "getFullYear": _part(lambda moment: moment.year),
    "getMonth": _part(lambda moment: moment.month - 1),
    "getDayOfYear": _part(lambda moment: moment.timetuple().tm_yday - 1),
    "getDayOfMonth": _part(lambda moment: moment.day - 1),
    "getDate": _part(lambda moment: moment.day),
    "getDayOfWeek": _part(lambda moment: (moment.weekday() + 1) % 7),
    "getHours": (*_part(lambda moment: moment.hour), _whole(3600 * SECOND)),
    "getMinutes": (*_part(lambda moment: moment.minute), _whole(60 * SECOND)),
    "getSeconds": (*_part(lambda moment: moment.second), _whole(SECOND)),
    "getMilliseconds": (*_part(lambda moment: moment.microsecond // 1000), _whole(SECOND // 1000)),
}
