"""Put times, number and id of a run in place of the macros in its parameters.

`[[RunUUID]]`, `[[Index]]`, `[[ScheduledTime]]` and `[[CurrentTime]]` (UTC, 20060102150405), with a layout of Go's
after a dot (`[[ScheduledTime.2006-01-02]]`), and `{{$.scheduledTime.strftime('%Y-%m-%d')}}`. What is no macro, or is
one of something that this run does not have, stays as it is. Follows upstream's backend/src/common/util/
parameter_formatter.go, apiserver/template/v2_template.go (texts only), and Go's time package (format.go).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from proa.objects.quick_dataclass import dataclass

MACRO = re.compile(r"\[\[(.*?)\]\]|\{\{\$\.(.*?)\}\}")
STRFTIME = re.compile(r"(scheduledTime|currentTime)\.strftime\('(.*)'\)")
DEFAULT_LAYOUT = "20060102150405"
GO_LAYOUT = {
    "January": "%B",
    "Jan": "%b",
    "Monday": "%A",
    "Mon": "%a",
    "MST": "%Z",
    "2006": "%Y",
    "-07:00": "+00:00",
    "-0700": "+0000",
    "-07": "+00",
    "Z07:00": "Z",
    "Z0700": "Z",
    "002": "%j",
    "01": "%m",
    "02": "%d",
    "03": "%I",
    "04": "%M",
    "05": "%S",
    "06": "%y",
    "15": "%H",
    "PM": "%p",
    "pm": "%P",
    "_2": "%e",
    "1": "%-m",
    "2": "%-d",
    "3": "%-I",
    "4": "%-M",
    "5": "%-S",
}
"""What of a layout stands for what, longest first where one begins like another; zones are those of UTC."""
GO_TOKEN = re.compile("|".join(map(re.escape, GO_LAYOUT)))
STRFTIME_VERBS = {letter: f"%{letter}" for letter in "AaBbCDdeFHIjklMmnpRrSTtUuVwYyZz%s"} | {
    "c": "%a %b %e %H:%M:%S %Y",
    "h": "%b",
    "v": "%e-%b-%Y",
    "W": "%W",
    "X": "%H:%M:%S",
    "x": "%m/%d/%y",
}
"""The verbs that upstream knows (lestrrat-go/strftime), in the C library's words."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What a run's macros stand for. `scheduled_at` and `index` are None for a run that nobody scheduled."""

    run_id: str
    now: float
    scheduled_at: float | None = None
    index: int | None = None


def expand_all(parameters: Mapping[str, Any], moment: Moment) -> dict[str, Any]:
    """Return parameters with the macros in those that are texts expanded."""
    return {
        name: expand(value, moment) if isinstance(value, str) else value for name, value in parameters.items()
    }


def expand(text: str, moment: Moment) -> str:
    """Return a text with its macros expanded."""
    return MACRO.sub(lambda match: _substitute(match, moment), text)


def _substitute(match: re.Match[str], moment: Moment) -> str:
    whole, words = match.group(), match.group(1)
    if words is None:
        return _by_strftime(match.group(2), moment) or whole
    if words == "RunUUID":
        return moment.run_id
    if words == "Index":
        return whole if moment.index is None else str(moment.index)
    name, dot, layout = words.partition(".")
    at = {"ScheduledTime": moment.scheduled_at, "CurrentTime": moment.now}.get(name)
    if at is None:
        return whole
    return format_go(at, layout if dot else DEFAULT_LAYOUT)


def _by_strftime(words: str, moment: Moment) -> str:
    """Return "" for what is no macro of a time that the run has, or has a verb that is none."""
    found = STRFTIME.fullmatch(words)
    if found is None:
        return ""
    at = moment.scheduled_at if found.group(1) == "scheduledTime" else moment.now
    verbs = re.findall("%(.?)", found.group(2), re.DOTALL)
    if at is None or not all(verb in STRFTIME_VERBS for verb in verbs):
        return ""
    verb_of = STRFTIME_VERBS | {"s": str(int(at))}
    return _strftime(at, re.sub("%(.)", lambda verb: verb_of[verb.group(1)], found.group(2)))


def format_go(moment: float, layout: str) -> str:
    """Return a time in UTC as a layout of Go's says, e.g. "2006-01-02T15:04:05Z07:00"."""
    parts, end = [], 0
    for token in GO_TOKEN.finditer(layout):
        parts.append(layout[end : token.start()])
        parts.append(_strftime(moment, GO_LAYOUT[token.group()]))
        end = token.end()
    return "".join([*parts, layout[end:]])


def _strftime(moment: float, layout: str) -> str:
    return datetime.fromtimestamp(int(moment), UTC).strftime(layout)
