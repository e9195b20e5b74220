"""Be a node's process: hold the home's lock, write the pid, run the agent."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from proa.home import Home, write_private
from proa.joining.agent import run_agent
from proa.joining.membership import Membership
from proa.process import log_to_stderr, run


class AlreadyRunning(Exception):
    """Another process holds this home."""


def be_node(home: Home, membership: Membership, when_ready: Callable[[dict[str, Any]], None]) -> None:
    """Be this home's node until SIGTERM or SIGINT; raise AlreadyRunning, JoinFailure, StartFailure."""
    home.make()
    try:
        lock = home.lock()
    except BlockingIOError:
        raise AlreadyRunning(str(home.path)) from None
    try:
        write_private(home.pid_file, json.dumps({"pid": os.getpid()}))
        log_to_stderr()
        run(run_agent(home, membership, when_ready))
    finally:
        home.pid_file.unlink(missing_ok=True)
        os.close(lock)
