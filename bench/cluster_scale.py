"""How does a whole cluster grow from 1,000 to 100,000 objects?

ConfigMaps of 1 KB in namespaces of 100, written to the store of a cluster that is down; then it is started, with all
controllers and their caches. Memory and processor time are the server's, once it rests. The baseline of start and
memory is the budget (2 s, and 150 MB for the store alone), that of a request the same at 1,000 objects: a ratio of 1 is
a cost that does not grow.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from api import CONFIG_MAPS, run_loop
from api import config_map as small_config_map
from raw_client import TABLE, Ask, Connection, load
from running_cluster import (
    RunningCluster,
    compile_sources,
    cpu_nanoseconds,
    cpu_seconds,
    make_row,
    memory_mebibytes,
    running_cluster,
)
from store_scale import MEMORY_MB, SIZES, START_SECONDS, fill, key_of

REST_SECONDS = 1.0
REST_SHARE = 0.02
"""Of a processor: at rest it uses less."""
LIMIT_SECONDS = 120.0


def run(quick: bool) -> list[dict[str, Any]]:
    """Return rows for each size."""
    compile_sources()
    rows: list[dict[str, Any]] = []
    first: dict[str, float] = {}
    for size in SIZES[: 2 if quick else 3]:
        with tempfile.TemporaryDirectory(prefix="proa-bench-", dir=Path.cwd()) as folder:
            found = measure(Path(folder), size)
        first = first or found
        rows += compare(size, found, first)
    return rows


def compare(size: int, found: dict[str, float], first: dict[str, float]) -> list[dict[str, Any]]:
    """Return the rows of one size."""
    whole = f"cluster of {size:,}"
    start, memory = found["start"], found["memory"]
    rows = [
        make_row(f"{whole}: later start", start, "s", "the budget", START_SECONDS, more_is_better=False),
        make_row(
            f"{whole}: memory", memory, "MB", "the budget of the store", MEMORY_MB, more_is_better=False
        ),
    ]
    rows += [
        make_row(
            f"{whole}: {name}", found[name], "ms CPU", "1,000 objects", first[name], more_is_better=False
        )
        for name in ("until at rest", "get", "create", "page of 500", "page of 500 as a Table")
    ]
    return rows


def measure(home: Path, size: int) -> dict[str, float]:
    """Make a cluster, fill its store, start it again and use it."""
    with running_cluster(home):
        pass
    asyncio.run(fill(home / "store", size))
    with running_cluster(home) as cluster:
        started = cpu_seconds(cluster.server_pid)
        wait_for_rest(cluster.server_pid)
        found = {
            "start": cluster.start_seconds,
            "until at rest": (cpu_seconds(cluster.server_pid) - started) * 1000,
            "memory": memory_mebibytes(cluster.server_pid) * 1.048576,
        }
        costs: dict[str, float] = run_loop(ask(cluster, size))
    return {**found, **costs}


def wait_for_rest(pid: int) -> None:
    """Return when the server has nothing more to do of its own."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        before = cpu_nanoseconds(pid)
        time.sleep(REST_SECONDS)
        if (cpu_nanoseconds(pid) - before) / 1e9 < REST_SHARE * REST_SECONDS:
            return
    raise RuntimeError(f"the server was not at rest within {LIMIT_SECONDS:.0f} s")


async def ask(cluster: RunningCluster, size: int) -> dict[str, float]:
    """Return the server's CPU ms of some requests."""
    connection = await Connection.open(cluster.host, cluster.port, cluster.client_context())
    everything = "/api/v1/configmaps?limit=500"
    loads = {
        "get": [Ask("GET", path_of(n * 7919 % size)) for n in range(1_000)],
        "create": [Ask("POST", CONFIG_MAPS, small_config_map(f"bench-{n}")) for n in range(500)],
        "page of 500": [Ask("GET", everything)] * 20,
        "page of 500 as a Table": [Ask("GET", everything, accept=TABLE)] * 20,
    }
    costs = {}
    for name, asks in loads.items():
        before = cpu_nanoseconds(cluster.server_pid)
        await load([connection], asks)
        costs[name] = (cpu_nanoseconds(cluster.server_pid) - before) / 1e6 / len(asks)
    return costs


def path_of(number: int) -> str:
    """Return the path of an object of the store."""
    namespace, name = key_of(number).split("/")[-2:]
    return f"/api/v1/namespaces/{namespace}/configmaps/{name}"


if __name__ == "__main__":
    for row in run(quick=False):
        print(row)
