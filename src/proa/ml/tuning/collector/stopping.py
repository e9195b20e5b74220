"""Stop the training: tell the shell that is its parent which signals to send it, by a FIFO that both have.

The shell (injection/wrapping.py) may not be there yet, or no more: then there is no reader, and it is tried again.
"""

from __future__ import annotations

import os
import time

PATIENCE_SECONDS = 10.0
"""After which a training that does not end is killed."""


class Stopper:
    """What sends signals to the training; `path` is the FIFO."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._told_at = 0.0
        self._is_killed = False
        make_fifo(path)

    @property
    def has_stopped(self) -> bool:
        """Tell whether the training was told to end."""
        return self._told_at > 0

    def stop(self) -> None:
        """Tell the training to end, once; and, if it does not, that it must."""
        if not self._told_at:
            if self._say("TERM"):
                self._told_at = time.monotonic()
        elif not self._is_killed and time.monotonic() - self._told_at > PATIENCE_SECONDS:
            self._is_killed = self._say("KILL")

    def _say(self, signal: str) -> bool:
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            os.write(fd, f"{signal}\n".encode())
        except OSError:
            return False
        finally:
            os.close(fd)
        return True


def make_fifo(path: str) -> None:
    """Make the FIFO, for whoever the training runs as, unless the training's shell has."""
    try:
        os.mkfifo(path)
        os.chmod(path, 0o666)  # noqa: S103  # in a folder of this pod alone
    except FileExistsError:
        return
    except OSError:
        return  # the training's shell makes it
