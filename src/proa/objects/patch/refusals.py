"""Say that a patch does not fit, with upstream's codes: they differ by what is wrong with the patch.

400 for a malformed patch, 422 for one that does not apply to this object, and 500 with the bare message where
upstream has no better answer (apiserver/pkg/endpoints/handlers/patch.go, interpretStrategicMergePatchError).
"""

from __future__ import annotations

from typing import Any

from proa.objects.errors import ApiError, BadRequest, Invalid


class DoesNotApply(Invalid):
    """The patch is well formed and cannot be applied to this object.

    Upstream answers with a fixed message and empty details; `why` is for logs.
    """

    def __init__(self, why: str) -> None:
        super().__init__("the server rejected our request due to an error in our request")
        self.why = why

    def status(self) -> dict[str, Any]:
        """Return the `Status`, whose details are there although they are empty."""
        return {**super().status(), "details": self.details}


class BadMerge(ApiError):
    """A strategic merge patch breaks a rule of its lists; upstream gives it no reason and the code 500."""

    code, reason = 500, ""


def too_deep() -> BadRequest:
    """Return the error for values nested deeper than can be handled."""
    return BadRequest("exceeded max depth")
