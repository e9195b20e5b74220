"""See that a stop signal is not lost on a first process that is still starting.

The kernel drops a signal for the first process of a PID namespace that has no handler for it (pid_namespaces(7)): an
interpreter that has not got to installing its own would never hear that it is to stop, and take all of its grace. So a
signal is sent again until there is a handler, or until it is kept for sure: blocked by who waits for it (sigwait(3),
signalfd(2)), and not only while a shell forks. A sidecar needs it, whose pod's containers may end before it is up.

`runc start` returns before runc's own process has become the program. That one is Go's: it has handlers for all
signals, and they do nothing for the program.
"""

from __future__ import annotations

import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from proa.node.noded.loop import Loop

    Hearing = Literal["sure", "kept", "lost"]
    """Whether a signal sent now has an effect; one that is kept has none if it is unblocked before it is waited for."""

FIRST_LOOK_SECONDS = 0.005
MAX_LOOK_SECONDS = 0.5
_MASKS = (b"SigBlk:", b"SigIgn:", b"SigCgt:")
_NOT_YET_THE_PROGRAM = b"Name:\trunc:["


def find_hearing(pid: int, number: int, proc: str = "/proc") -> Hearing:
    """Return what becomes of a signal that is sent to a process now."""
    if number in (signal.SIGKILL, signal.SIGSTOP):
        return "sure"
    try:
        with open(f"{proc}/{pid}/status", "rb") as file:
            lines = file.read().split(b"\n")
    except OSError:
        return "sure"  # it has ended
    if lines[0].startswith(_NOT_YET_THE_PROGRAM):
        return "lost"
    known = {line[:7] for line in lines if line.startswith(_MASKS) and int(line[7:], 16) >> (number - 1) & 1}
    if b"SigCgt:" in known or b"SigIgn:" in known:
        return "sure"
    return "kept" if known or _waits_for_signals(pid, proc) else "lost"


def _waits_for_signals(pid: int, proc: str) -> bool:
    """Tell whether a process sleeps in sigtimedwait(2): what it waits for it blocks, but not while it sleeps."""
    try:
        with open(f"{proc}/{pid}/wchan", "rb") as file:
            return b"sigtimedwait" in file.read()
    except OSError:
        return False


def send(
    loop: Loop, find_pid: Callable[[], int], send_to: Callable[[], None], number: int, proc: str = "/proc"
) -> None:
    """Send a stop signal by `send_to`, and again until it is heard; `find_pid` returns 0 when there is no use in it."""

    def look(seconds: float, *, was_kept: bool) -> None:
        pid = find_pid()
        if not pid:
            return
        hearing = find_hearing(pid, number, proc)
        if hearing == "kept" and was_kept:
            return  # so was what was sent the last time
        send_to()
        if hearing != "sure":
            again = min(seconds * 2, MAX_LOOK_SECONDS)
            loop.later(seconds, lambda: look(again, was_kept=hearing == "kept"))

    look(FIRST_LOOK_SECONDS, was_kept=False)
