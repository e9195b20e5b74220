"""What the activator itself answers: refusals, in HTTP/1.1's words and in gRPC's."""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple


class Refusal(NamedTuple):
    """Why a request is not forwarded."""

    status: HTTPStatus
    words: str
    grpc_status: int
    """UNAVAILABLE 14, DEADLINE_EXCEEDED 4, NOT_FOUND 5, …"""
    retry_seconds: int = 0


MALFORMED = Refusal(HTTPStatus.BAD_REQUEST, "this is no HTTP request that the activator understands", 3)
LONG_HEAD = Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's headers are too long", 8)
NO_REVISION = Refusal(
    HTTPStatus.NOT_FOUND,
    "the request names no revision: it needs the headers Knative-Serving-Revision and Knative-Serving-Namespace, "
    "or a Host such as REVISION.NAMESPACE.svc",
    5,
)
QUEUE_FULL = Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "pending request queue full", 14, 1)
MEMORY_FULL = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "the activator holds as many bytes of the namespace's requests as it may",
    14,
    1,
)
TIMED_OUT = Refusal(HTTPStatus.GATEWAY_TIMEOUT, "activator request timeout", 4)
BROKEN = Refusal(HTTPStatus.BAD_GATEWAY, "the pod ended the connection before it answered", 14)


def unknown(name: str, namespace: str) -> Refusal:
    """Return the refusal of a request for what is not there."""
    return Refusal(HTTPStatus.NOT_FOUND, f'revision "{name}" not found in namespace "{namespace}"', 5)


def make_answer(refusal: Refusal, *, is_head: bool = False, closes: bool = False) -> bytes:
    """Return the whole answer."""
    body = f"{refusal.words}\n".encode()
    return _answer(refusal.status, body, refusal.retry_seconds, is_head=is_head, closes=closes)


def make_probe_answer(name: str) -> bytes:
    """Return the answer to who asks whether the activator is here."""
    return _answer(HTTPStatus.OK, name.encode(), 0, is_head=False, closes=False)


def _answer(status: HTTPStatus, body: bytes, retry_seconds: int, *, is_head: bool, closes: bool) -> bytes:
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", "Content-Type: text/plain; charset=utf-8"]
    lines.append(f"Content-Length: {len(body)}")
    if retry_seconds:
        lines.append(f"Retry-After: {retry_seconds}")
    if closes:
        lines.append("Connection: close")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    return head if is_head else head + body
