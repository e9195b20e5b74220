"""Why a step failed, or could not be made: a message for people, and whether another attempt could go better."""

from __future__ import annotations


class StepFailed(Exception):
    """A step's failure. The message names the task, says what happened and what would help.

    Where not `can_retry`, another attempt would fail in the same way.
    """

    def __init__(
        self, message: str, *, can_retry: bool = False, exit_code: int | None = None, reason: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.can_retry = can_retry
        self.exit_code = exit_code
        self.reason = reason
        """One CamelCase word for what happened, Kubernetes' own where it has one: OOMKilled, ErrImagePull."""
