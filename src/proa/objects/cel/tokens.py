"""Cut an expression into tokens, as CEL's grammar does (cel-go parser/gen/CEL.g4)."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from proa.objects.cel.errors import Issue
from proa.objects.cel.values import Uint

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\f]+|//[^\n]*)
    |(?P<float>(?:[0-9]+\.[0-9]+|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+)
    |(?P<int>0x[0-9a-fA-F]+[uU]?|[0-9]+[uU]?)
    |(?P<text>(?:[rR][bB]|[bB][rR]|[rR]|[bB])?(?:\"\"\"|'''|"|'))
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<quoted>`[A-Za-z0-9_.\-/ ]+`)
    |(?P<mark>==|!=|<=|>=|&&|\|\||[<>!?:.,+\-*/%()\[\]{}])""",
    re.VERBOSE | re.ASCII,
)
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|X([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.))",
    re.DOTALL,
)
_BODIES = {
    (quote, raw): re.compile(
        ("(?:(?!" + quote + r")[\s\S])*" if raw else r"(?:\\[\s\S]|(?!" + quote + r")[^\\])*")
        if len(quote) == 3
        else (f"[^{quote}\n\r]*" if raw else r"(?:\\[^\n\r]|[^\\\n\r" + quote + "])*")
    )
    for quote in ('"""', "'''", '"', "'")
    for raw in (False, True)
}
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'",
           '"': '"', "`": "`", "?": "?"}  # fmt: skip
INT_MIN, INT_MAX, UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1


class Token(NamedTuple):
    """`kind` is "name", "quoted", "literal", "end" or the mark itself; `text` is as it stands in the source."""

    kind: str
    text: str
    position: int
    value: Any = None


class Malformed(Exception):
    """The text cannot be cut into tokens."""

    def __init__(self, issue: Issue) -> None:
        super().__init__(issue.message)
        self.issue = issue


def tokens_of(source: str) -> list[Token]:
    """Return the tokens, the last being `end`; raise Malformed."""
    found: list[Token] = []
    at, end = 0, len(source)
    while at < end:
        match = _TOKEN.match(source, at)
        if match is None:
            raise Malformed(Issue(at, f"Syntax error: token recognition error at: '{source[at]}'"))
        kind, start, at = str(match.lastgroup), at, match.end()
        text = match[0]
        if kind == "space":
            continue
        if kind == "mark":
            found.append(Token(text, text, start))
        elif kind == "name":
            found.append(Token("in" if text == "in" else "name", text, start))
        elif kind == "quoted":
            found.append(Token("quoted", text, start, text[1:-1]))
        elif kind == "text":
            value, at = _text(source, start, text)
            found.append(Token("literal", source[start:at], start, value))
        elif kind == "float":
            found.append(Token("literal", text, start, float(text)))
        else:
            found.append(_integer(text, start))
    found.append(Token("end", "<EOF>", end))
    return found


def _integer(text: str, start: int) -> Token:
    """Keep the digits in `text`: the sign before them decides whether they are too large."""
    if text[-1] in "uU":
        number = int(text[:-1], 0 if text.startswith("0x") else 10)
        if number > UINT_MAX:
            raise Malformed(Issue(start, "invalid uint literal"))
        return Token("literal", text, start, Uint(number))
    if len(text) > 40:
        raise Malformed(Issue(start, "invalid int literal"))
    return Token("int", text, start, int(text, 0 if text.startswith("0x") else 10))


def _text(source: str, start: int, opening: str) -> tuple[str | bytes, int]:
    prefix = opening.rstrip("\"'").lower()
    quote = opening[len(prefix) :]
    body = _BODIES[quote, "r" in prefix].match(source, start + len(opening))
    assert body is not None
    if not source.startswith(quote, body.end()):
        rest = source[start:].split("\n")[0]
        raise Malformed(Issue(start, f"Syntax error: token recognition error at: '{rest}'"))
    end = body.end() + len(quote)
    if "r" in prefix or "\\" not in body[0]:
        return (body[0].encode() if "b" in prefix else body[0]), end
    return _unescape(body[0], "b" in prefix, start), end


def _unescape(body: str, is_bytes: bool, start: int) -> str | bytes:
    made = bytearray()
    at = 0
    for match in _ESCAPE.finditer(body):
        made += body[at : match.start()].encode("utf-8", "surrogatepass")
        at = match.end()
        code = next((int(digits, 16) for digits in match.groups()[:4] if digits), None)
        if match[5]:
            code = int(match[5], 8)
        if code is None:
            simple = _SIMPLE.get(match[6])
            if simple is None:
                raise Malformed(Issue(start, f"Syntax error: token recognition error at: '\\{match[6]}'"))
            made += simple.encode()
        elif is_bytes and (match[1] or match[2] or match[5]):
            made.append(code)
        elif code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise Malformed(Issue(start, "invalid unicode code point"))
        else:
            made += chr(code).encode()
    made += body[at:].encode("utf-8", "surrogatepass")
    return bytes(made) if is_bytes else made.decode("utf-8", "surrogatepass")
