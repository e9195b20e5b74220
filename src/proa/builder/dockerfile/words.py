"""Resolve quotes, escapes and variables in a Dockerfile's words, as BuildKit's frontend/dockerfile/shell/lex.go does.

`$name`, `${name}` and `${name…}` with :- - :+ + :? ? # ## % %% / //. What is not set is empty. In single quotes nothing
is special; in double quotes `$` is, and the escape character before `"`, `$` and itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_SPECIAL = "@*#?-!$0"
_MAX_LENGTH = 1 << 20


class WordError(Exception):
    """A word cannot be understood, or wants a variable that is not set."""


class Words:
    """Expands with these variables.

    `raw` keeps quotes, escapes and unset variables; without `quotes` these are characters like others.
    """

    def __init__(
        self, variables: Mapping[str, str], escape: str = "\\", *, raw: bool = False, quotes: bool = True
    ) -> None:
        self._variables = variables
        self._escape = escape
        self._raw = raw
        self._quotes = quotes

    def expand(self, text: str) -> str:
        """Return the text as one word."""
        return self._read(text).text

    def split(self, text: str) -> list[str]:
        """Return the text's words; what a variable holds is split too, unless it stands in quotes."""
        return self._read(text).words

    def _read(self, text: str) -> _Reader:
        reader = _Reader(text, self._variables, self._escape, raw=self._raw, quotes=self._quotes)
        reader.read()
        return reader


