"""How the collector tells what it found: a message at its end, and lines of points that end its log.

Theory of operation. The collector's log is the training's own lines, as they came, then at the very end some lines of
ours, each a marker that the pod's specification holds (so that no line of the training's is taken for one) and JSON:

    <marker> {"metric": "accuracy", "times": [1763838600.25, ...], "values": ["0.91", ...]}

The termination message (4096 bytes at most, by the kubelet's rule) is JSON too. It says the outcome, in words what
would help, how many lines to ask the end of the log for, and of each metric the points that an observation needs:
least, greatest and latest. So a log that was rotated or is gone costs points in between and nothing else, and its size
matters to nobody who reads it. `reading` is the operator's side. Standard library only: the program imports it.
"""

from __future__ import annotations

try:
    from _json import encode_basestring_ascii as quote
except ImportError:  # not CPython
    from json.encoder import encode_basestring_ascii as quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

SUCCEEDED = "succeeded"
EARLY_STOPPED = "early-stopped"
NO_METRICS = "no-metrics"
NOT_PRIMARY = "not-primary"
CRASHED = "crashed"
OUTCOMES = (SUCCEEDED, EARLY_STOPPED, NO_METRICS, NOT_PRIMARY, CRASHED)

ENDS_WITH = "It ends with: "
"""What words about missing metrics end with: this, and the training's last lines."""
MESSAGE_LIMIT_BYTES = 4000
"""The kubelet keeps 4096 bytes of a container's last words."""
MAX_POINTS = 10_000
"""Of one metric; a log with more is thinned out evenly."""
MAX_VALUE = 64
"""Characters of a value."""
MAX_LINES = 10_000
POINTS_IN_A_LINE = 200
"""So that a line stays below the 16 KiB at which container runtimes cut lines in two."""

Point = tuple[float, str]
"""Seconds since the epoch, and the value as written."""


def encode_points(marker: str, points: Mapping[str, Sequence[Point]]) -> Iterator[str]:
    """Yield the lines that end the log."""
    for metric, of_metric in points.items():
        for start in range(0, len(of_metric), POINTS_IN_A_LINE):
            part = of_metric[start : start + POINTS_IN_A_LINE]
            times = ",".join(repr(time) for time, _ in part)
            values = ",".join(quote(value) for _, value in part)
            yield f'{marker} {{"metric":{quote(metric)},"times":[{times}],"values":[{values}]}}\n'


def encode_message(
    outcome: str, message: str, lines: int, extremes: Mapping[str, Mapping[str, Point]]
) -> str:
    """Return the termination message: of the last metrics nothing where not all fit, and of words what fits."""
    begin = f'{{"outcome":{quote(outcome)},"lines":{lines},"message":'
    words = quote(message)
    encoded = [f"{quote(metric)}:{_encode_extremes(points)}" for metric, points in extremes.items()]
    room = MESSAGE_LIMIT_BYTES - len(begin) - len(',"metrics":{}}') - (len(encoded[0]) if encoded else 0)
    while len(words) > max(room, 2):  # the objective's points count more than all of the words
        message = message[: min(len(message) - 1, len(message) * room // len(words))]
        words = quote(message)
    room -= len(words)
    kept = encoded[:1]
    for text in encoded[1:]:
        room -= len(text) + 1
        if room < 0:
            break
        kept.append(text)
    return f'{begin}{words},"metrics":{{{",".join(kept)}}}}}'


def decode_lines(marker: str, log: str) -> dict[str, list[Point]]:
    """Return the points in the end of a log, by metric; what is no such line, or one cut in two, is passed over."""
    found: dict[str, list[Point]] = {}
    for line in log.splitlines():
        if not line.startswith(f"{marker} {{"):
            continue
        told = _decode_object(line[len(marker) :])
        metric, times, values = told.get("metric"), told.get("times"), told.get("values")
        if not isinstance(metric, str) or not isinstance(times, list) or not isinstance(values, list):
            continue
        points = found.setdefault(metric, [])
        points += [p for p in map(as_point, zip(times, values, strict=False)) if p is not None]
        del points[MAX_POINTS:]
    return found


def decode_message(message: str) -> dict[str, Any] | None:
    """Return the termination message's object; None for what the collector did not write."""
    told = _decode_object(message)
    is_ours = told.get("outcome") in OUTCOMES and isinstance(told.get("message"), str)
    return told if is_ours else None


def as_point(pair: Any) -> Point | None:
    """Return a time and a value as a point if they are one."""
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        return None
    time, value = pair
    if isinstance(time, bool) or not isinstance(time, (int, float)) or not isinstance(value, str):
        return None
    return (float(time), value[:MAX_VALUE]) if abs(time) < 1e12 else None


def _encode_extremes(points: Mapping[str, Point]) -> str:
    return "{" + ",".join(f"{quote(k)}:[{p[0]!r},{quote(p[1])}]" for k, p in points.items()) + "}"


def _decode_object(text: str) -> dict[str, Any]:
    import json

    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
