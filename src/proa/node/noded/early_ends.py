"""Remember how processes ended that nobody had named yet.

Where a program of others (runc) starts a container, its first process becomes noded's child before noded has heard
its pid, and may have ended by then. The newest end of a pid is that of the process meant, once no process has it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from proa.node.noded.loop import Loop

_KEPT = 256


class EarlyEnds:
    """The last few ends of children that were nobody's."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._statuses: dict[int, int] = {}

    def note(self, pid: int, status: int) -> None:
        """A child has ended that is not known (yet)."""
        self._statuses.pop(pid, None)
        self._statuses[pid] = status
        if len(self._statuses) > _KEPT:
            del self._statuses[next(iter(self._statuses))]

    def settle(self, pid: int, tell: Callable[[int, int], None]) -> None:
        """Tell of the end of a process that has just become known, if it has ended already."""
        status = self._statuses.pop(pid, None)
        if status is not None and not os.path.exists(f"/proc/{pid}"):
            self._loop.later(0.0, lambda: tell(pid, status))
