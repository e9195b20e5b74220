"""Stop the cluster: pods with their grace, then every process of ours."""

from __future__ import annotations

import argparse
import asyncio
import os
import select
import signal
import time
from typing import Any

from proa.cli import Failure
from proa.cli.terminal import Terminal
from proa.home import Home, find_home

DESCRIPTION = """\
Stop the cluster in this home: its pods, with their grace, and then its processes.
Objects, volumes and logs stay; `proa up` brings it back as it was.
"""
EPILOG = """\
A server that was killed leaves its pods running: `proa down` stops those too.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="how long pods may take (default: 60)"
    )


def run(options: argparse.Namespace) -> int:
    """Stop it."""
    home, terminal = find_home(options.home), Terminal()
    stopped = stop(home, options.timeout, terminal)
    terminal.line(f"stopped: {home.path}" if stopped else f"nothing runs in {home.path}")
    return 0


def stop(home: Home, timeout_seconds: float, terminal: Terminal) -> bool:
    """End the server, then whatever a killed server left behind; return whether there was anything."""
    from proa.node.noded.launch import running_pid, stop_noded

    found = stop_server(home, timeout_seconds, terminal)
    for node in sorted(home.nodes.iterdir()) if home.nodes.is_dir() else ():
        found = found or running_pid(node) is not None
        asyncio.run(stop_noded(node))
    return found


def stop_server(home: Home, timeout_seconds: float, terminal: Terminal) -> bool:
    """Send SIGTERM, wait for the process to end, and SIGKILL at the end of the time."""
    server = find_settled_server(home)
    if server is None:
        return False
    try:
        descriptor = os.pidfd_open(int(server["pid"]))
    except ProcessLookupError:
        return False
    try:
        if not home.is_running():
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        started = time.monotonic()
        while not select.select([descriptor], [], [], 0.25)[0]:  # readable once the process has ended
            waited = time.monotonic() - started
            if waited > timeout_seconds:
                terminal.warn(f"the server did not end in {timeout_seconds:.0f} s: killing it")
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                timeout_seconds = float("inf")
            terminal.progress(f"stopping pods ({waited:.0f} s)")
    finally:
        os.close(descriptor)
    return True


def find_settled_server(home: Home, timeout_seconds: float = 10.0) -> dict[str, Any] | None:
    """Return the server of this home; between its lock and its word (it starts, or has ended) it is waited for."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        server = home.find_server()
        if server is not None or not home.is_running():
            return server
        if time.monotonic() > deadline:
            raise Failure(f"a server is starting in {home.path}; try again in a moment")
        time.sleep(0.01)
