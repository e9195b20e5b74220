"""Print for whoever reads: colour and live lines for a person at a terminal, plain lines for a pipe."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

GREEN, RED, YELLOW, DIM, BOLD = "32", "31", "33", "2", "1"


class Terminal:
    """Where a verb prints to. On a terminal, `progress` rewrites one line; elsewhere it prints nothing."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.is_person = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self._colour = self.is_person and not os.environ.get("NO_COLOR")
        self._live = False
        self._started = time.monotonic()

    def paint(self, text: str, colour: str) -> str:
        """Return the text in that colour, where there is colour."""
        return f"\033[{colour}m{text}\033[0m" if self._colour else text

    def line(self, text: str = "") -> None:
        """Print a line of its own."""
        self._clear()
        print(text, file=self.stream, flush=True)

    def step(self, text: str) -> None:
        """Print what is done now, with the time since the start."""
        self.line(f"{self.paint(f'{time.monotonic() - self._started:6.1f}s', DIM)}  {text}")

    def done(self, text: str) -> None:
        """Print what has been reached."""
        self.step(f"{self.paint('ok', GREEN)} {text}")

    def warn(self, text: str) -> None:
        """Print what is not as it should be."""
        self.step(f"{self.paint('!!', YELLOW)} {text}")

    def progress(self, text: str) -> None:
        """Show how far long work is: one line, rewritten, for a person only."""
        if not self.is_person:
            return
        width = os.get_terminal_size(self.stream.fileno()).columns - 1
        print(f"\r\033[K{self.paint(f'         {text}'[:width], DIM)}", end="", file=self.stream, flush=True)
        self._live = True

    def _clear(self) -> None:
        if self._live:
            print("\r\033[K", end="", file=self.stream)
            self._live = False


def print_json(value: Any) -> None:
    """Print a value as JSON for `-o json`."""
    print(json.dumps(value, indent=2, sort_keys=True))


def format_bytes(count: float) -> str:
    """Return a count of bytes for people: 512 B, 34.1 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows in aligned columns, the first row being the heading."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "   ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )
