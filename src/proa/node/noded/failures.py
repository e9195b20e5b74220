"""Say why a request cannot be met, with upstream's word for the reason: the server turns a Failure into its answer."""

from __future__ import annotations


class Failure(Exception):
    """A request that cannot be met; `reason` is upstream's word."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def as_failure(reason: str, doing: str, error: BaseException) -> Failure:
    """Return the failure that an error while `doing` something means."""
    if isinstance(error, Failure):
        return error
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Failure(reason, f"{doing}: {words}")
