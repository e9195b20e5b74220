"""Tell at compile time what a literal argument will make a function refuse (cel-go cel/validator.go)."""

from __future__ import annotations

from proa.objects.cel.errors import CelRuntimeError
from proa.objects.cel.library.regex import compile_pattern
from proa.objects.cel.library.times import read_timestamp
from proa.objects.cel.values import parse_duration


def check_literal(function: str, text: str) -> None:
    """Raise CelRuntimeError where `duration`, `timestamp` or `matches` can never take the text."""
    if function == "matches":
        compile_pattern(text)
    elif function == "timestamp":
        read_timestamp(text)
    else:
        try:
            parse_duration(text)
        except ValueError as error:
            raise CelRuntimeError(str(error)) from None
