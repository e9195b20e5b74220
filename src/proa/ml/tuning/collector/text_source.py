"""Metrics in a file of text or JSON lines, whose lines are printed as they come."""

from __future__ import annotations

import time

from proa.ml.tuning.collector import wire
from proa.ml.tuning.collector.follow import BLOCK_BYTES, File
from proa.ml.tuning.collector.printing import write
from proa.ml.tuning.collector.text import Lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from proa.ml.tuning.collector.asked import Asked
    from proa.ml.tuning.collector.points import Points

BLOCKS_AT_ONCE = 16
"""Then rules and signals are looked at."""


class TextSource:
    """The training's output (StdOut), or a file that it writes (File)."""

    def __init__(self, asked: Asked, points: Points) -> None:
        self._is_json = asked.get("format") == "JSON"
        self._is_output = asked.get("kind") == "StdOut"
        self._filters = asked.all("filter")
        self._points = points
        self._file = File(asked.get("path"))
        self._lines = Lines(points, self._filters, is_json=self._is_json)
        self._ends_line = True
        self._left = 0

    def poll(self) -> bool:
        """Print and look through what is new."""
        for count in range(BLOCKS_AT_ONCE):
            data = self._file.read()
            if data:
                write(data)
                self._ends_line = data.endswith(b"\n")
                self._lines.feed(data)
            if len(data) < BLOCK_BYTES:
                return self._begin_anew() or bool(count or data)
        return True

    def end(self, deadline: float) -> None:
        """Do the same with all that is left, and end the last line."""
        while self.poll() and time.monotonic() < deadline:
            pass
        self._left = self._file.size_left()
        self._lines.end()
        if not self._ends_line:
            write(b"\n")

    def _begin_anew(self) -> bool:
        """Forget what was found, if the training writes another file now: it was restarted."""
        if not self._file.has_begun_anew():
            return False
        self._lines.begin_anew()
        self._points.clear()
        return True

    @property
    def note(self) -> str:
        """Say what was not read in time."""
        return f" The last {self._left} bytes could not be read in time." if self._left else ""

    def explain(self) -> str:
        """Say where metrics were looked for, and what was there instead."""
        place = "the training's output" if self._is_output else f"file {self._file.path}"
        if self._lines.bytes == 0:
            why = f" ({self._file.fault})" if self._file.fault and not self._is_output else ""
            if why:
                return f"{place} could not be read{why}. Write it, or name another in spec.metricsCollectorSpec.source."
            return f"{place} is empty. {self._wanted()}"
        names, last = self._lines.other_names(), self._lines.last_lines(3)
        said = [f"{place} has {self._lines.bytes} bytes. {self._wanted()}"]
        if self._lines.bad_lines:
            said.append(f"{self._lines.bad_lines} lines that name it are not JSON objects.")
        if names:
            said.append(f"There is {', '.join(names)}.")
        if last:
            said.append(f"{wire.ENDS_WITH}{' / '.join(last)}")
        return " ".join(said)

    @property
    def _do(self) -> str:
        return "Print" if self._is_output else "Write"

    def _wanted(self) -> str:
        metric = self._points.metrics[0]
        if self._is_json:
            return f'{self._do} lines like {{"{metric}": 0.9}}.'
        if self._filters:
            return f"Looked for what {' or '.join(self._filters)} matches."
        return f"{self._do} lines like {metric}=0.9."
