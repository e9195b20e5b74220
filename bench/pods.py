"""How fast do pods run, become ready and go, one after another and many at once?

Times are from sending the request until the watch tells, through API server, scheduler, kubelet and noded, each pod
with namespaces, an address and a root file system of its own. The baseline of the same run is the same program as a
bare process, which has none of that; `container_start` compares with other container runtimes.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

from api import run_loop
from raw_client import Ask, Connection
from running_cluster import RunningCluster, compile_sources, cpu_seconds, make_row, recorded, running_cluster

IMAGE = "proa.local/python"
COMMAND = ["sleep", "3600"]
BATCH = 20
REPLICAS = 200
FLOOR = "subprocess.Popen"
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
LIMIT_SECONDS = 120.0


def run(quick: bool) -> list[dict[str, Any]]:
    """Return the rows; fewer rounds and replicas when quick."""
    compile_sources()
    with running_cluster() as cluster:
        return run_loop(measure(cluster, 5 if quick else 20, 50 if quick else REPLICAS))


class Pods:
    """What a watch of all pods of the namespace has told so far."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self._rest = b""
        self._changed = asyncio.Event()

    def take(self, chunk: bytes) -> None:
        """Take bytes of the watch's chunked stream: events are its lines that begin with a brace."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if not line.startswith(b"{"):
                continue
            event = json.loads(line)
            name = event["object"]["metadata"]["name"]
            if event["type"] == "DELETED":
                self.objects.pop(name, None)
            else:
                self.objects[name] = event["object"]
        self._changed.set()

    async def wait(self, condition: Callable[[], bool]) -> float:
        """Return when the condition is true, in seconds of the performance counter; raise TimeoutError."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()
        return time.perf_counter()

    def count(self, is_counted: Callable[[dict[str, Any]], bool]) -> int:
        """Return how many pods are so."""
        return sum(map(is_counted, self.objects.values()))


async def measure(cluster: RunningCluster, rounds: int, replicas: int) -> list[dict[str, Any]]:
    """Make and remove pods one by one, then 20 at once, then by a Deployment."""
    context = cluster.client_context()
    client = await Connection.open(cluster.host, cluster.port, context)
    watcher = await Connection.open(cluster.host, cluster.port, context)
    pods = Pods()
    await watcher.watch(f"{PODS}?watch=1", pods.take)
    running, ready, gone = [], [], []
    before = sum(map(cpu_seconds, cluster.pids().values()))
    for number in range(rounds):
        name = f"one-{number}"
        begun = time.perf_counter()
        await ask(client, "POST", PODS, make_pod(name))
        running.append(await pods.wait(lambda: pods.count(is_running) == 1) - begun)
        ready.append(await pods.wait(lambda: pods.count(is_ready) == 1) - begun)
        begun = time.perf_counter()
        await ask(client, "DELETE", f"{PODS}/{name}")
        gone.append(await pods.wait(lambda: not pods.objects) - begun)
    cpu = (sum(map(cpu_seconds, cluster.pids().values())) - before) * 1000 / rounds
    begun = time.perf_counter()
    for number in range(BATCH):
        await ask(client, "POST", PODS, make_pod(f"batch-{number}"))
    batch = await pods.wait(lambda: pods.count(is_ready) == BATCH) - begun
    await ask(client, "DELETE", PODS)
    await pods.wait(lambda: not pods.objects)
    created = await measure_deployment(client, pods, make_deployment(replicas, "none"), lambda pod: True)
    all_running = await measure_deployment(client, pods, make_deployment(replicas), is_running)
    one, many, all_replicas = bare_seconds(1), bare_seconds(BATCH), bare_seconds(replicas)
    p50 = statistics.median
    rows = [
        make_row("pod create to Running, p50", p50(running) * 1000, "ms", FLOOR, one * 1000, more_is_better=False),
        recorded("pod create to Running, p50", p50(running) * 1000, "ms", 547, more_is_better=False),
        make_row("pod create to Ready, p50", p50(ready) * 1000, "ms", FLOOR, one * 1000, more_is_better=False),
        make_row("pod delete to gone, p50", p50(gone) * 1000, "ms", FLOOR, one * 1000, more_is_better=False),
        make_row(f"{BATCH} pods, all Ready", batch, "s", FLOOR, many, more_is_better=False),
        recorded(f"{BATCH} pods, all Ready", batch, "s", 3.6, more_is_better=False),
        make_row(f"{replicas} replicas, all Running", all_running, "s", FLOOR, all_replicas, more_is_better=False),
    ]  # fmt: skip
    rows.append(
        {"name": "pod made and removed, CPU of server and noded", "value": round(cpu, 1), "unit": "ms"}
    )
    if replicas == REPLICAS:
        rows.append(recorded(f"{replicas} replicas, all created", created, "s", 0.4, more_is_better=False))
    return rows


async def measure_deployment(
    client: Connection, pods: Pods, deployment: dict[str, Any], is_done: Callable[[dict[str, Any]], bool]
) -> float:
    """Return how long until all pods of a new Deployment are so; and remove it."""
    replicas = deployment["spec"]["replicas"]
    begun = time.perf_counter()
    await ask(client, "POST", DEPLOYMENTS, deployment)
    taken = await pods.wait(lambda: pods.count(is_done) == replicas) - begun
    await ask(client, "DELETE", f"{DEPLOYMENTS}/many?propagationPolicy=Background")
    await pods.wait(lambda: not pods.objects)
    return taken


async def ask(client: Connection, method: str, path: str, obj: dict[str, Any] | None = None) -> None:
    """Send a request; raise on any answer but 2xx."""
    status, body = await client.send(Ask(method, path, json.dumps(obj).encode() if obj else b""))
    if not 200 <= status < 300:
        raise RuntimeError(f"{method} {path}: {status} {body[:300]!r}")


def bare_seconds(count: int) -> float:
    """Return how long the same program takes to start `count` times as a bare process."""
    begun = time.perf_counter()
    processes = [subprocess.Popen(COMMAND) for _ in range(count)]
    taken = time.perf_counter() - begun
    for process in processes:
        process.kill()
        process.wait()
    return taken


def is_running(pod: dict[str, Any]) -> bool:
    """Tell whether a pod's phase is Running."""
    return bool(pod["status"].get("phase") == "Running")


def is_ready(pod: dict[str, Any]) -> bool:
    """Tell whether a pod is Ready."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))


def make_spec() -> dict[str, Any]:
    """Return a pod's spec that asks for nearly nothing, so that 200 fit."""
    requests = {"cpu": "1m", "memory": "1Mi"}
    container = {"name": "main", "image": IMAGE, "command": COMMAND, "resources": {"requests": requests}}
    return {"terminationGracePeriodSeconds": 0, "containers": [container]}


def make_pod(name: str) -> dict[str, Any]:
    """Return a pod."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": make_spec()}


def make_deployment(replicas: int, scheduler: str = "default-scheduler") -> dict[str, Any]:
    """Return a Deployment; with a scheduler that is not there, its pods are only made."""
    labels = {"app": "many"}
    template = {"metadata": {"labels": labels}, "spec": {**make_spec(), "schedulerName": scheduler}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"}, "spec": spec}


if __name__ == "__main__":
    for row in run(quick=False):
        print(row)
