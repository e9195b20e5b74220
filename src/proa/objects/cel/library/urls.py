"""Absolute URLs and their parts (apiserver/pkg/cel/library/urls.go; Go's net/url)."""

from __future__ import annotations

import re
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, unquote

from proa.objects.cel.budget import Budget
from proa.objects.cel.errors import CelRuntimeError
from proa.objects.cel.functions import Functions, overload
from proa.objects.quick_dataclass import dataclass
from proa.objects.validation import quote as go_quote

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):", re.ASCII)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.%A-Za-z]*\]|[^\[\]:\s<>\"\\^`{|}]*)(?::([0-9]*))?\Z")
_SAFE_PATH = "$&+,/:;=@!'()*~[]-._"


@dataclass(frozen=True, slots=True)
class Url:
    """What Go's url.Parse tells apart; `path` is as it was written."""

    TYPE_NAME: ClassVar[str] = "kubernetes.URL"
    scheme: str
    host: str
    path: str
    query: str
    text: str


def read_url(text: str, budget: Budget) -> Url:
    """Return `url(text)`; raise CelRuntimeError."""
    budget.charge(len(text) // 10)
    problem = _problem(text)
    if problem:
        message = f"parse {go_quote(text[:1000])}: {problem}"
        raise CelRuntimeError(f"URL parse error during conversion from string: {message}")
    rest = text.partition("#")[0]
    match = _SCHEME.match(rest)
    scheme = match[1].lower() if match else ""
    rest = rest[match.end() :] if match else rest
    rest, _, query = rest.partition("?")
    host, path = "", rest
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        path = slash + path
    return Url(scheme, unquote(host.rpartition("@")[2]), path, query, text)


def _problem(text: str) -> str:
    """Return why Go's url.ParseRequestURI refuses a URL, "" where it does not."""
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in text):
        return "net/url: invalid control character in URL"
    if text == "":
        return "empty url"
    match = _SCHEME.match(text)
    if text.startswith(":"):
        return "missing protocol scheme"
    rest = text[match.end() :] if match else text
    if not rest.startswith("/"):
        return "invalid URI for request"
    rest = rest.partition("?")[0]
    if rest.startswith("//") and match:
        authority = rest[2:].partition("/")[0].rpartition("@")[2]
        if " " in authority:
            return 'invalid character " " in host name'
        if not _HOST.match(authority):
            port = authority.rpartition(":")[2]
            return f"invalid port {go_quote(':' + port)} after host" if ":" in authority else "invalid host"
    bad = _BAD_ESCAPE.search(rest)
    return f"invalid URL escape {go_quote(bad[0])}" if bad else ""


def is_url(text: str, budget: Budget) -> bool:
    """Return `isURL(text)`."""
    budget.charge(len(text) // 10)
    return _problem(text) == ""


def _hostname(url: Url) -> str:
    host = url.host
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _port(url: Url) -> str:
    rest = url.host.rpartition("]")[2] if url.host.startswith("[") else url.host
    return rest.partition(":")[2]


def _escaped_path(url: Url, budget: Budget) -> str:
    budget.charge(len(url.path) // 5)
    return quote(url.path, safe=_SAFE_PATH + "%")


def _query(url: Url, budget: Budget) -> dict[str, Any]:
    budget.charge(len(url.query) // 2)
    if url.query.count("&") > 10_000:
        raise CelRuntimeError("the query has too many parameters")
    pairs = [pair for pair in url.query.split("&") if ";" not in pair and not _BAD_ESCAPE.search(pair)]
    return parse_qs("&".join(pairs), keep_blank_values=True)


def _member(result: str, implementation: Any, charges: bool = False) -> Any:
    return (overload(f"kubernetes.URL.() -> {result}", implementation, charges=charges),)


FUNCTIONS: Functions = {
    "url": (overload("(string) -> kubernetes.URL", read_url, charges=True),),
    "isURL": (overload("(string) -> bool", is_url, charges=True),),
    "getScheme": _member("string", lambda url: url.scheme),
    "getHost": _member("string", lambda url: url.host),
    "getHostname": _member("string", _hostname),
    "getPort": _member("string", _port),
    "getEscapedPath": _member("string", _escaped_path, charges=True),
    "getQuery": _member("map(string, list(string))", _query, charges=True),
}
