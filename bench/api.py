"""What does the API server do a second, and for how much processor time a request?

16 keep-alive TLS connections, each with one request under way, from one process on the same machine. The baseline of
the same run is a bare asyncio server that does TLS, HTTP and (for writes) an fdatasync a batch, but knows no objects:
the floor in Python. Beside it, what Kubernetes 1.36.2 did with such loads on a 2-core machine: recorded elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from bare_server import bare_server
from fan_out import FanOut
from raw_client import APPLY_PATCH, MERGE_PATCH, STRATEGIC_PATCH, TABLE, Ask, Connection, Outcome, load
from running_cluster import RunningCluster, compile_sources, cpu_seconds, make_row, recorded, running_cluster

T = TypeVar("T")
CONNECTIONS = 16
WATCHERS = 50
LISTED_PODS = 1000
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
FLOOR = "a bare TLS server"


@dataclass(frozen=True, slots=True)
class Figure:
    """One load: its requests a second and its milliseconds of server CPU a request; Kubernetes' figures."""

    name: str
    rate: float
    cpu: float
    kubernetes_rate: float
    kubernetes_cpu: float


def run(quick: bool) -> list[dict[str, Any]]:
    """Return the rows; a third of the requests when quick."""
    compile_sources()
    count = 1000 if quick else 3000
    with running_cluster() as cluster:
        rows = run_loop(measure(cluster, count))
    with running_cluster(None, "--audit-policy", "default") as cluster:
        return rows + run_loop(measure_audited(cluster, count))


async def measure_audited(cluster: RunningCluster, count: int) -> list[dict[str, Any]]:
    """Load an API server that notes each request in its audit log."""
    context = cluster.client_context()
    connections = [await Connection.open(cluster.host, cluster.port, context) for _ in range(CONNECTIONS)]
    rows = []
    for name, _, cpu, asks in make_cases(count):
        figure = await apply_load(cluster.server_pid, connections, name, 0, cpu, asks)
        if cpu:
            what = f"{name}, audited, server CPU a request"
            rows.append(recorded(what, figure.cpu, "ms", cpu, more_is_better=False))
    return rows


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop where it is installed: a cheaper client."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def measure(cluster: RunningCluster, count: int) -> list[dict[str, Any]]:
    """Load the API server, then the bare one."""
    context = cluster.client_context()
    connections = [await Connection.open(cluster.host, cluster.port, context) for _ in range(CONNECTIONS)]
    figures = [await apply_load(cluster.server_pid, connections, *case) for case in make_cases(count)]
    listing, listing_cpu, size = await list_pods(cluster.server_pid, connections[0], Ask("GET", PODS))
    table, table_cpu, table_size = await list_pods(
        cluster.server_pid, connections[0], Ask("GET", PODS, accept=TABLE)
    )
    fan_out = await fan_out_to(
        [await Connection.open(cluster.host, cluster.port, context) for _ in range(WATCHERS)],
        f"{CONFIG_MAPS}?watch=1",
        connections[0],
        {f"seen-{n}": Ask("POST", CONFIG_MAPS, config_map(f"seen-{n}")) for n in range(50)},
    )
    with bare_server(cluster.key_pair) as (pid, port):
        bare = [await Connection.open(cluster.host, port, context) for _ in range(CONNECTIONS)]
        get = await apply_load(pid, bare, "get", 0, 0, [Ask("GET", "/700")] * count)
        put = await apply_load(pid, bare, "put", 0, 0, [Ask("POST", "/", config_map("bare"))] * count)
        bare_listing, bare_listing_cpu, _ = await list_pods(pid, bare[0], Ask("GET", f"/{size}"))
        bare_table, bare_table_cpu, _ = await list_pods(pid, bare[0], Ask("GET", f"/{table_size}"))
        bare_fan_out = await fan_out_to(
            [await Connection.open(cluster.host, port, context) for _ in range(WATCHERS)],
            "/watch",
            bare[0],
            {f"seen-{n}": Ask("POST", "/", bare_body(f"seen-{n}")) for n in range(50)},
        )
    rows = []
    for figure in figures:
        floor = get if figure.name.endswith("get") else put
        rows += compare(figure, floor)
    rows += compare_time(f"list of {LISTED_PODS} pods", listing, bare_listing, 50)
    rows += compare_time(f"list of {LISTED_PODS} pods, server CPU", listing_cpu, bare_listing_cpu, 58)
    rows += compare_time(f"list of {LISTED_PODS} pods as a Table", table, bare_table, 0)
    rows += compare_time(f"list of {LISTED_PODS} pods as a Table, server CPU", table_cpu, bare_table_cpu, 36)
    return rows + compare_time(f"watch by {WATCHERS}: create to event, p50", fan_out, bare_fan_out, 5.8)


