"""Be the server process: hold the home's lock, run the cluster, say when it is ready, and end it when told to.

On SIGTERM or SIGINT pods are stopped with their grace and everything is taken down. A killed server leaves its pods to
the next one.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from proa.cluster import Cluster, StartFailure
from proa.cluster_settings import Wanted
from proa.home import Home, write_private
from proa.module_pack import Pack
from proa.process import log_to_stderr, run, told_to_stop


class AlreadyRunning(Exception):
    """Another server holds this home."""


def run_server(
    home: Home, wanted: Wanted, when_ready: Callable[[dict[str, Any]], None], pack: Pack | None = None
) -> None:
    """Be the server of this home until SIGTERM or SIGINT; raise AlreadyRunning or StartFailure.

    `pack` is kept up to what the start has imported.
    """
    started = time.monotonic() - _process_age()
    home.make()
    try:
        lock = home.lock()
    except BlockingIOError:
        raise AlreadyRunning(str(home.path)) from None
    gc.disable()  # what a start makes stays: no cycles are looked for before it is ready, and frozen then
    try:
        home.finish_restore()
        home.pid_file.unlink(missing_ok=True)
        write_private(home.pid_file, json.dumps({"pid": os.getpid()}))
        log_to_stderr()
        run(_serve(home, wanted, started, when_ready, pack))
    finally:
        gc.enable()
        home.pid_file.unlink(missing_ok=True)
        os.close(lock)


def _process_age() -> float:
    """Return how many seconds this process lives, imports included."""
    with open("/proc/self/stat", "rb") as stat, open("/proc/uptime", "rb") as uptime:
        began = int(stat.read().rpartition(b")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, float(uptime.read().split()[0]) - began)


async def _serve(
    home: Home,
    wanted: Wanted,
    started: float,
    when_ready: Callable[[dict[str, Any]], None],
    pack: Pack | None,
) -> None:
    """Start, say that it is ready, and stop when told to."""
    stop = told_to_stop()
    async with AsyncExitStack() as stack:
        cluster = Cluster(home, stack)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, cluster.look_at_switches)
        starting = asyncio.create_task(cluster.start(wanted))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            cluster.is_stopping = True
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return
        _check(starting)
        server = {
            "pid": os.getpid(),
            "server": cluster.url,
            "registry": cluster.registry_address,
            "pipelines": cluster.pipelines_address,
            "tuning": cluster.tuning_address,
            "startedAt": time.time(),
            "startSeconds": round(time.monotonic() - started, 3),
            "ready": True,
            "removedNodes": cluster.removed_nodes,
        }
        write_private(home.pid_file, json.dumps(server))
        when_ready(server)
        gc.freeze()
        gc.enable()
        cluster.start_in_background()
        if pack is not None:
            await asyncio.to_thread(_put_away, pack)
        await stopping
        cluster.is_stopping = True


def _put_away(pack: Pack) -> None:
    """Keep the pack for the next start; what is imported from now on is imported as ever."""
    pack.keep()
    sys.meta_path.remove(pack)
    pack.modules.clear()


def _check(starting: asyncio.Task[None]) -> None:
    """Raise what a start has failed with; a node that ended meanwhile is no fault of ours."""
    from proa.node.runtimes.protocol import RuntimeFailure

    try:
        starting.result()
    except RuntimeFailure as failure:
        raise StartFailure(f"the node does not answer: {failure.message}; try again") from None
