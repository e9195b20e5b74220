"""Remember how far a change of one pod's resources has come, and tell it.

What is to be done is decided in resize.py and pod_lifecycle.py; a change that has to wait for room on the node is
judged again whenever another pod goes. Events follow pkg/kubelet/allocation and pkg/kubelet/events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from proa.client.protocol import Object
from proa.node.pod_handle import PodHandle
from proa.node.pod_view import PodView
from proa.node.resize import ALLOWED, has_changes, held_back, judge, summary
from proa.objects.pods import amounts

RETRY_SECONDS = 10.0


class PodResize:
    """One pod's. `others` returns the other pods that count on the node."""

    def __init__(self, pod: PodHandle, others: Callable[[], Sequence[Object]]) -> None:
        self._pod = pod
        self._others = others
        self._verdict = ALLOWED
        self._error = ""
        self._retry_at = 0.0
        self._told: tuple[int, str] = (0, "")

    @property
    def is_pending(self) -> bool:
        """Tell whether a change waits for room."""
        return self._verdict.reason == "Deferred"

    def judged(self, view: PodView) -> PodView:
        """Return the view with what is to become of the pod's resources; what is new is told."""
        if not has_changes(view):
            if self._told[1] == "ResizeStarted":
                self._tell("Normal", "ResizeCompleted", f"Pod resize completed: {summary(view.pod)}")
            self._verdict, self._error, self._retry_at = ALLOWED, "", 0.0
            self._pod.held_back = {}
            return view
        self._verdict = judge(view.pod, self._others(), self._allocatable())
        self._pod.held_back = held_back(view, self._verdict)
        self._tell_verdict(view)
        return replace(
            view,
            resize_pending=(self._verdict.reason, self._verdict.message),
            resize_error=self._error,
            resize_retry_at=self._retry_at,
            held_back=self._pod.held_back,
        )

    def failed(self, message: str) -> None:
        """The runtime refused."""
        self._error = message
        self._retry_at = self._pod.node.now() + RETRY_SECONDS
        self._tell("Warning", "ResizeError", f"Pod resize error: {message}")

    def _allocatable(self) -> Mapping[str, int]:
        return amounts(self._pod.node.machine.allocatable)

    def _tell_verdict(self, view: PodView) -> None:
        if self._verdict == ALLOWED:
            self._tell("Normal", "ResizeStarted", f"Pod resize started: {summary(view.pod)}")
            return
        words = f"Pod resize {self._verdict.reason}: {self._verdict.message}"
        self._tell("Warning", f"Resize{self._verdict.reason}", words)

    def _tell(self, type: str, reason: str, message: str) -> None:
        """Tell each step of one change once."""
        step = (self._pod.pod["metadata"].get("generation", 1), reason)
        if step != self._told:
            self._told = step
            self._pod.event(type, reason, message)
