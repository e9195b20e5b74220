"""Metrics in lines of text or JSON, as upstream's collector finds them.

Source: pkg/metricscollector/v1beta1/file-metricscollector/file-metricscollector.go of kubeflow/katib. Beside that,
numbers in JSON count as strings do, a line that is not JSON is passed over, and values without a timestamp are of when
they were read. The default filter is written out here: as an expression it takes the square of a line's length.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Iterator, Sequence

    from proa.ml.tuning.collector.points import Points

MAX_LINE = 64 * 1024
"""Bytes of a line that are looked at; the rest of a longer one is passed over."""
TAIL_BYTES = 2048
MAX_NAMES = 8
DEFAULT_FILTER = r"([\w|-]+)\s*=\s*([+-]?\d*(?:\.\d+)?(?:[Ee][+-]?\d+)?)"
MANY_LINES, SHORT_LINE = 2000, 1000
"""After so many lines, those that are so short are given to the expression: it is faster, but 8 ms to import."""

_OF_NAMES = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_|-")
_DIGITS = frozenset("0123456789")
_SPACES = frozenset("\t\n\f\r ")


class Lines:
    """Takes a text in, piece by piece, and finds metrics in its lines."""

    def __init__(self, points: Points, filters: Sequence[str], *, is_json: bool) -> None:
        self._points = points
        self._filters = compile_filters(filters)
        self._names = [metric.encode() for metric in points.metrics]
        self._is_json = is_json
        self._lines = 0
        self._default: re.Pattern[str] | None = None
        self._rest = b""
        self._is_skipping = False
        self._tail = b""
        self.bytes = 0
        self.bad_lines = 0

    def feed(self, data: bytes) -> None:
        """Take the next piece in. One in which no metric is named costs next to nothing."""
        self.bytes += len(data)
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        if self._is_skipping:
            _, newline, data = data.partition(b"\n")
            self._is_skipping = not newline
        text = self._rest + data
        whole, _, self._rest = text.rpartition(b"\n")
        for line in self._wanted_lines(whole):
            self._line(line)
        if len(self._rest) > MAX_LINE:
            self.end()
            self._is_skipping = True

    def end(self) -> None:
        """Take the last line in, which may have no end."""
        for line in self._wanted_lines(self._rest):
            self._line(line)
        self._rest = b""

    def begin_anew(self) -> None:
        """The text begins from its beginning."""
        self._rest, self._is_skipping = b"", False

    def last_lines(self, count: int) -> list[str]:
        """Return the last lines that say something, shortened."""
        lines = [line.strip() for line in self._tail.decode(errors="replace").splitlines()]
        return [line[:120] for line in lines if line][-count:]

    def other_names(self) -> list[str]:
        """Return the names of what looks like metrics at the end of the text."""
        names: list[str] = []
        for line in self._tail.decode(errors="replace").splitlines():
            found = _json_names(line) if self._is_json else (name for name, _ in self._matches(line))
            names += [name[:60] for name in found if name not in names]
        return names[:MAX_NAMES]

    def _wanted_lines(self, text: bytes) -> Iterator[bytes]:
        """Yield the lines that name a metric, at the cost of looking for its name."""
        start = 0
        following = {name: text.find(name) for name in self._names}
        while found := [at for at in following.values() if at >= 0]:
            at = min(found)
            begin = max(text.rfind(b"\n", start, at) + 1, start)
            end = text.find(b"\n", at)
            end = len(text) if end < 0 else end
            yield text[begin:end]
            start = end + 1
            for name, position in following.items():
                if 0 <= position < start:
                    following[name] = text.find(name, start)

    def _line(self, line: bytes) -> None:
        self._lines += 1
        text = line[:MAX_LINE].decode(errors="replace")
        if self._is_json:
            self._json_line(text)
            return
        at = parse_rfc3339(text.partition(" ")[0])
        for name, value in self._matches(text):
            self._points.add(name, value, at)

    def _matches(self, text: str) -> Iterator[tuple[str, str]]:
        if not self._filters:
            if self._lines < MANY_LINES or len(text) > SHORT_LINE:
                yield from default_matches(text)
            else:
                if self._default is None:
                    self._default = compile_filters([DEFAULT_FILTER])[0]
                yield from self._default.findall(text)
        for pattern in self._filters:
            for found in pattern.finditer(text):
                if pattern.groups >= 2:
                    yield (found.group(1) or "").strip(), (found.group(2) or "").strip()

    def _json_line(self, text: str) -> None:
        import json

        try:
            entry = json.loads(text, parse_float=str, parse_int=str)
        except (ValueError, RecursionError):
            entry = None
        if not isinstance(entry, dict):
            self.bad_lines += 1
            return
        at = parse_time(entry.get("timestamp"))
        for metric in self._points.metrics:
            if isinstance(entry.get(metric), str):
                self._points.add(metric, entry[metric].strip(), at)


def default_matches(text: str) -> Iterator[tuple[str, str]]:
    """Yield what the default filter finds, in time that grows with the line."""
    begin = 0
    while (equals := text.find("=", begin)) >= 0:
        end = equals
        while end > begin and text[end - 1] in _SPACES:
            end -= 1
        start = end
        while start > begin and text[start - 1] in _OF_NAMES:
            start -= 1
        begin = equals + 1
        if start < end:
            while text[begin : begin + 1] in _SPACES:
                begin += 1
            value, begin = begin, _number_end(text, begin)
            yield text[start:end], text[value:begin]


def _number_end(text: str, begin: int) -> int:
    """Return where a number ends: sign, digits, fraction, exponent, each if it is there."""
    end = _digits_end(text, begin + (text[begin : begin + 1] in ("+", "-")))
    if text[end : end + 1] == "." and (fraction := _digits_end(text, end + 1)) > end + 1:
        end = fraction
    if text[end : end + 1] in ("e", "E"):
        digits = end + (2 if text[end + 1 : end + 2] in ("+", "-") else 1)
        if (exponent := _digits_end(text, digits)) > digits:
            end = exponent
    return end


def _digits_end(text: str, start: int) -> int:
    while start < len(text) and text[start] in _DIGITS:
        start += 1
    return start


def compile_filters(filters: Sequence[str]) -> list[re.Pattern[str]]:
    """Return the filters of one's own as expressions, in which \\w and \\d are of ASCII, as in upstream's."""
    if not filters:
        return []
    import re

    return [re.compile(pattern, re.ASCII) for pattern in filters]


def parse_time(stamp: object) -> float | None:
    """Return a JSON timestamp as seconds since the epoch: it is such a number, or a time in RFC 3339."""
    if not isinstance(stamp, str):
        return None
    try:
        return float(stamp)
    except ValueError:
        return parse_rfc3339(stamp)


def parse_rfc3339(stamp: str) -> float | None:
    """Return a time in RFC 3339 as seconds since the epoch; None for anything else."""
    if len(stamp) < 20 or stamp[4] != "-" or stamp[10] not in "Tt":
        return None
    from datetime import datetime

    try:
        found = datetime.fromisoformat(stamp)
        return found.timestamp() if found.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _json_names(line: str) -> list[str]:
    import json

    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return []
    return [str(key) for key in entry] if isinstance(entry, dict) else []
