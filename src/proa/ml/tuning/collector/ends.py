"""The signals that tell this process to end: kept from its first line on, and waited for where it has the time.

The first process of a container loses a signal that it has no handler for (pid_namespaces(7)), but not one it blocks.
It has a handler too, which is never called: a node sends again what it sent while we started, until it sees that it is
heard, and a signal that is waited for does not show as blocked.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_signal: Any = __import__("_signal")  # `signal` itself takes 5 ms to import, for names of numbers
_ENDS = (_signal.SIGTERM, _signal.SIGINT)


def keep() -> None:
    """Keep the signals until they are asked for."""
    for number in _ENDS:
        _signal.signal(number, lambda *_: None)
    _signal.pthread_sigmask(_signal.SIG_BLOCK, _ENDS)


def wait(seconds: float) -> bool:
    """Wait, and tell whether this process is to end."""
    return _signal.sigtimedwait(_ENDS, seconds) is not None
