"""Say what went wrong in Kubernetes' own words: one error family, turned into a `Status` in one place.

Reasons, codes and wording follow apimachinery/pkg/api/errors/errors.go; causes follow
apimachinery/pkg/util/validation/field/errors.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.objects.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """One field that is wrong. `reason` is e.g. FieldValueInvalid, `field` a path like `spec.replicas`."""

    reason: str
    message: str
    field: str


class ApiError(Exception):
    """A refusal that a client can read: an HTTP code, a CamelCase reason, a message and details."""

    code = 500
    reason = "InternalError"
    shows_empty_details = False
    """Whether the Status has `details: {}` where there are none, as upstream's generic errors have."""
    list_metadata: dict[str, Any] | None = None
    """The Status's metadata, where it has any: the continue token with which an expired list goes on."""

    def __init__(
        self,
        message: str,
        *,
        name: str = "",
        group: str = "",
        kind: str = "",
        uid: str = "",
        causes: Sequence[Cause] = (),
        retry_after_seconds: int = 0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = {
            key: value
            for key, value in (
                ("name", name),
                ("group", group),
                ("kind", kind),
                ("uid", uid),
                ("causes", [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes]),
                ("retryAfterSeconds", retry_after_seconds),
            )
            if value
        }

    def status(self) -> dict[str, Any]:
        """Return the `v1.Status` object that tells a client about this error."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.list_metadata or {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self.details,
            "code": self.code,
        }
        if not self.details and not self.shows_empty_details:
            del status["details"]
        if not self.reason:
            del status["reason"]
        return status


class BadRequest(ApiError):
    """The request cannot be understood."""

    code, reason = 400, "BadRequest"


class Unauthorized(ApiError):
    """The caller is not known."""

    code, reason = 401, "Unauthorized"


class Forbidden(ApiError):
    """The caller is known and may not do this."""

    code, reason = 403, "Forbidden"

    @property
    def is_of_ending_namespace(self) -> bool:
        """Tell whether what was to be made has no place any more, because its namespace is being deleted."""
        return any(cause.get("reason") == "NamespaceTerminating" for cause in self.details.get("causes", ()))


class NotFound(ApiError):
    """The object or path does not exist."""

    code, reason = 404, "NotFound"


class MethodNotAllowed(ApiError):
    """The resource does not offer this verb."""

    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(ApiError):
    """None of the media types that the client accepts can be served."""

    code, reason = 406, "NotAcceptable"


class AlreadyExists(ApiError):
    """An object of that name exists."""

    code, reason = 409, "AlreadyExists"


class Conflict(ApiError):
    """The object has changed since the caller read it: read again and retry."""

    code, reason = 409, "Conflict"


class Expired(ApiError):
    """That resourceVersion is compacted: list again."""

    code, reason = 410, "Expired"


class RequestEntityTooLarge(ApiError):
    """The body is over the limit."""

    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    """The body's content type is not one that the endpoint reads."""

    code, reason = 415, "UnsupportedMediaType"


class Invalid(ApiError):
    """The object was understood and breaks a rule; `causes` names each field."""

    code, reason = 422, "Invalid"


class TooManyRequests(ApiError):
    """Try again later."""

    code, reason = 429, "TooManyRequests"


class InternalError(ApiError):
    """A fault of the server's own."""

    code, reason = 500, "InternalError"


class ServiceUnavailable(ApiError):
    """The server, or what it depends on, cannot answer now."""

    code, reason = 503, "ServiceUnavailable"


class Timeout(ApiError):
    """The server did not finish in time."""

    code, reason = 504, "Timeout"


_FAMILY: tuple[type[ApiError], ...] = (
    BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, NotAcceptable, AlreadyExists, Conflict, Expired,
    RequestEntityTooLarge, UnsupportedMediaType, Invalid, TooManyRequests, InternalError, ServiceUnavailable, Timeout,
)  # fmt: skip


def error_from_status(status: dict[str, Any], code: int) -> ApiError:
    """Return the error that a server's `Status` body (or any other body, by its HTTP code) stands for."""
    reason = status.get("reason", "")
    candidates = (
        [e for e in _FAMILY if e.reason == reason] or [e for e in _FAMILY if e.code == code] or [ApiError]
    )
    error = candidates[0](status.get("message") or f"the server answered {code}")
    error.code = code
    error.details = status.get("details") or {}
    return error
