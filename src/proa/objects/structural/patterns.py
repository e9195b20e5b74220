"""Match strings against patterns in the syntax of Go's regexp, in time linear in their length (RE2)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

_GO_WORDS = (
    ("missing ]", "missing closing ]"),
    ("missing )", "missing closing )"),
    ("unexpected )", "unexpected )"),
    ("bad repetition operator", "invalid nested repetition operator"),
    ("no argument for repetition operator", "missing argument to repetition operator"),
    ("invalid repetition size", "invalid repeat count"),
    ("invalid character class range", "invalid character class range"),
    ("invalid escape sequence", "invalid escape sequence"),
    ("trailing \\ at end of regular expression", "trailing backslash at end of expression"),
    ("trailing \\", "trailing backslash at end of expression"),
    ("invalid perl operator", "invalid or unsupported Perl syntax"),
    ("invalid named capture group", "invalid named capture"),
)
"""What RE2 says, and what Go's regexp/syntax says of the same fault."""
_MAX_MEMORY_BYTES = 8 << 20


class BadPattern(ValueError):
    """The pattern is none; the message is Go's."""


@lru_cache(maxsize=2048)
def compiled(pattern: str) -> Any:
    """Return an object whose `search(text)` finds the pattern anywhere; raise BadPattern."""
    import re2  # takes 5 ms, and many clusters have no pattern

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY_BYTES
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise BadPattern(_in_go_words(error, pattern)) from None


def _in_go_words(error: Exception, pattern: str) -> str:
    said = error.args[0] if error.args else ""
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    what, _, where = text.partition(": ")
    for theirs, words in _GO_WORDS:
        if what == theirs:
            return (
                f"error parsing regexp: {words}: `{where or pattern}`"
                if where
                else f"error parsing regexp: {words}"
            )
    return f"error parsing regexp: {text}"
