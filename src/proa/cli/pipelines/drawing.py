"""Draw what artifacts say as text: metrics, a confusion matrix, a ROC curve, Markdown, HTML; tables for the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

from proa.cli.terminal import format_table

WIDTH, HEIGHT = 44, 12
"""A curve's size in characters."""
MOST_CATEGORIES = 20
MOST_TEXT_LINES = 60
BLOCKS = "p div br tr li ul ol table h1 h2 h3 h4 h5 h6 section article header footer pre title"
"""What begins a line of HTML."""
HIDDEN = frozenset({"display_name", "store_session_info"})
"""Metadata that is about the artifact, not of it."""


def draw_artifact(type_title: str, metadata: Mapping[str, Any]) -> list[str]:
    """Return what an artifact's metadata says, as its type has it."""
    if type_title.endswith("ClassificationMetrics"):
        return [*draw_confusion_matrix(metadata), *draw_roc(metadata), *draw_values(metadata, _DRAWN)]
    return draw_values(metadata)


_DRAWN = frozenset({"confusionMatrix", "confidenceMetrics"})


def draw_values(metadata: Mapping[str, Any], but: frozenset[str] = frozenset()) -> list[str]:
    """Return one line for each value."""
    rows = [(key, format_value(value)) for key, value in metadata.items() if key not in but | HIDDEN]
    return format_table(rows).splitlines() if rows else []


def format_value(value: object) -> str:
    """Return a value on one line; numbers with as many digits as a person reads."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str):
        return " ".join(value.split())
    return json.dumps(value)


def draw_confusion_matrix(metadata: Mapping[str, Any]) -> list[str]:
    """Return the matrix with its categories (rows are what was true), and the share on its diagonal."""
    found = _unwrap(metadata.get("confusionMatrix"))
    if not isinstance(found, Mapping):
        return []
    names = [str(spec.get("displayName", "")) for spec in found.get("annotationSpecs") or ()]
    matrix = [list(row.get("row") or ()) for row in found.get("rows") or ()]
    if not names or len(matrix) != len(names) or any(len(row) != len(names) for row in matrix):
        return []
    total = sum(map(sum, matrix))
    right = sum(matrix[i][i] for i in range(len(names)))
    share = f": {right / total:.1%} on the diagonal" if total else ""
    lines = [f"confusion matrix, {len(names)} categories{share}"]
    if len(names) > MOST_CATEGORIES:
        return lines
    cells = [[format_value(value) for value in row] for row in matrix]
    widths = [max(len(names[j]), *(len(row[j]) for row in cells)) for j in range(len(names))]
    left = max(map(len, names))
    lines.append(" ".join(["true ↓".ljust(left), *(n.rjust(w) for n, w in zip(names, widths, strict=True))]))
    for name, row in zip(names, cells, strict=True):
        lines.append(
            " ".join([name.ljust(max(left, 6)), *(c.rjust(w) for c, w in zip(row, widths, strict=True))])
        )
    lines[1] = lines[1].replace("true ↓".ljust(left), "true ↓".ljust(max(left, 6)), 1)
    return lines


def draw_roc(metadata: Mapping[str, Any]) -> list[str]:
    """Return the curve of the confidence metrics, and the area below it."""
    points = roc_points(metadata)
    if not points:
        return []
    grid = [[" "] * (WIDTH + 1) for _ in range(HEIGHT + 1)]
    for column in range(WIDTH + 1):
        x = column / WIDTH
        grid[HEIGHT - round(x * HEIGHT)][column] = "·"
        grid[HEIGHT - round(_height_at(points, x) * HEIGHT)][column] = "•"
    lines = [f"ROC curve, {len(points)} points: area {area(points):.4f}"]
    for index, row in enumerate(grid):
        label = {0: "1.0", HEIGHT: "0.0"}.get(index, "tpr" if index == HEIGHT // 2 else "   ")
        lines.append(f"{label} │{''.join(row)}".rstrip())
    lines.append(f"    └{'─' * (WIDTH + 1)}")
    lines.append(f"     0.0{'fpr':^{WIDTH - 6}}1.0")
    return lines


def roc_points(metadata: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Return (false positive rate, true positive rate), by the first and then the second."""
    found = _unwrap(metadata.get("confidenceMetrics"))
    if not isinstance(found, Sequence) or isinstance(found, str):
        return []
    points = []
    for one in found:
        x, y = one.get("falsePositiveRate"), one.get("recall")
        if isinstance(x, int | float) and isinstance(y, int | float):
            points.append((min(max(float(x), 0.0), 1.0), min(max(float(y), 0.0), 1.0)))
    return sorted(points)


def area(points: Sequence[tuple[float, float]]) -> float:
    """Return the area below the curve from (0, 0) to (1, 1), by trapezoids."""
    whole = [(0.0, 0.0), *points, (1.0, 1.0)]
    return sum((right[0] - left[0]) * (left[1] + right[1]) / 2 for left, right in pairwise(whole))


def _height_at(points: Sequence[tuple[float, float]], x: float) -> float:
    whole = [(0.0, 0.0), *points, (1.0, 1.0)]
    reached = max((y for at, y in whole if at <= x), default=0.0)
    for left, right in pairwise(whole):
        if left[0] <= x < right[0]:
            return max(left[1] + (right[1] - left[1]) * (x - left[0]) / (right[0] - left[0]), 0.0)
    return reached


def _unwrap(value: Any) -> Any:
    """Return a value that some versions of the SDK wrap as {"struct": value}, or {"list": value}."""
    while isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in ("struct", "list"):
        value = next(iter(value.values()))
    return value


def text_of_html(source: str) -> list[str]:
    """Return an HTML page's text, a line a block, a table's cells apart; scripts and styles are left out."""
    reader = _TextOfHtml()
    reader.feed(source)
    reader.close()
    lines = [
        " ".join(line.split()) if "\t" not in line else line.strip()
        for line in "".join(reader.found).splitlines()
    ]
    return [line for line in lines if line][:MOST_TEXT_LINES]


class _TextOfHtml(HTMLParser):
    _BLOCKS = frozenset(BLOCKS.split())
    _SILENT = frozenset({"script", "style"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._silence = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a line at a block, a cell at a tab."""
        self._silence += tag in self._SILENT
        if tag in self._BLOCKS:
            self.found.append("\n- " if tag == "li" else "\n")
        elif tag in ("td", "th"):
            self.found.append("\t")

    def handle_endtag(self, tag: str) -> None:
        """End the line of a block."""
        self._silence = max(0, self._silence - (tag in self._SILENT))
        if tag in self._BLOCKS:
            self.found.append("\n")

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        if not self._silence:
            self.found.append(data.replace("\n", " ").replace("\t", " "))
