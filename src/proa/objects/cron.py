"""Read schedules: five fields (CronJobs), six with seconds (pipelines), a name like @daily, or @every and a duration.

Follows github.com/robfig/cron parser.go (v3 ParseStandard; v1.2 Parse for six fields), whose words the errors have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from proa.objects.durations import SECOND, parse_duration
from proa.objects.quick_dataclass import dataclass


class CronError(ValueError):
    """The text is no schedule; the message says why."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one field can be, and the names that stand for numbers."""

    least: int
    most: int
    names: Mapping[str, int]


def _named(words: str, first: int) -> dict[str, int]:
    return {word: first + index for index, word in enumerate(words.split())}


MINUTES, HOURS, DAYS = Bounds(0, 59, {}), Bounds(0, 23, {}), Bounds(1, 31, {})
MONTHS = Bounds(1, 12, _named("jan feb mar apr may jun jul aug sep oct nov dec", 1))
WEEKDAYS = Bounds(0, 6, _named("sun mon tue wed thu fri sat", 0))
FIELDS = (MINUTES, HOURS, DAYS, MONTHS, WEEKDAYS)
SECONDS = Bounds(0, 59, {})
DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
EVERY = "@every "


@dataclass(frozen=True, slots=True)
class Schedule:
    """When to run: the values of each field that fit, or every so many seconds (then the fields are empty).

    A day must fit both `days` and `weekdays` where one of them is a star, else either.
    """

    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    has_star_day: bool = False
    every_seconds: float = 0.0
    zone: str = ""
    """The time zone that the text itself names (TZ=, CRON_TZ=); "" for none."""
    seconds: frozenset[int] = frozenset({0})


def parse_schedule(text: str) -> Schedule:
    """Return a schedule of five fields; raise CronError."""
    if not text:
        raise CronError("empty spec string")
    zone, text = _split_zone(text)
    if text.startswith("@"):
        return _parse_name(text, zone)
    fields = text.split()
    if len(fields) != len(FIELDS):
        raise CronError(f"expected exactly {len(FIELDS)} fields, found {len(fields)}: [{' '.join(fields)}]")
    return _parse_fields(["0", *fields], zone)


def parse_schedule_with_seconds(text: str) -> Schedule:
    """Return a schedule whose first field is the seconds and whose last, the weekday, may be left out.

    Raises CronError. Five fields are therefore not what they are in a CronJob: `0 0 * * *` is once an hour.
    """
    zone, rest = _split_zone(text)
    try:
        if not rest:
            raise CronError("empty spec string")
        if rest.startswith("@"):
            return _parse_name(rest, zone)
        fields = rest.split()
        if len(fields) not in (5, 6):
            raise CronError(f"expected 5 to 6 fields, found {len(fields)}: {text}")
        return _parse_fields([*fields, "*"][:6], zone)
    except CronError as error:
        message = str(error)
        raise CronError(message[0].upper() + message[1:]) from None


def _split_zone(text: str) -> tuple[str, str]:
    """Return the time zone that the text begins with, "" for none, and the rest."""
    if not text.startswith(("TZ=", "CRON_TZ=")):
        return "", text
    head, space, rest = text.partition(" ")
    if not space:
        raise CronError(f"expected exactly {len(FIELDS)} fields, found 0: []")
    return head.partition("=")[2], rest.strip()


def _parse_name(text: str, zone: str) -> Schedule:
    if text.startswith(EVERY):
        return Schedule(every_seconds=_parse_duration(text.removeprefix(EVERY)), zone=zone)
    if text not in DESCRIPTORS:
        raise CronError(f"unrecognized descriptor: {text}")
    return _parse_fields(["0", *DESCRIPTORS[text].split()], zone)


def _parse_fields(fields: list[str], zone: str) -> Schedule:
    """Return the schedule of six fields."""
    parsed = [_parse_field(field, bounds) for field, bounds in zip(fields, (SECONDS, *FIELDS), strict=True)]
    seconds, minutes, hours, days, months, weekdays = (found for found, _ in parsed)
    has_star_day = parsed[3][1] or parsed[5][1]
    return Schedule(
        minutes, hours, days, months, weekdays, has_star_day=has_star_day, zone=zone, seconds=seconds
    )


def _parse_field(text: str, bounds: Bounds) -> tuple[frozenset[int], bool]:
    """Return the values of a list of ranges, and whether a star is one of them."""
    values: set[int] = set()
    has_star = False
    for part in text.split(","):
        if part:
            found, star = _parse_range(part, bounds)
            values.update(found)
            has_star = has_star or star
    return frozenset(values), has_star


def _parse_range(text: str, bounds: Bounds) -> tuple[range, bool]:
    """Return the values of `*`, `3`, `3-7`, each perhaps with a step, and whether it is an unstepped star."""
    spread, *steps = text.split("/")
    low, *high = spread.split("-")
    is_star = low in ("*", "?")
    if is_star:
        start, end = bounds.least, bounds.most
    else:
        start = _parse_value(low, bounds)
        if len(high) > 1:
            raise CronError(f"too many hyphens: {text}")
        end = _parse_value(high[0], bounds) if high else start
    if len(steps) > 1:
        raise CronError(f"too many slashes: {text}")
    step = _parse_number(steps[0]) if steps else 1
    if steps and not high:
        end = bounds.most
    if start < bounds.least:
        raise CronError(f"beginning of range ({start}) below minimum ({bounds.least}): {text}")
    if end > bounds.most:
        raise CronError(f"end of range ({end}) above maximum ({bounds.most}): {text}")
    if start > end:
        raise CronError(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise CronError(f"step of range should be a positive number: {text}")
    return range(start, end + 1, step), is_star and step == 1


def _parse_value(text: str, bounds: Bounds) -> int:
    named = bounds.names.get(text.lower())
    return _parse_number(text) if named is None else named


def _parse_number(text: str) -> int:
    if not re.fullmatch("[+-]?[0-9]{1,18}", text, re.ASCII):
        raise CronError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    number = int(text)
    if number < 0:
        raise CronError(f"negative number ({number}) not allowed: {text}")
    return number


def _parse_duration(text: str) -> float:
    """Return Go's duration ("1h30m") in seconds, whole and at least one, as the library rounds it."""
    try:
        seconds = int(parse_duration(text) / SECOND)
    except ValueError as error:
        raise CronError(f"failed to parse duration {EVERY}{text}: {error}") from None
    return max(1.0, float(seconds))
