"""Say no as upstream does: a gRPC code, its words, and the gateway's JSON and HTTP status for it.

Upstream: backend/src/common/util/error.go, and grpc-gateway's runtime/errors.go for the statuses.
"""

from __future__ import annotations

from enum import IntEnum

import orjson

from proa.client.protocol import Response


class Code(IntEnum):
    """The codes of gRPC that are answered with."""

    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


_STATUSES = {
    Code.INVALID_ARGUMENT: 400,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}
_KINDS = {
    Code.INVALID_ARGUMENT: "Invalid input error",
    Code.NOT_FOUND: "ResourceNotFoundError",
    Code.ALREADY_EXISTS: "Already exist error",
    Code.PERMISSION_DENIED: "PermissionDenied",
    Code.FAILED_PRECONDITION: "FailedPreconditionError",
    Code.ABORTED: "BadRequestError",
    Code.INTERNAL: "InternalServerError",
    Code.UNAVAILABLE: "ServiceUnavailable",
    Code.UNAUTHENTICATED: "Unauthenticated",
}


class Refusal(Exception):
    """What was asked for is not done. `message` is for whoever asked."""

    def __init__(self, code: Code, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


def invalid(message: str) -> Refusal:
    """Refuse what cannot be."""
    return Refusal(Code.INVALID_ARGUMENT, message)


def not_found(kind: str, name: str) -> Refusal:
    """Say that there is none, in upstream's words."""
    return Refusal(Code.NOT_FOUND, f"{kind} {name} not found")


def make_answer(code: Code, message: str, doing: str = "") -> Response:
    """Return the gateway's answer; `doing` says what failed ("Failed to get a run")."""
    kind = _KINDS.get(code)
    whole = f"{kind}: {message}" if kind else message
    if doing:
        whole = f"{doing}: {whole}"
    details = [{"@type": "type.googleapis.com/google.rpc.Status", "code": int(code), "message": message}]
    body = {"error": whole, "code": int(code), "message": whole, "details": details}
    headers = {"Content-Type": "application/json"}
    if code == Code.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(_STATUSES[code], headers, orjson.dumps(body))
