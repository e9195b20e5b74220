"""What the packages of a revision's making share: what an InferenceService cannot be made from, and how to say so."""

from __future__ import annotations

INVALID_SPEC, NO_RUNTIME, RUNTIME_DISABLED, RUNTIME_UNKNOWN = (
    "InvalidPredictorSpec",
    "NoSupportingRuntime",
    "RuntimeDisabled",
    "RuntimeNotRecognized",
)


class CannotMake(Exception):
    """A component's pods cannot be made as its spec says. `reason` is one of lastFailureInfo's."""

    def __init__(self, message: str, reason: str = INVALID_SPEC) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
