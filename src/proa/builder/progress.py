"""Show a build as it goes: each step with its place, its time, CACHED where it was known, and what its program prints.

To a person's terminal the running step is one line that is rewritten; to a pipe every line of output is printed.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from typing import TextIO

_TAIL = 4000
_CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
DIM, CYAN, RED, YELLOW = "2", "36", "31", "33"


class QuietProgress:
    """Tells nothing but warnings."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr

    def begin(self, place: str, words: str) -> None:
        """Nothing."""

    def output(self, data: bytes) -> None:
        """Nothing."""

    def end(self, *, cached: bool) -> None:
        """Nothing."""

    def warn(self, words: str) -> None:
        """Print the warning."""
        print(f"warning: {words}", file=self._stream, flush=True)


class LineProgress(QuietProgress):
    """Prints a line a step when it begins and when it ends, and every line of what its program prints."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._is_person = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._colour = self._is_person and not os.environ.get("NO_COLOR")
        self._number = 0
        self._began = 0.0
        self._rest = b""

    def begin(self, place: str, words: str) -> None:
        """Print what begins."""
        self._number += 1
        self._began = time.monotonic()
        self._rest = b""
        first, *more = words.splitlines()
        head = f"#{self._number} {f'[{place.strip()}] ' if place.strip() else ''}{first}"
        self._print(self._paint(head, CYAN))
        for line in more:
            self._print(self._paint(f"#{self._number}   {line}", DIM))

    def output(self, data: bytes) -> None:
        """Print whole lines; on a terminal the last line that is not whole is shown too, and rewritten."""
        *lines, self._rest = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n")
        for line in lines:
            self._print(f"#{self._number} {self._elapsed():.3f} {_readable(line)}")
        self._rest = self._rest.rpartition(b"\r")[2][-_TAIL:]
        if self._is_person and self._rest:
            width = shutil.get_terminal_size().columns - 1
            shown = f"#{self._number} {self._elapsed():.3f} {_readable(self._rest)}"[:width]
            self._stream.write(f"\r\033[2K{shown}")
            self._stream.flush()

    def end(self, *, cached: bool) -> None:
        """Print how it ended, and after how long."""
        self._flush()
        word = "CACHED" if cached else f"DONE {self._elapsed():.1f}s"
        self._print(f"#{self._number} {word}")

    def warn(self, words: str) -> None:
        """Print the warning."""
        self._print(self._paint(f"warning: {words}", YELLOW))

    def _flush(self) -> None:
        if self._rest:
            self._print(f"#{self._number} {self._elapsed():.3f} {_readable(self._rest)}")
            self._rest = b""

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _print(self, line: str) -> None:
        clear = "\r\033[2K" if self._is_person else ""
        self._stream.write(f"{clear}{line}\n")
        self._stream.flush()

    def _paint(self, text: str, colour: str) -> str:
        return f"\033[{colour}m{text}\033[0m" if self._colour else text


def _readable(line: bytes) -> str:
    return _CONTROL.sub(b"", line.rpartition(b"\r")[2] or line).decode("utf-8", "replace")
