"""Send one GET to a port on the pod network: a socket made in the node's namespace, one request, one answer's head.

Follows pkg/probe/http (redirects to the same host are followed, at most ten; certificates are not checked).
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import field, replace
from urllib.parse import urljoin, urlsplit

from proa.client.protocol import Object
from proa.node.runtimes.protocol import Runtime
from proa.objects.quick_dataclass import dataclass

HEAD_LIMIT = 64 * 1024
BODY_LIMIT = 10 * 1024
MAX_REDIRECTS = 10
USER_AGENT = "kube-probe/1.36"


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer's status and headers (lower-case names), and of a redirect the beginning of its body."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


async def http_get(runtime: Runtime, get: Object, default_host: str, port: int) -> HttpAnswer:
    """Return what the server answers to an HTTPGetAction; raise OSError, RuntimeFailure, ValueError."""
    scheme = (get.get("scheme") or "HTTP").lower()
    host = get.get("host") or default_host
    url = url_of(get, default_host, port)
    headers = {h["name"]: h["value"] for h in get.get("httpHeaders") or []}
    answer = HttpAnswer(0)
    for _ in range(MAX_REDIRECTS + 1):
        answer = await _ask(runtime, scheme, host, port, url, headers)
        location = answer.headers.get("location", "")
        if not 300 <= answer.status < 400 or not location:
            return answer
        url = urljoin(url, location)
        target = urlsplit(url)
        if target.hostname != host:
            return answer
        scheme, port = target.scheme, target.port or (443 if target.scheme == "https" else 80)
    raise ValueError(f"stopped after {MAX_REDIRECTS} redirects")


def url_of(get: Object, default_host: str, port: int) -> str:
    """Return the URL that an HTTPGetAction asks for."""
    path = get.get("path") or "/"
    scheme = (get.get("scheme") or "HTTP").lower()
    host = get.get("host") or default_host
    return f"{scheme}://{host}:{port}{path if path.startswith('/') else '/' + path}"


async def _ask(
    runtime: Runtime, scheme: str, host: str, port: int, url: str, headers: dict[str, str]
) -> HttpAnswer:
    connection = await runtime.dial("", host, port)
    try:
        context = _unchecked() if scheme == "https" else None
        reader, writer = await asyncio.open_connection(
            sock=connection, ssl=context, server_hostname=host if context else None, limit=HEAD_LIMIT
        )
    except BaseException:
        connection.close()
        raise
    try:
        writer.write(_request(url, host, port, headers))
        answer = _parse(await _read_head(reader))
        return (
            replace(answer, body=await _read_body(reader, answer)) if 300 <= answer.status < 400 else answer
        )
    finally:
        writer.transport.abort()


def _unchecked() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _request(url: str, host: str, port: int, headers: dict[str, str]) -> bytes:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    given = {name.lower() for name in headers}
    defaults = {"Host": f"{host}:{port}", "User-Agent": USER_AGENT, "Accept": "*/*", "Connection": "close"}
    lines = [f"GET {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in defaults.items() if name.lower() not in given]
    lines += [f"{name}: {value}" for name, value in headers.items() if value]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            raise ConnectionResetError("EOF") from None
        return error.partial
    except asyncio.LimitOverrunError:
        raise ValueError("the answer's head is too long") from None


async def _read_body(reader: asyncio.StreamReader, answer: HttpAnswer) -> bytes:
    length = answer.headers.get("content-length", "")
    wanted = min(int(length), BODY_LIMIT) if length.isdigit() else BODY_LIMIT
    body = b""
    while len(body) < wanted and (more := await reader.read(wanted - len(body))):
        body += more
    return body


def _parse(head: bytes) -> HttpAnswer:
    first, *rest = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        raise ValueError(f"malformed HTTP response {first[:80]!r}")
    pairs = (line.partition(":") for line in rest if ":" in line)
    return HttpAnswer(int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs})
