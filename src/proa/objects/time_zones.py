"""Tell how far a time zone's clocks are from UTC, and make moments of what they show, as Go's time package does.

Where clocks jump, Go chooses one of two readings (time.Date), and cron schedules depend on which. The zones are
those of the machine's tz database, or of the Python package tzdata.
"""

from __future__ import annotations

from calendar import timegm
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from time import localtime
from typing import NamedTuple


class UnknownTimeZone(LookupError):
    """There is no such zone here; the message is Go's."""


class Clock(NamedTuple):
    """What the clocks of a zone show; `weekday` is 0 on Sundays."""

    year: int
    month: int
    day: int
    hour: int
    minute: int
    weekday: int


class TimeZone(NamedTuple):
    """`offset(t)` is how many seconds the zone's clocks are ahead of UTC at the moment `t` (epoch seconds)."""

    name: str
    offset: Callable[[int], int]

    def clock(self, moment: int) -> Clock:
        """Return what the clocks show at a moment."""
        shown = datetime.fromtimestamp(moment + self.offset(moment), UTC)
        weekday = shown.isoweekday() % 7
        return Clock(shown.year, shown.month, shown.day, shown.hour, shown.minute, weekday)

    def moment(self, year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
        """Return when clocks show that; where they never do, or twice, what Go's time.Date says.

        `month` may be 13 and `day` one too many: they count on.
        """
        years, month = divmod(month - 1, 12)
        first = timegm((year + years, month + 1, 1, hour, minute, 0))
        as_if_utc = first + (day - 1) * 86400
        return as_if_utc - self.offset(as_if_utc - self.offset(as_if_utc))

    def format(self, moment: float) -> str:
        """Return RFC 3339 with the zone's offset."""
        offset = self.offset(int(moment))
        shown = datetime.fromtimestamp(int(moment) + offset, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        if not offset:
            return f"{shown}Z"
        hours, minutes = divmod(abs(offset) // 60, 60)
        return f"{shown}{'+' if offset > 0 else '-'}{hours:02}:{minutes:02}"


UTC_ZONE = TimeZone("UTC", lambda moment: 0)
LOCAL_ZONE = TimeZone("Local", lambda moment: localtime(moment).tm_gmtoff)
"""The machine's own."""


@cache
def find_time_zone(name: str) -> TimeZone:
    """Return a zone of the tz database ("" and "UTC" are UTC, "Local" is the machine's); raise UnknownTimeZone."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # only CronJobs with time zones need it

    if name in ("", "UTC"):
        return UTC_ZONE
    if name == "Local":
        return LOCAL_ZONE
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UnknownTimeZone(f"unknown time zone {name}{_why()}") from None

    def offset(moment: int) -> int:
        ahead = datetime.fromtimestamp(moment, zone).utcoffset()
        return int(ahead.total_seconds()) if ahead is not None else 0

    return TimeZone(name, offset)


def _why() -> str:
    from importlib.util import find_spec
    from pathlib import Path
    from zoneinfo import TZPATH

    if find_spec("tzdata") is not None or any(map(Path.is_dir, map(Path, TZPATH))):
        return ""
    return ": there is no time zone database here; install the system's, or the Python package tzdata"
