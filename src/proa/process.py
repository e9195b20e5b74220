"""Be a process that serves until it is told to stop: its event loop, its log, its signals, its memory.

Standard library only, but for uvloop where it is installed.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import sys
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

GC_THRESHOLDS = (20_000, 5, 1_000_000)
"""Objects without cycles are most of what is made here: looking for cycles at Python's own 700 costs a sixth.

A look at what is young takes a few milliseconds. Everything is looked at by `_collect_cycles` alone: hundreds of
thousands of objects take longer than a request may wait."""
COLLECT_SECONDS = 300.0
LONG_COLLECTION_SECONDS = 0.03
_DESCRIPTORS_AT_START = resource.getrlimit(resource.RLIMIT_NOFILE)
LOG_LEVELS = ("debug", "info", "warning", "error")


def log_to_stderr(level: str = "info") -> None:
    """Write log records of this level and above, a line each."""
    logging.basicConfig(
        stream=sys.stderr,
        level=level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )


def raise_descriptor_limit() -> None:
    """Let this process have as many descriptors as it may: every connection of a pod to another network has two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def descriptor_limit_of_start() -> Iterator[None]:
    """Have a process that is started meanwhile begin with the limit that this one began with."""
    raised = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, _DESCRIPTORS_AT_START)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, raised)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where it is installed, else on asyncio's own loop."""
    gc.set_threshold(*GC_THRESHOLDS)
    raise_descriptor_limit()
    try:
        import uvloop
    except ImportError:
        asyncio.run(_main(main))
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(main))


async def _main(main: Coroutine[Any, Any, None]) -> None:
    collecting = asyncio.create_task(_collect_cycles(), name="cycle collector")
    try:
        await main
    finally:
        collecting.cancel()


async def _collect_cycles() -> None:
    """Now and then free what refers to itself; what is left is not looked at again where that took long."""
    seen = 0
    while True:
        await asyncio.sleep(COLLECT_SECONDS)
        looks = gc.get_stats()[1]["collections"]
        if looks == seen:
            continue  # hardly anything was made since
        seen = looks
        began = time.perf_counter()
        gc.collect()
        if time.perf_counter() - began > LONG_COLLECTION_SECONDS:
            gc.freeze()


def told_to_stop() -> asyncio.Event:
    """Return what is set by SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
