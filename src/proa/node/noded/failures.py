"""Say why a request cannot be met, with upstream's word for the reason: the server turns a Failure into its answer."""

from __future__ import annotations


class Failure(Exception):
    """A request that cannot be met; `reason` is upstream's word."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def no_runtime(handler: str) -> str:
    """Return containerd's words for a RuntimeClass whose handler is not there."""
    return f'failed to get sandbox runtime: no runtime for "{handler}" is configured'


def no_user_namespaces(handler: str) -> str:
    """Return the kubelet's words for hostUsers: false where it cannot be had (pkg/kubelet/userns)."""
    who = f'RuntimeClass handler "{handler}"' if handler else "runtime"
    return f"can't set `spec.hostUsers: false`, {who} does not support user namespaces"


def as_failure(reason: str, doing: str, error: BaseException) -> Failure:
    """Return the failure that an error while `doing` something means."""
    if isinstance(error, Failure):
        return error
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Failure(reason, f"{doing}: {words}")
