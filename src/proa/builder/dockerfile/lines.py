"""Split a Dockerfile into statements: keyword, flags, the rest as text, here-documents, and the lines they stand on.

Parser directives come first; then comments and blank lines go, lines that end in the escape character are joined,
and what RUN, COPY and ADD have after `<<NAME` is taken up to the line NAME. As BuildKit's
frontend/dockerfile/parser/parser.go.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from proa.builder.dockerfile.errors import DockerfileError
from proa.builder.dockerfile.words import WordError, Words

MAX_BYTES = 1 << 20
DIRECTIVES = ("syntax", "escape", "check")
_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$")
_HEREDOC = re.compile(r"(\d*)<<(-?)([^<]*)")
_WITH_HEREDOCS = ("ADD", "COPY", "RUN")


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A here-document. `raw` is as written; `expand` is whether variables in it are replaced (its name is unquoted)."""

    name: str
    raw: str
    expand: bool
    chomp: bool

    @property
    def content(self) -> str:
        """What it says: without leading tabs after `<<-`."""
        return re.sub(r"(?m)^\t+", "", self.raw) if self.chomp else self.raw


@dataclass(frozen=True, slots=True)
class Statement:
    """One instruction as written. `keyword` is in upper case; `json` is set where the rest is a JSON array."""

    line: int
    end_line: int
    keyword: str
    flags: tuple[tuple[str, str | None], ...]
    rest: str
    json: tuple[str, ...] | None
    heredocs: tuple[Heredoc, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Lines:
    """A Dockerfile, split. `escape` is the escape character."""

    directives: dict[str, str]
    escape: str
    statements: tuple[Statement, ...]


def split(text: str) -> Lines:
    """Return the statements of a Dockerfile; raise DockerfileError."""
    if len(text) > MAX_BYTES:
        raise DockerfileError(0, f"it is larger than {MAX_BYTES >> 10} KiB")
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    directives = _read_directives(lines)
    escape = directives.get("escape", "\\")
    if escape not in ("\\", "`"):
        raise DockerfileError(1, f"invalid ESCAPE '{escape}'. Must be ` or \\")
    statements: list[Statement] = []
    at = 0
    while at < len(lines):
        stripped = lines[at].strip()
        if not stripped or stripped.startswith("#"):
            at += 1
            continue
        statement, at = _read_statement(lines, at, escape)
        statements.append(statement)
    return Lines(directives, escape, tuple(statements))


def _read_directives(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _DIRECTIVE.match(line.strip())
        name = match[1].lower() if match else ""
        if match is None or name not in DIRECTIVES:
            break
        if name in found:
            raise DockerfileError(number, f"only one {name} parser directive can be used")
        found[name] = match[2]
    return found


def _read_statement(lines: list[str], start: int, escape: str) -> tuple[Statement, int]:
    """Return the statement that begins at index `start`, and the index of the line behind it."""
    text, going_on = _without_continuation(lines[start].lstrip(), escape)
    at = start + 1
    while going_on and at < len(lines):
        line = lines[at]
        at += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        piece, going_on = _without_continuation(line, escape)
        text += piece
    keyword, flags, rest = _take_flags(text.strip(), escape, start + 1)
    array = _json_array(rest, start + 1) if keyword in _WITH_JSON else None
    heredocs, at = _read_heredocs(lines, at, keyword, rest if array is None else "", start + 1)
    source = "\n".join(lines[start:at]).rstrip("\n")
    return Statement(start + 1, at, keyword, flags, rest, array, heredocs, source), at


def _without_continuation(line: str, escape: str) -> tuple[str, bool]:
    """Return the line without an escape character at its end, and whether it had one."""
    stripped = line.rstrip(" \t")
    if stripped.endswith(escape) and not stripped.endswith(escape * 2):
        return stripped[: -len(escape)], True
    return line, False


def _take_flags(text: str, escape: str, line: int) -> tuple[str, tuple[tuple[str, str | None], ...], str]:
    keyword, _, rest = re.sub(r"\s", " ", text, count=1).partition(" ")
    flags: list[tuple[str, str | None]] = []
    rest = rest.strip()
    while rest.startswith("--"):
        word, rest = _first_word(rest, escape)
        rest = rest.strip()
        if word == "--":
            break
        name, equals, value = word[2:].partition("=")
        flags.append((name, value if equals else None))
    return keyword.upper(), tuple(flags), rest


def _first_word(text: str, escape: str) -> tuple[str, str]:
    """Return a flag, with quotes and escapes in it resolved, and what is behind it."""
    word, quote, at = "", "", 0
    while at < len(text):
        character = text[at]
        if character == escape and at + 1 < len(text):
            at += 1
            word += text[at]
        elif quote:
            quote = "" if character == quote else quote
            word += "" if not quote else character
        elif character in "'\"":
            quote = character
        elif character.isspace():
            break
        else:
            word += character
        at += 1
    return word, text[at:]


_WITH_JSON = ("ADD", "COPY", "RUN", "CMD", "ENTRYPOINT", "SHELL", "VOLUME")


def _json_array(text: str, line: int) -> tuple[str, ...] | None:
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, list):
        return None
    if not all(isinstance(word, str) for word in found):
        raise DockerfileError(line, "when using JSON array syntax, arrays must be comprised of strings only")
    return tuple(found)


def as_json(text: str, line: int) -> tuple[str, ...] | None:
    """Return the words of a JSON array, None where the text is none."""
    return _json_array(text, line)


def _read_heredocs(
    lines: list[str], at: int, keyword: str, rest: str, line: int
) -> tuple[tuple[Heredoc, ...], int]:
    if keyword == "ONBUILD":
        keyword, _, rest = _take_flags(rest, "\\", line)
    if keyword not in _WITH_HEREDOCS or "<<" not in rest:
        return (), at
    found: list[Heredoc] = []
    for name, expand, chomp in find_heredocs(rest):
        body: list[str] = []
        while True:
            if at >= len(lines):
                raise DockerfileError(line, f"unterminated heredoc: no line is {name}")
            text = lines[at]
            at += 1
            if (text.lstrip("\t") if chomp else text) == name:
                break
            body.append(text + "\n")
        found.append(Heredoc(name, "".join(body), expand, chomp))
    return tuple(found), at


def find_heredocs(text: str) -> list[tuple[str, bool, bool]]:
    """Return (name, expand, chomp) of each here-document that a line announces."""
    try:
        words = Words({}, raw=True).split(text)
    except WordError:
        return []  # quotes that the shell may understand; none of ours
    return [found for word in words if (found := parse_heredoc(word))]


def parse_heredoc(word: str) -> tuple[str, bool, bool] | None:
    """Return (name, expand, chomp) where this word announces a here-document."""
    match = _HEREDOC.fullmatch(word)
    if match is None or not match[3]:
        return None
    try:
        names = Words({}).split(match[3])
    except WordError:
        return None
    if len(names) != 1:
        return None
    return names[0], not any(quote in match[3] for quote in "'\""), match[2] == "-"
