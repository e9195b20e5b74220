"""Say what is wrong with an expression, in cel-go's words and with its pointer into the source.

Follows cel-go common/error.go (the layout) and checker/errors.go (the words).
"""

from __future__ import annotations

from collections.abc import Iterable

from proa.objects.quick_dataclass import dataclass

MAX_ISSUES = 100
COST_EXCEEDED = "operation cancelled: actual cost limit exceeded"


class CelError(Exception):
    """An expression that cannot be compiled, or not be evaluated."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong at a character of the source."""

    position: int
    message: str


class CelCompileError(CelError):
    """The expression is no CEL, or its types do not fit; the text begins with `compilation failed: `."""

    def __init__(self, source: str, issues: Iterable[Issue]) -> None:
        self.issues = tuple(sorted(issues, key=lambda issue: issue.position))[:MAX_ISSUES]
        super().__init__("compilation failed: " + "\n".join(_display(source, issue) for issue in self.issues))


class CelTypeError(CelError):
    """The expression compiles, and gives another type than it must."""


class CelRuntimeError(CelError):
    """Evaluation came to no value; the text is what upstream's messages embed."""


class CostExceeded(CelRuntimeError):
    """Evaluation took more steps than it may."""

    def __init__(self) -> None:
        super().__init__(COST_EXCEEDED)


def _display(source: str, issue: Issue) -> str:
    before = source[: issue.position]
    line = before.count("\n") + 1
    column = issue.position - (before.rfind("\n") + 1)
    shown = f"ERROR: <input>:{line}:{column + 1}: {issue.message}"
    lines = source.split("\n")
    if line > len(lines):
        return shown
    text = lines[line - 1].replace("\t", " ")
    pointer = "".join("." if ord(c) < 128 else "．" for c in text[:column]).ljust(column, ".")
    mark = "^" if column >= len(text) or ord(text[column]) < 128 else "＾"
    return f"{shown}\n | {text}\n | {pointer}{mark}"
