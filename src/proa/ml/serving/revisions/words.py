"""What a component's pods cannot be made from, and how that is said."""

from __future__ import annotations

INVALID_SPEC = "InvalidPredictorSpec"


class CannotMake(Exception):
    """A component's pods cannot be made as its spec says. `reason` is one of lastFailureInfo's.

    `failure` is what lastFailureInfo says, in upstream's words, where `message` says more.
    """

    def __init__(self, message: str, reason: str = INVALID_SPEC, failure: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.failure = failure or message
