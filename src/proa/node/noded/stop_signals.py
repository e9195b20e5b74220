"""See that a stop signal is not lost on a first process that is still starting.

The kernel drops a signal for the first process of a PID namespace that has no handler for it (pid_namespaces(7)): an
interpreter that has not got to installing its own would never hear that it is to stop, and take all of its grace. So a
signal that was sent to such a process is sent again as soon as there is a handler. A sidecar needs it, whose pod's
containers may end before it is up.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from proa.node.noded.loop import Loop

FIRST_LOOK_SECONDS = 0.005
MAX_LOOK_SECONDS = 0.5


def is_heard(pid: int, number: int, proc: str = "/proc") -> bool:
    """Tell whether a signal sent now has an effect: it is handled, blocked (and so kept), or cannot be dropped."""
    if number in (signal.SIGKILL, signal.SIGSTOP):
        return True
    try:
        with open(f"{proc}/{pid}/status", "rb") as file:
            lines = file.read().split(b"\n")
    except OSError:
        return True  # it has ended
    masks = [line.split()[1] for line in lines if line.startswith((b"SigBlk:", b"SigIgn:", b"SigCgt:"))]
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def send(
    loop: Loop, find_pid: Callable[[], int], send_to: Callable[[], None], number: int, proc: str = "/proc"
) -> None:
    """Send a stop signal by `send_to`, and again once it is heard; `find_pid` returns 0 when there is no use in it."""

    def look(seconds: float) -> None:
        pid = find_pid()
        if not pid:
            return
        if is_heard(pid, number, proc):
            send_to()
        else:
            loop.later(seconds, lambda: look(min(seconds * 2, MAX_LOOK_SECONDS)))

    was_heard = is_heard(find_pid() or os.getpid(), number, proc)
    send_to()
    if not was_heard:
        loop.later(FIRST_LOOK_SECONDS, lambda: look(FIRST_LOOK_SECONDS * 2))
