"""Leave out of the context what .dockerignore names.

Rules: github.com/moby/patternmatcher and its ignorefile. Paths are relative to the context, without `./`. The last
pattern that matches a path or a folder above it decides; `!` takes back. `*` and `?` stay within one name, `**` is
any number of folders. `#` begins a comment in the first column.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from functools import lru_cache

MAX_BYTES = 1 << 20


class BadPattern(Exception):
    """A pattern cannot be understood."""


class Ignore:
    """Tells which paths are left out. `may_take_back` is whether what is below a left-out folder may be in again."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._patterns: list[tuple[bool, re.Pattern[str]]] = []
        for pattern in patterns:
            takes_back = pattern.startswith("!")
            plain = clean(pattern[1:] if takes_back else pattern)
            if takes_back and plain in ("", "."):
                raise BadPattern('illegal exclusion pattern: "!"')
            if plain:
                self._patterns.append((takes_back, pattern_to_regex(plain)))
        self.may_take_back = any(takes_back for takes_back, _ in self._patterns)

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def excludes(self, path: str) -> bool:
        """Tell whether a path ("a/b") is left out."""
        if not self._patterns or not path:
            return False
        names = path.split("/")
        prefixes = ["/".join(names[: length + 1]) for length in range(len(names))]
        for takes_back, pattern in reversed(self._patterns):
            if any(pattern.fullmatch(prefix) for prefix in prefixes):
                return not takes_back
        return False


def parse_ignore(text: str) -> Ignore:
    """Return what a .dockerignore says; raise BadPattern."""
    lines = text.removeprefix("\ufeff").splitlines()
    return Ignore(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def clean(pattern: str) -> str:
    """Return a pattern as Go's filepath.Clean has it, relative to the context."""
    stripped = pattern.strip()
    return posixpath.normpath(stripped).lstrip("/") if stripped else ""


@lru_cache(maxsize=4096)
def pattern_to_regex(pattern: str) -> re.Pattern[str]:
    """Return the regular expression that whole paths must match; raise BadPattern."""
    out, at = "", 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*" and pattern.startswith("*", at):
            at += 1
            at += pattern.startswith("/", at)
            out += "(?:.*/)?" if at < len(pattern) else ".*"
        elif character == "*":
            out += "[^/]*"
        elif character == "?":
            out += "[^/]"
        elif character == "\\" and at < len(pattern):
            out += re.escape(pattern[at])
            at += 1
        elif character == "[":
            found, at = _character_class(pattern, at)
            out += found
        else:
            out += re.escape(character)
    return re.compile(out, re.DOTALL)


def _character_class(pattern: str, at: int) -> tuple[str, int]:
    """Return the class that begins behind `[`, and where it ends."""
    end = pattern.find("]", at + 1 + pattern.startswith("^", at))
    if end < 0:
        raise BadPattern(f"syntax error in pattern: {pattern!r}: a [ without its ]")
    inside = pattern[at:end]
    negated = inside.startswith("^")
    ranges = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside[1:] if negated else inside)
    found = f"[{'^' if negated else ''}{ranges}]"
    try:
        re.compile(found)
    except re.error:
        raise BadPattern(f"syntax error in pattern: {pattern!r}") from None
    return found, end + 1
