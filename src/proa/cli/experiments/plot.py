"""Draw numbers as text: each in its turn as a dot, and the best of them so far as a line.

Dots of lines, and of many values, are Braille's, eight to a character (U+2800 and on); where those cannot be printed,
one character each. Few values that are far worse than the rest are at the edge, so that they do not flatten all others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

WIDTH, HEIGHT = 60, 10
"""Of the drawing, in characters."""
_LABEL = 10
_BRAILLE = 0x2800
_BITS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""By column and row of a character."""
_MARKED = 0x100
_FAR = 4.0
"""A drawing is of what is within so many times the range of the better nine tenths."""

Paint = Callable[[str], str]


def plain(text: str) -> str:
    """Return the text as it is."""
    return text


class Range(NamedTuple):
    """The values at the drawing's lower and upper edge."""

    low: float
    high: float

    def place(self, value: float, steps: int) -> int:
        """Return how many steps from the top a value is, of so many from top to bottom."""
        share = (value - self.low) / (self.high - self.low)
        return round((1 - min(max(share, 0.0), 1.0)) * (steps - 1))


def draw(
    values: Sequence[float],
    *,
    is_maximized: bool,
    is_unicode: bool,
    width: int = WIDTH,
    height: int = HEIGHT,
    paint_best: Paint = plain,
) -> list[str]:
    """Return the lines of a drawing of finite numbers, in their order; [] for none."""
    if not values:
        return []
    best = best_so_far(values, is_maximized=is_maximized)
    shown = find_range(values, is_maximized=is_maximized)
    canvas = _make_canvas(len(values), width, height, is_unicode=is_unicode)
    columns = [_column(index, len(values), canvas.columns) for index in range(len(values))]
    for index, (column, value) in enumerate(zip(columns, best, strict=True)):
        until = columns[index + 1] if index + 1 < len(columns) else column
        row = shown.place(value, canvas.rows)
        for one in range(column, max(until + 1, column + 1)):
            canvas.line(one, row)
    for column, value in zip(columns, values, strict=True):
        canvas.dot(column, shown.place(value, canvas.rows))
    return _framed(canvas.lines(paint_best), shown, len(values), is_unicode=is_unicode, width=width)


def best_so_far(values: Sequence[float], *, is_maximized: bool) -> list[float]:
    """Return for each value the best of it and those before it."""
    better = max if is_maximized else min
    found: list[float] = []
    for value in values:
        found.append(better(found[-1], value) if found else value)
    return found


def find_range(values: Sequence[float], *, is_maximized: bool) -> Range:
    """Return what is drawn: all values, unless a tenth is far worse than the rest."""
    ordered = sorted(values, reverse=is_maximized)
    best, worst = ordered[0], ordered[-1]
    usual = ordered[(len(ordered) - 1) * 9 // 10]
    if abs(worst - best) > _FAR * abs(usual - best) > 0:
        worst = usual
    low, high = min(best, worst), max(best, worst)
    if low == high:
        room = abs(low) * 0.1 or 1.0
        return Range(low - room, high + room)
    return Range(low, high)


def _make_canvas(count: int, width: int, height: int, *, is_unicode: bool) -> _Canvas:
    if not is_unicode:
        return _Canvas(width, height)
    return (_Marked if count <= width else _Braille)(width, height)


def _column(index: int, count: int, columns: int) -> int:
    """Return where a value is: over the whole width."""
    return index * (columns - 1) // max(count - 1, 1)


class _Canvas:
    """A grid of dots in characters; those that have some of the line are painted."""

    dots_across, dots_down = 1, 1

    def __init__(self, width: int, height: int) -> None:
        self.columns, self.rows = self.dots_across * width, self.dots_down * height
        self._cells = [[0] * width for _ in range(height)]
        self._has_line = [[False] * width for _ in range(height)]

    def dot(self, column: int, row: int) -> None:
        """Draw a value."""
        self._cells[row // self.dots_down][column // self.dots_across] |= self._bit(column, row)

    def line(self, column: int, row: int) -> None:
        """Draw a piece of the line."""
        y, x = row // self.dots_down, column // self.dots_across
        self._cells[y][x] |= self._line_bit(column, row)
        self._has_line[y][x] = True

    def lines(self, paint: Paint) -> list[str]:
        """Return the rows, painted in as few pieces as can be."""
        rows = []
        for cells, has_line in zip(self._cells, self._has_line, strict=True):
            pieces = groupby(zip(cells, has_line, strict=True), key=lambda cell: cell[1])
            texts = (("".join(map(self._character, (bits for bits, _ in piece))), on) for on, piece in pieces)
            rows.append("".join(paint(text) if on else text for text, on in texts))
        return rows

    def _bit(self, column: int, row: int) -> int:
        return 1

    def _line_bit(self, column: int, row: int) -> int:
        return 2

    def _character(self, bits: int) -> str:
        return " o-*"[bits]


class _Braille(_Canvas):
    """Many values, each a dot of eight in a character."""

    dots_across, dots_down = 2, 4

    def _bit(self, column: int, row: int) -> int:
        return _BITS[column % 2][row % 4]

    def _line_bit(self, column: int, row: int) -> int:
        return _BITS[column % 2][row % 4]

    def _character(self, bits: int) -> str:
        return chr(_BRAILLE + bits) if bits else " "


class _Marked(_Braille):
    """Few values, each a character above a line of dots."""

    def _bit(self, column: int, row: int) -> int:
        return _MARKED

    def _character(self, bits: int) -> str:
        return "•" if bits & _MARKED else super()._character(bits)


def _framed(rows: list[str], shown: Range, count: int, *, is_unicode: bool, width: int) -> list[str]:
    tick, side, corner, floor = "┤│└─" if is_unicode else "+|+-"
    last = len(rows) - 1
    labels = {0: f"{shown.high:.4g}", last: f"{shown.low:.4g}"}
    lines = [
        f"{labels.get(index, ''):>{_LABEL}} {tick if index in labels else side}{row}"
        for index, row in enumerate(rows)
    ]
    first, end = "1", str(count)
    scale = f"{first}{end:>{width - len(first)}}" if count > 1 else first
    return [*lines, f"{'':{_LABEL}} {corner}{floor * width}", f"{'':{_LABEL}}  {scale}"]
