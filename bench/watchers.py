"""How does a watch grow from 1 to 5,000 watchers?

Each watcher is a TLS connection of its own that watches all ConfigMaps of a namespace, all of them in one process on
the same machine. One ConfigMap after the other is created; each watcher must have its event before the next. The
baseline is the floor of api.py: a bare server that writes the same bytes to as many connections.
"""

from __future__ import annotations

import resource
import statistics
from typing import Any

from api import CONFIG_MAPS, FLOOR, bare_body, config_map, run_loop
from bare_server import bare_server
from fan_out import FanOut
from raw_client import Ask, Connection, load
from running_cluster import (
    RunningCluster,
    compile_sources,
    cpu_seconds,
    make_row,
    memory_mebibytes,
    running_cluster,
)

COUNTS = (1, 100, 1_000, 5_000)
SELECTING = {
    "a name": "fieldSelector=metadata.name%3Dwatched-{}",
    "a label": "labelSelector=watched%3D{}",
}
CREATES = 200
EVENTS = 20
SPARE_DESCRIPTORS = 200


def run(quick: bool) -> list[dict[str, Any]]:
    """Return rows for each number of watchers; up to 100 when quick."""
    counts = COUNTS[:2] if quick else COUNTS
    raise_descriptor_limit(counts[-1] + SPARE_DESCRIPTORS)
    compile_sources()
    with running_cluster() as cluster:
        return run_loop(measure(cluster, counts))


def raise_descriptor_limit(wanted: int) -> None:
    """Let this process, and those that it starts, have so many connections; raise ValueError where it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))


async def measure(cluster: RunningCluster, counts: tuple[int, ...]) -> list[dict[str, Any]]:
    """Have the API server tell so many watchers, then the bare one."""
    rows = []
    for count in counts:
        ours = await fan_out(cluster, cluster.server_pid, cluster.port, f"{CONFIG_MAPS}?watch=1", count)
        with bare_server(cluster.key_pair) as (pid, port):
            floor = await fan_out(cluster, pid, port, "/watch", count)
        rows += [
            make_row(f"{count:,} watchers: {name}", mine, unit, FLOOR, bare, more_is_better=False)
            for (name, unit), mine, bare in zip(
                (
                    ("create to event, p50", "ms"),
                    ("server CPU an event and watcher", "us"),
                    ("memory a watcher", "KiB"),
                ),
                ours,
                floor,
                strict=True,
            )
        ]
    return rows + await measure_selecting(cluster, counts[-2])


async def measure_selecting(cluster: RunningCluster, count: int) -> list[dict[str, Any]]:
    """Create what none of so many watchers has selected, beside the same without them."""
    context, rows = cluster.client_context(), []
    writer = await Connection.open(cluster.host, cluster.port, context)
    for what, selector in SELECTING.items():
        watchers = [await Connection.open(cluster.host, cluster.port, context) for _ in range(count)]
        alone = await cost_of_creates(cluster, writer, f"alone-{what[2:]}")
        for number, watcher in enumerate(watchers):
            await watcher.watch(f"{CONFIG_MAPS}?watch=1&{selector.format(number)}", lambda chunk: None)
        watched = await cost_of_creates(cluster, writer, f"unseen-{what[2:]}")
        for watcher in watchers:
            watcher.close()
        name = f"{count:,} watchers that select {what} each: server CPU of a create that none sees"
        rows.append(make_row(name, watched, "ms", "nobody watches", alone, more_is_better=False))
    writer.close()
    return rows


async def cost_of_creates(cluster: RunningCluster, writer: Connection, prefix: str) -> float:
    """Return the server's CPU ms of a create, one after the other."""
    used = cpu_seconds(cluster.server_pid)
    await load([writer], [Ask("POST", CONFIG_MAPS, config_map(f"{prefix}-{n}")) for n in range(CREATES)])
    return (cpu_seconds(cluster.server_pid) - used) * 1000 / CREATES


async def fan_out(cluster: RunningCluster, pid: int, port: int, path: str, count: int) -> list[float]:
    """Return the median ms from create to event, the server's CPU us and its KiB of memory for each watcher."""
    context = cluster.client_context()
    before = memory_mebibytes(pid)
    watchers: list[Connection] = []
    while len(watchers) < count:
        watchers.append(await Connection.open(cluster.host, port, context))
    writer = await Connection.open(cluster.host, port, context)
    watch = FanOut(watchers)
    await watch.open(path)
    memory = memory_mebibytes(pid) - before
    used = cpu_seconds(pid)
    latencies: list[float] = []
    for number in range(EVENTS):
        latencies += await watch.tell(
            writer, *make_create(f"seen-{count}-{number}", is_bare=path == "/watch")
        )
    used = cpu_seconds(pid) - used
    watch.close()
    writer.close()
    return [statistics.median(latencies), used * 1e6 / EVENTS / count, memory * 1024 / count]


def make_create(name: str, *, is_bare: bool) -> tuple[str, Ask]:
    """Return the create of an object, and its name."""
    ask = Ask("POST", "/", bare_body(name)) if is_bare else Ask("POST", CONFIG_MAPS, config_map(name))
    return name, ask


if __name__ == "__main__":
    for row in run(quick=False):
        print(row)
