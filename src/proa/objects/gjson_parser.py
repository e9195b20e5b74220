"""Read a GJSON path (gjson.py says what there is to it); say of one that is wrong where, and what would work.

`\\` takes a character's meaning away. What GJSON would quietly find nothing by, such as a comparison outside of
`#(...)` or `a[0]`, is refused: a run whose end is never found would hang its trial.
Source: SYNTAX.md and gjson.go (parseArrayPath, parseObjectPath, parseSubSelectors) of tidwall/gjson.
"""

from __future__ import annotations

from proa.objects.gjson import MODIFIERS, Field, Items, Modifier, Path, Query, Several, Step, like

MAX_LENGTH = 4096
MAX_DEPTH = 20
OPERATORS = ("==", "!=", "<=", ">=", "!%", "=", "<", ">", "%")
_FORBIDDEN = set(" \t\n\"'()=<>!&%[]{},")
"""In a field's name without `\\`: there for something else than a name."""


class BadPath(ValueError):
    """The text is no path; says where and what would work."""


def parse(text: str) -> Path:
    """Return the path that a text is; raise BadPath."""
    if len(text) > MAX_LENGTH:
        raise BadPath(f"longer than {MAX_LENGTH} characters")
    parser = _Parser(text)
    path = parser.path("")
    if parser.at < len(text):
        raise parser.wrong(f"unexpected {text[parser.at]!r}")
    return path


class _Parser:
    """Reads a text from left to right; `at` is the next character's place."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._depth = 0

    def wrong(self, words: str) -> BadPath:
        """Return an error that says where."""
        return BadPath(f"{words} at character {self.at + 1} of {self.text!r}")

    def path(self, ends: str) -> Path:
        """Read parts up to one of `ends`, or a comparison where `ends` has `)`."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self.wrong(f"deeper than {MAX_DEPTH} levels")
        parts = [self._part(ends)]
        while self._next() == "|":
            self.at += 1
            parts.append(self._part(ends))
        self._depth -= 1
        return tuple(parts)

    def _part(self, ends: str) -> tuple[Step, ...]:
        steps = [self._step(ends)]
        while self._next() == ".":
            self.at += 1
            steps.append(self._step(ends))
        return tuple(steps)

    def _step(self, ends: str) -> Step:
        char = self._next()
        if char == "#":
            self.at += 1
            if self._next() == "(":
                return self._query()
            return Items()
        if char == "@":
            return self._modifier(ends)
        if char in ("[", "{"):
            return self._several(char)
        return self._field(ends)

    def _field(self, ends: str) -> Field:
        name, is_pattern, pattern = "", False, ""
        while (char := self._next()) and char not in ".|" and char not in ends:
            if ends == ")" and char in "=!<>% ":
                break
            if char in _FORBIDDEN:
                raise self.wrong(_advice(char))
            if char == "\\":
                self.at += 1
                char = self._next()
                pattern += "\\"
            elif char in "*?":
                is_pattern = True
            name, pattern = name + char, pattern + char
            self.at += 1
        if not name:
            raise self.wrong("a name is missing")
        return Field(name, like(pattern) if is_pattern else None)

    def _modifier(self, ends: str) -> Modifier:
        self.at += 1
        start = self.at
        while (char := self._next()) and (char.isalnum() or char == "_"):
            self.at += 1
        name = self.text[start : self.at]
        if name not in MODIFIERS or self._next() not in ("", ".", "|", *ends):
            self.at = start - 1
            raise self.wrong(f"modifiers are @{', @'.join(MODIFIERS)}, without arguments; unknown one")
        return Modifier(name)

    def _several(self, opening: str) -> Several:
        closing = "]" if opening == "[" else "}"
        paths: list[Path] = []
        names: list[str] = []
        while self._next() != closing or not paths:
            self.at += 1
            if opening == "{":
                names.append(self._name())
            paths.append(self.path("," + closing))
            if self._next() not in (",", closing):
                raise self.wrong(f"{closing!r} is missing")
            if opening == "{" and not names[-1]:
                names[-1] = _last_name(paths[-1])
        self.at += 1
        return Several(tuple(paths), tuple(names) if opening == "{" else None)

    def _name(self) -> str:
        """Read `"name":` of an object's part, "" where there is none."""
        if self._next() != '"':
            return ""
        name = self._quoted()
        if self._next() != ":":
            raise self.wrong("':' is missing")
        self.at += 1
        return name

    def _query(self) -> Query:
        self.at += 1
        self._skip_blanks()
        has_path = self._next() not in ("=", "!", "<", ">", "%")
        path = self.path(")") if has_path else ()
        self._skip_blanks()
        operator = next((o for o in OPERATORS if self.text.startswith(o, self.at)), "")
        self.at += len(operator)
        value = self._value() if operator else ""
        if self._next() != ")":
            raise self.wrong("')' or a comparison is missing")
        self.at += 1
        is_all = self._next() == "#"
        self.at += is_all
        if self._next() and self._next() not in (".|,]})" if self._depth == 1 else ".|,]})=!<>% "):
            raise self.wrong("'.' or '|' is missing")
        return Query(path, operator, value, is_all)

    def _value(self) -> str:
        self._skip_blanks()
        if self._next() == '"':
            value = self._quoted()
        else:
            start = self.at
            while (char := self._next()) and char not in ")(":
                self.at += 1
            value = self.text[start : self.at].strip()
            if value.startswith("~"):
                self.at = start
                raise self.wrong('comparisons with ~ are not known; write true, false, a number or a "text"')
        self._skip_blanks()
        return value

    def _quoted(self) -> str:
        value, start = "", self.at
        self.at += 1
        while (char := self._next()) != '"':
            if char == "\\":
                self.at += 1
                char = self._next()
            if not char:
                self.at = start
                raise self.wrong("'\"' has no end")
            value += char
            self.at += 1
        self.at += 1
        return value

    def _next(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def _skip_blanks(self) -> None:
        while self._next() in (" ", "\t", "\n") and self._next():
            self.at += 1


def _advice(char: str) -> str:
    if char == "[":
        return "an item of a list is written .0, not [0]; unexpected '['"
    if char in "=<>!%\"' &":
        return f'a comparison stands in #(...), such as conditions.#(type=="Complete"); unexpected {char!r}'
    return f"unexpected {char!r}"


def _last_name(path: Path) -> str:
    step = path[-1][-1]
    return step.name if isinstance(step, Field) else "_"
