"""Why a request is not answered as asked: an HTTP status, words for people, and gRPC's code for the same.

Source: KServe's python/kserve/kserve/errors.py and protocol/grpc/interceptors.py.
"""

from __future__ import annotations

from proa.ml.grpc.status import Code

_CODES = {
    400: Code.INVALID_ARGUMENT,
    404: Code.NOT_FOUND,
    413: Code.RESOURCE_EXHAUSTED,
    429: Code.RESOURCE_EXHAUSTED,
    501: Code.UNIMPLEMENTED,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}


class Refused(Exception):
    """A request that is answered with an error. `retry_after` in seconds; 0: it need not be tried again."""

    def __init__(self, status: int, message: str, *, retry_after: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after

    @property
    def code(self) -> Code:
        """Return gRPC's code for it."""
        return _CODES.get(self.status, Code.INTERNAL)


def bad_request(message: str) -> Refused:
    """Return what says that the client has sent what nobody can answer."""
    return Refused(400, message)


def no_such_model(name: str) -> Refused:
    """Return what says that there is no such model, in KServe's words."""
    return Refused(404, f"Model with name {name} does not exist.")


def not_ready(name: str, why: str = "") -> Refused:
    """Return what says that a model is not loaded, in KServe's words."""
    return Refused(503, f"Model with name {name} is not ready.{' ' if why else ''}{why}", retry_after=1)
