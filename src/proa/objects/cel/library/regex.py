"""Patterns are RE2's: they run in time linear to the text, whoever wrote them.

Follows apiserver/pkg/cel/library/regex.go.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from proa.objects.cel.budget import Budget
from proa.objects.cel.errors import CelRuntimeError
from proa.objects.cel.functions import Functions, overload

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PATTERN = 2_000
_MAX_MEMORY_BYTES = 1 << 20
_CALL_COST = 30
"""What RE2 costs for the shortest text: some 10 µs."""


@lru_cache(maxsize=512)
def compile_pattern(pattern: str) -> Any:
    """Return RE2's compiled pattern, which has re's methods; raise CelRuntimeError."""
    import re2

    if len(pattern) > MAX_PATTERN:
        raise CelRuntimeError(f"regex pattern is longer than {MAX_PATTERN} characters")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY_BYTES
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise CelRuntimeError(f"error parsing regexp: {text}") from None


def charge_match(text: str, pattern: str, budget: Budget) -> None:
    """Charge for a search of a text: linear in it, and in the pattern."""
    budget.charge(_CALL_COST + (len(text) // 10 + 1) * (len(pattern) // 4 + 1))


def _compiled(pattern: str) -> Any:
    try:
        return compile_pattern(pattern)
    except CelRuntimeError as error:
        raise CelRuntimeError(f"Illegal regex: {error}") from None


def _find(text: str, pattern: str, budget: Budget) -> str:
    charge_match(text, pattern, budget)
    found = _compiled(pattern).search(text)
    return "" if found is None else str(found[0])


def _find_all(text: str, pattern: str, budget: Budget) -> list[str]:
    return _find_some(text, pattern, -1, budget)


def _find_some(text: str, pattern: str, most: int, budget: Budget) -> list[str]:
    charge_match(text, pattern, budget)
    found: list[str] = []
    matches: Iterator[Any] = _compiled(pattern).finditer(text)
    for match in matches:
        if most >= 0 and len(found) >= most:
            break
        budget.charge(_CALL_COST)
        found.append(match[0])
    return found


FUNCTIONS: Functions = {
    "find": (overload("string.(string) -> string", _find, charges=True),),
    "findAll": (
        overload("string.(string) -> list(string)", _find_all, charges=True),
        overload("string.(string, int) -> list(string)", _find_some, charges=True),
    ),
}