class _Reader:
    def __init__(
        self, source: str, variables: Mapping[str, str], escape: str, *, raw: bool, quotes: bool
    ) -> None:
        self._source = source
        self._at = 0
        self._variables = variables
        self._escape = escape
        self._raw = raw
        self._quotes = quotes
        self.text = ""
        self.words: list[str] = []
        self._word: str | None = None

    def read(self) -> None:
        """Fill in `text` and `words`."""
        pieces: list[str] = []
        length = 0
        for piece, splits in self._pieces("", keep_escapes=self._raw):
            length += len(piece)
            if length > _MAX_LENGTH:
                raise WordError("it is too long once its variables are replaced")
            pieces.append(piece)
            self._add(piece, splits)
        self.text = "".join(pieces)
        if self._word is not None:
            self.words.append(self._word)

    def _add(self, piece: str, splits: bool) -> None:
        if not splits:
            self._word = (self._word or "") + piece
            return
        for character in piece:
            if not character.isspace():
                self._word = (self._word or "") + character
            elif self._word is not None:
                self.words.append(self._word)
                self._word = None

    def _pieces(self, stop: str, *, keep_escapes: bool) -> list[tuple[str, bool]]:
        """Return (text, whether blanks in it separate words) up to the stop character, which is taken too."""
        found: list[tuple[str, bool]] = []
        while self._at < len(self._source):
            character = self._source[self._at]
            self._at += 1
            if character == stop:
                return found
            if character == "'" and self._quotes:
                found.append((self._single_quoted(), False))
            elif character == '"' and self._quotes:
                found.append((self._double_quoted(), False))
            elif character == "$":
                found.append((self._dollar(), True))
            elif character == self._escape:
                if keep_escapes:
                    found.append((character, False))
                if self._at < len(self._source):
                    found.append((self._source[self._at], False))
                    self._at += 1
            else:
                found.append((character, True))
        if stop:
            raise WordError(f"syntax error: missing {stop!r} in {self._source!r}")
        return found

    def _until(self, stop: str, *, keep_escapes: bool) -> str:
        return "".join(piece for piece, _ in self._pieces(stop, keep_escapes=keep_escapes))

    def _single_quoted(self) -> str:
        end = self._source.find("'", self._at)
        if end < 0:
            raise WordError(
                f"unexpected end of statement while looking for matching single-quote in {self._source!r}"
            )
        inside = self._source[self._at : end]
        self._at = end + 1
        return f"'{inside}'" if self._raw else inside

    def _double_quoted(self) -> str:
        pieces = ['"'] if self._raw else []
        while self._at < len(self._source):
            character = self._source[self._at]
            self._at += 1
            if character == '"':
                return "".join([*pieces, '"'] if self._raw else pieces)
            if character == "$":
                pieces.append(self._dollar())
                continue
            following = self._source[self._at : self._at + 1]
            if character == self._escape and following in ('"', "$", self._escape) and following:
                self._at += 1
                pieces.append(character + following if self._raw else following)
                continue
            pieces.append(character)
        raise WordError(
            f"unexpected end of statement while looking for matching double-quote in {self._source!r}"
        )

    def _dollar(self) -> str:
        if self._source[self._at : self._at + 1] == "{":
            return self._braces()
        name = self._name()
        if not name:
            return "$"
        if name not in self._variables and self._raw:
            return f"${name}"
        return self._variables.get(name, "")

    def _name(self) -> str:
        rest = self._source[self._at :]
        match = re.match(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+", rest)
        name = match[0] if match else rest[:1] if rest[:1] and rest[0] in _SPECIAL else ""
        self._at += len(name)
        return name

    def _braces(self) -> str:
        start = self._at - 1
        self._at += 1
        name = self._name()
        sign = self._source[self._at : self._at + 1]
        self._at += 1
        if not name or not sign:
            missing = "syntax error: missing '}'" if name or not sign else "bad substitution"
            raise WordError(f"{missing} in {self._source[start:]!r}")
        value = self._variables.get(name)
        if sign == "}":
            unknown = value is None and self._raw
            return self._source[start : self._at] if unknown else value or ""
        if sign == "/":
            return self._replaced(value)
        if sign in "#%":
            return self._trimmed(sign, value)
        if sign == ":":
            value = value or None
            sign = self._source[self._at : self._at + 1]
            self._at += 1
            words = "is not allowed to be empty"
        else:
            words = "is not allowed to be unset"
        if sign not in ("-", "+", "?"):
            raise WordError(f"unsupported modifier ({sign}) in substitution {self._source[start:]!r}")
        word = self._until("}", keep_escapes=False)
        if sign == "-":
            return word if value is None else value
        if sign == "+":
            return "" if value is None else word
        if value is None:
            raise WordError(f"{name}: {word or words}")
        return value

    def _trimmed(self, sign: str, value: str | None) -> str:
        pattern = self._until("}", keep_escapes=True)
        greedy = pattern.startswith(sign)
        expression = pattern_to_regex(pattern[1:] if greedy else pattern, self._escape)
        return trim(value or "", expression, at_end=sign == "%", greedy=greedy)

    def _replaced(self, value: str | None) -> str:
        everywhere = self._source[self._at : self._at + 1] == "/"
        self._at += everywhere
        pattern = self._until("/", keep_escapes=True)
        replacement = self._until("}", keep_escapes=False)
        expression = pattern_to_regex(pattern, self._escape)
        return re.sub(expression, lambda _: replacement, value or "", count=0 if everywhere else 1)


def pattern_to_regex(pattern: str, escape: str) -> str:
    """Return a regular expression for a shell pattern: `*`, `?`, and the escape character before either."""
    out, at = "", 0
    while at < len(pattern):
        character = pattern[at]
        if character == escape and at + 1 < len(pattern):
            at += 1
            out += re.escape(pattern[at])
        elif character == "*":
            out += "" if out.endswith(".*") else ".*"  # `**` would only cost time
        else:
            out += "." if character == "?" else re.escape(character)
        at += 1
    return f"(?s:{out})"


def trim(value: str, expression: str, *, at_end: bool, greedy: bool) -> str:
    """Return the value without the shortest (or longest) start (or end) that matches."""
    compiled = re.compile(expression)
    lengths = range(len(value), -1, -1) if greedy else range(len(value) + 1)
    for length in lengths:
        piece = value[len(value) - length :] if at_end else value[:length]
        if compiled.fullmatch(piece):
            return value[: len(value) - length] if at_end else value[length:]
    return value