def make_cases(count: int) -> list[tuple[str, float, float, list[Ask]]]:
    """Return each load: name, Kubernetes' requests a second and CPU ms a request, and the requests."""
    paths = [f"{CONFIG_MAPS}/bench-{n}" for n in range(count)]
    merge = json.dumps({"data": {"p": "1"}}).encode()
    applied = [f"{CONFIG_MAPS}/applied-{n}?fieldManager=bench" for n in range(count)]
    pods = LISTED_PODS + count // 2
    return [
        (
            "ConfigMap create",
            836,
            2.2,
            [Ask("POST", CONFIG_MAPS, config_map(f"bench-{n}")) for n in range(count)],
        ),
        ("ConfigMap get", 1551, 1.0, [Ask("GET", path) for path in paths]),
        (
            "ConfigMap put",
            776,
            2.4,
            [Ask("PUT", p, config_map(f"bench-{n}", "y")) for n, p in enumerate(paths)],
        ),
        ("ConfigMap merge patch", 706, 2.5, [Ask("PATCH", path, merge, MERGE_PATCH) for path in paths]),
        (
            "ConfigMap apply, new",
            0,
            2.8,
            [Ask("PATCH", p, config_map(f"applied-{n}"), APPLY_PATCH) for n, p in enumerate(applied)],
        ),
        (
            "ConfigMap apply, changed",
            0,
            2.8,
            [Ask("PATCH", p, config_map(f"applied-{n}", "y"), APPLY_PATCH) for n, p in enumerate(applied)],
        ),
        ("ConfigMap delete", 0, 0, [Ask("DELETE", path) for path in paths]),
        ("Pod create", 525, 3.5, [Ask("POST", PODS, pod(f"bench-{n}")) for n in range(pods)]),
        (
            "Pod status patch",
            0,
            0,
            [Ask("PATCH", f"{PODS}/bench-{n}/status", pod_status(), STRATEGIC_PATCH) for n in range(pods)],
        ),
        ("Pod delete", 0, 0, [Ask("DELETE", f"{PODS}/bench-{n}") for n in range(LISTED_PODS, pods)]),
    ]


async def apply_load(
    pid: int, connections: list[Connection], name: str, rate: float, cpu: float, asks: list[Ask]
) -> Figure:
    """Send the requests and return what they cost."""
    before = cpu_seconds(pid)
    outcome: Outcome = await load(connections, asks)
    used = cpu_seconds(pid) - before
    return Figure(name, outcome.rate, used * 1000 / max(1, len(asks)), rate, cpu)


async def list_pods(pid: int, connection: Connection, ask: Ask) -> tuple[float, float, int]:
    """Return a list's median wall ms, its server CPU ms and its size in bytes."""
    walls = []
    before = cpu_seconds(pid)
    for _ in range(20):
        begun = time.perf_counter()
        status, body = await connection.send(ask)
        walls.append((time.perf_counter() - begun) * 1000)
        if status != 200:
            raise RuntimeError(f"GET {ask.path}: {status} {body[:300]!r}")
    return statistics.median(walls), (cpu_seconds(pid) - before) * 1000 / len(walls), len(body)


async def fan_out_to(
    watchers: list[Connection], path: str, writer: Connection, asks: dict[str, Ask]
) -> float:
    """Return the median ms from sending a create (by name) until each watcher has its event."""
    fan_out = FanOut(watchers)
    await fan_out.open(path)
    latencies: list[float] = []
    for name, ask in asks.items():
        latencies += await fan_out.tell(writer, name, ask)
    fan_out.close()
    return statistics.median(latencies)


def compare(figure: Figure, floor: Figure) -> list[dict[str, Any]]:
    """Return the rows of one load."""
    cpu = f"{figure.name}, server CPU a request"
    rows = [
        make_row(figure.name, figure.rate, "req/s", FLOOR, floor.rate, more_is_better=True),
        make_row(cpu, figure.cpu, "ms", FLOOR, floor.cpu, more_is_better=False),
    ]
    if figure.kubernetes_rate:
        rows.append(recorded(figure.name, figure.rate, "req/s", figure.kubernetes_rate, more_is_better=True))
    if figure.kubernetes_cpu:
        rows.append(recorded(cpu, figure.cpu, "ms", figure.kubernetes_cpu, more_is_better=False))
    return rows


def compare_time(name: str, ours: float, floor: float, kubernetes: float) -> list[dict[str, Any]]:
    """Return the rows of a time in ms; Kubernetes' is 0 where none was recorded."""
    rows = [make_row(name, ours, "ms", FLOOR, floor, more_is_better=False)]
    if kubernetes:
        rows.append(recorded(name, ours, "ms", kubernetes, more_is_better=False))
    return rows


def bare_body(name: str) -> bytes:
    """Return as many bytes as a small ConfigMap, with its name."""
    return b'"name":"' + name.encode() + b'"' + b"." * 700


def config_map(name: str, letter: str = "x") -> bytes:
    """Return a small ConfigMap."""
    metadata = {"name": name, "labels": {"app": "bench", "grp": "1"}}
    data = {"k": letter * 100, "n": "1"}
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}).encode()


def pod(name: str) -> bytes:
    """Return a pod that no scheduler takes up."""
    container = {
        "name": "c",
        "image": "registry.invalid/busybox:1",
        "command": ["sleep", "3600"],
        "env": [{"name": "A", "value": "1"}],
        "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}},
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0, "schedulerName": "none"}
    metadata = {"name": name, "labels": {"app": "bench"}}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}).encode()


def pod_status() -> bytes:
    """Return the patch by which a kubelet says that a pod runs."""
    then, types = "2026-01-01T00:00:00Z", ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    conditions = [{"type": t, "status": "True", "lastTransitionTime": then} for t in types]
    container = {"name": "c", "image": "busybox:1", "imageID": "i", "ready": True, "restartCount": 0}
    status = {
        "phase": "Running",
        "startTime": then,
        "$setElementOrder/conditions": [{"type": t} for t in types],
        "conditions": conditions,
        "containerStatuses": [{**container, "started": True, "state": {"running": {"startedAt": then}}}],
    }
    return json.dumps({"status": status}).encode()


if __name__ == "__main__":
    for row in run(quick=False):
        print(row)
