"""How long until a cluster is ready, and until its first pod runs, and what does it use when idle?

Ready is what `proa up --detach` waits for: the API answers, default/kubernetes exists, the node is Ready. Times are
wall time of the whole command, its interpreter included; processor time is of the server and noded. The baseline of
the same run is a bare Python HTTPS server from its start to its first answer, and the memory of such a server.
"""

from __future__ import annotations

import json
import ssl
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bare_server import bare_server
from running_cluster import (
    RunningCluster,
    compile_sources,
    cpu_nanoseconds,
    cpu_seconds,
    make_row,
    memory_mebibytes,
    recorded,
    running_cluster,
)

IDLE_SECONDS = 10.0
"""Long enough for what comes every ten seconds, as the node's lease."""
FLOOR = "a bare TLS server"
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "first"},
    "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "image": "proa.local/python", "command": ["sleep", "3600"]}],
    },
}


def run(quick: bool) -> list[dict[str, Any]]:
    """Return the rows: medians of 3 first starts and 3 later ones, of one each when quick."""
    compile_sources()
    rounds = [measure_round() for _ in range(1 if quick else 3)]
    middle = {name: statistics.median([found[name] for found in rounds]) for name in rounds[0]}
    later = "later start to ready"
    cpu, memory = "later start, CPU of all processes", "idle memory, PSS of all processes"
    return [
        compare("first start to ready", middle["first"], "s", middle["bare"]),
        compare(later, middle["later"], "s", middle["bare"]),
        recorded(later, middle["later"], "s", 9.4, more_is_better=False),
        compare(cpu, middle["cpu"], "s", middle["bare cpu"]),
        compare("later start to the first Running pod", middle["running"], "s", middle["bare"]),
        compare(memory, middle["memory"], "MiB", middle["bare memory"]),
        recorded(memory, middle["memory"], "MiB", 520, more_is_better=False),
        recorded("idle CPU, of one processor", middle["idle"], "%", 4, more_is_better=False),
    ]


def compare(name: str, value: float, unit: str, bare: float) -> dict[str, Any]:
    """Return a row beside what the bare server takes."""
    return make_row(name, value, unit, FLOOR, bare, more_is_better=False)


def measure_round() -> dict[str, float]:
    """Start a new home, start it again, run a pod, rest; and start the bare server."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="proa-bench-") as folder:
        home = Path(folder)
        with running_cluster(home) as cluster:
            found["first"] = cluster.start_seconds
        with running_cluster(home) as cluster:
            found["later"] = cluster.start_seconds
            found["cpu"] = cpu_of(cluster)
            found["running"] = cluster.start_seconds + seconds_to_running(cluster)
            time.sleep(1)  # what the start set off is done then, and at rest is what is measured
            before = sum(map(cpu_nanoseconds, cluster.pids().values()))
            time.sleep(IDLE_SECONDS)
            used = sum(map(cpu_nanoseconds, cluster.pids().values())) - before
            found["idle"] = used / 1e9 * 100 / IDLE_SECONDS
            found["memory"] = sum(memory_mebibytes(pid) for pid in cluster.pids().values())
            begun = time.perf_counter()
            with bare_server(cluster.key_pair) as (pid, port):
                ask = make_ask(cluster, port)
                ask("GET", "/1", None)
                found["bare"] = time.perf_counter() - begun
                found["bare cpu"], found["bare memory"] = cpu_seconds(pid), memory_mebibytes(pid)
    return found


def cpu_of(cluster: RunningCluster) -> float:
    """Return the processor seconds of all of the cluster's own processes."""
    return sum(cpu_seconds(pid) for pid in cluster.pids().values())


def seconds_to_running(cluster: RunningCluster) -> float:
    """Return how long a new pod takes to Running, as a watch tells."""
    ask = make_ask(cluster, cluster.port)
    pods = "/api/v1/namespaces/default/pods"
    begun = time.perf_counter()
    ask("POST", pods, json.dumps(POD).encode())
    with ask("GET", f"{pods}?watch=1&timeoutSeconds=30&fieldSelector=metadata.name%3Dfirst", None) as events:
        for line in events:
            if json.loads(line)["object"].get("status", {}).get("phase") == "Running":
                return time.perf_counter() - begun
    raise RuntimeError("the first pod did not run within 30 s")


def make_ask(cluster: RunningCluster, port: int) -> Callable[..., Any]:
    """Return a function that asks as the administrator."""
    context: ssl.SSLContext = cluster.client_context()

    def ask(method: str, path: str, body: bytes | None) -> Any:
        url = f"https://{cluster.host}:{port}{path}"
        headers = {"Content-Type": "application/json"} if body else {}
        request = urllib.request.Request(url, body, headers, method=method)
        return urllib.request.urlopen(request, context=context, timeout=60)

    return ask


if __name__ == "__main__":
    for row in run(quick=False):
        print(row)
