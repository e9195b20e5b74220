"""Be a process that serves until it is told to stop: its event loop, its log, its signals, its memory.

Standard library only, but for uvloop where it is installed.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Coroutine
from typing import Any

GC_THRESHOLDS = (20_000, 20, 20)
"""Objects without cycles are most of what is made here: looking for cycles at Python's own 700 costs a sixth."""
LOG_LEVELS = ("debug", "info", "warning", "error")


def log_to_stderr(level: str = "info") -> None:
    """Write log records of this level and above, a line each."""
    logging.basicConfig(
        stream=sys.stderr,
        level=level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where it is installed, else on asyncio's own loop."""
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def told_to_stop() -> asyncio.Event:
    """Return what is set by SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
