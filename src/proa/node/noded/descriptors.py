"""Make and close the descriptors of a process's streams."""

from __future__ import annotations

import os

Three = tuple[int, int, int]
"""Of stdin, stdout and stderr; -1 where there is none."""


def make_pipes(*, stdin: bool, tty: bool) -> tuple[Three, Three]:
    """Return our ends and the child's; with a terminal there are no pipes."""
    if tty:
        return (-1, -1, -1), (-1, -1, -1)
    given = os.pipe() if stdin else (-1, -1)
    stdout, stderr = os.pipe(), os.pipe()
    return (given[1], stdout[0], stderr[0]), (given[0], stdout[1], stderr[1])


def close_all(*fds: int) -> None:
    """Close all that are open (not -1)."""
    for fd in fds:
        if fd >= 0:
            os.close(fd)
