"""Draw lines over those that were drawn before, for a person at a terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence

from proa.cli.terminal import Terminal


class LiveLines:
    """What stands in the terminal's last lines, until `draw` changes it."""

    def __init__(self, terminal: Terminal) -> None:
        self._stream = terminal.stream
        self._drawn = 0

    @property
    def room(self) -> int:
        """Return how many lines can be drawn over."""
        return max(os.get_terminal_size(self._stream.fileno()).lines - 1, 3)

    def draw(self, lines: Sequence[str]) -> None:
        """Print lines over those that were drawn before; the terminal does not wrap meanwhile."""
        up = f"\033[{self._drawn}A\r" if self._drawn else ""
        body = "".join(f"\033[K{line}\n" for line in lines)
        self._stream.write(f"\033[?7l{up}{body}\033[J\033[?7h")
        self._stream.flush()
        self._drawn = len(lines)
