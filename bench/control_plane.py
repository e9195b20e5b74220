"""What do pods cost the control plane: memory, processor time at rest, and to make, scale and delete a Deployment?

A whole cluster whose pods are on nodes without machines (fake_nodes.py): what is measured is the server's memory and
processor time, not what runs pods. The baseline of a Deployment of 1,000 is 1,000 pods made and deleted one by one, by
16 requests at a time, in the same run: these are scheduled and started too, but no controller looks after them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from api import run_loop
from fake_nodes import LABEL, PODS_A_NODE, FakeNodes
from running_cluster import (
    RunningCluster,
    compile_sources,
    cpu_nanoseconds,
    make_row,
    memory_mebibytes,
    recorded,
    running_cluster,
)

from proa.client.kubeconfig import connect
from proa.client.protocol import Client, Object
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.resource import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    NAMESPACES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
)

PODS_AT_REST, REPLICAS = 5_000, 1_000
MEMORY_MB, IDLE_PERCENT, GONE_SECONDS = 12.0, 0.5, 0.3
IDLE_SECONDS = 20.0
AT_ONCE = 16
SPACE = "default"


def run(quick: bool) -> list[dict[str, Any]]:
    """Return the rows; a fifth of the pods when quick."""
    compile_sources()
    with running_cluster() as cluster:
        return run_loop(measure(cluster, 5 if quick else 1))


async def measure(cluster: RunningCluster, divisor: int) -> list[dict[str, Any]]:
    """Return the rows."""
    at_rest, replicas = PODS_AT_REST // divisor, REPLICAS // divisor
    client = connect(cluster.home / "kubeconfig")
    nodes = FakeNodes(client, -(-(at_rest + replicas) // PODS_A_NODE))
    try:
        await nodes.start()
        bench = Bench(cluster, client, nodes)
        rows = await bench.deployment(replicas)
        rows += await bench.rest(at_rest)
        return rows + await bench.namespace()
    finally:
        await nodes.stop()
        await client.close()


class Bench:
    """One cluster, its client and its nodes."""

    def __init__(self, cluster: RunningCluster, client: Client, nodes: FakeNodes) -> None:
        self._pid = cluster.server_pid
        self._client = client
        self._nodes = nodes

    async def deployment(self, replicas: int) -> list[dict[str, Any]]:
        """Return what a Deployment takes, beside as many pods one by one."""
        client, nodes = self._client, self._nodes

        async def make_pods() -> None:
            pods = [{"metadata": {"name": f"single-{n}"}, **_template()} for n in range(replicas)]
            await _all(client.create(PODS, pod, SPACE) for pod in pods)
            await nodes.until(lambda: nodes.running == replicas)

        async def delete_pods() -> None:
            await _all(client.delete(PODS, f"single-{n}", SPACE) for n in range(replicas))
            await nodes.until(lambda: nodes.present == 0)

        async def create() -> None:
            await client.create(DEPLOYMENTS, _deployment("web", replicas), SPACE)
            await nodes.until(lambda: nodes.running == replicas)
            await self._settled("web", replicas)

        async def scale(to: int) -> None:
            await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": to}}, SPACE)
            await nodes.until(lambda: nodes.running == nodes.present == to)
            await self._settled("web", to)

        async def delete() -> None:
            await client.delete(DEPLOYMENTS, "web", SPACE, propagation_policy="Background")
            await nodes.until(lambda: nodes.present == 0)

        made, gone = await self._time(make_pods), await self._time(delete_pods)
        found = {
            "created": (await self._time(create), made, 1.0),
            "scaled to half": (await self._time(lambda: scale(replicas // 2)), gone, 0.5),
            "scaled up again": (await self._time(lambda: scale(replicas)), made, 0.5),
            "deleted": (await self._time(delete), gone, 1.0),
        }
        rows = []
        for name, (one, base, share) in found.items():
            title = f"Deployment of {replicas:,}: {name}"
            floor = "as many pods one by one"
            rows.append(make_row(title, one[0], "s", floor, base[0] * share, more_is_better=False))
            rows.append(
                make_row(f"{title}, CPU", one[1], "s CPU", floor, base[1] * share, more_is_better=False)
            )
        return rows

    async def rest(self, count: int) -> list[dict[str, Any]]:
        """Return what pods of ten Deployments cost in memory and processor time when nothing happens."""
        before = memory_mebibytes(self._pid)
        for number in range(10):
            await self._client.create(DEPLOYMENTS, _deployment(f"rest-{number}", count // 10), SPACE)
        await self._nodes.until(lambda: self._nodes.running == count)
        for number in range(10):
            await self._settled(f"rest-{number}", count // 10)
        await asyncio.sleep(5.0)
        grown = (memory_mebibytes(self._pid) - before) * 1.048576 * 1000 / count
        with_leases = await self._idle()
        self._nodes.renews = False
        alone = await self._idle()
        self._nodes.renews = True
        budget = "the budget"
        return [
            make_row("memory for 1,000 pods", grown, "MB", budget, MEMORY_MB, more_is_better=False),
            make_row(f"idle with {count:,} pods", alone, "% CPU", budget, IDLE_PERCENT, more_is_better=False),
            make_row(
                f"idle with {count:,} pods, nodes' leases renewed",
                with_leases,
                "% CPU",
                budget,
                IDLE_PERCENT,
                more_is_better=False,
            ),
        ]

    async def namespace(self) -> list[dict[str, Any]]:
        """Return how long a namespace of 200 objects takes to go."""
        client = self._client
        await client.create(NAMESPACES, {"metadata": {"name": "going"}})
        labels = {"selector": {"app": "none"}, "ports": [{"port": 80}]}
        work = [client.create(CONFIG_MAPS, {"metadata": {"name": f"c{n}"}}, "going") for n in range(80)]
        work += [client.create(SECRETS, {"metadata": {"name": f"s{n}"}}, "going") for n in range(60)]
        work += [
            client.create(SERVICES, {"metadata": {"name": f"s{n}"}, "spec": labels}, "going")
            for n in range(20)
        ]
        work += [client.create(SERVICE_ACCOUNTS, {"metadata": {"name": f"a{n}"}}, "going") for n in range(40)]
        await _all(work)
        await asyncio.sleep(1.0)

        async def delete() -> None:
            await client.delete(NAMESPACES, "going")
            while True:
                try:
                    await client.get(NAMESPACES, "going")
                except NotFound:
                    return
                await asyncio.sleep(0.01)

        seconds, cpu = await self._time(delete)
        title = "a namespace of 200 objects deleted"
        return [
            make_row(title, seconds, "s", "the budget", GONE_SECONDS, more_is_better=False),
            recorded(f"{title}, beside Kubernetes", seconds, "s", 5.1, more_is_better=False),
            {"name": f"{title}, CPU", "value": round(cpu, 4), "unit": "s CPU"},
        ]

    async def _settled(self, name: str, replicas: int) -> None:
        """Return when a Deployment says that all its replicas are available."""
        while True:
            deployment = await self._client.get(DEPLOYMENTS, name, SPACE)
            status = deployment.get("status") or {}
            seen = status.get("observedGeneration") == meta.generation(deployment)
            if seen and status.get("availableReplicas") == status.get("replicas") == replicas:
                return
            await asyncio.sleep(0.01)

    async def _time(self, work: Callable[[], Awaitable[None]]) -> tuple[float, float]:
        """Return the seconds that something takes, and the server's processor time."""
        began, used = time.perf_counter(), cpu_nanoseconds(self._pid)
        await work()
        return time.perf_counter() - began, (cpu_nanoseconds(self._pid) - used) / 1e9

    async def _idle(self) -> float:
        """Return the server's processor time when nothing happens, in percent of a core."""
        used = cpu_nanoseconds(self._pid)
        await asyncio.sleep(IDLE_SECONDS)
        return (cpu_nanoseconds(self._pid) - used) / 1e7 / IDLE_SECONDS


async def _all(work: Any) -> None:
    """Do all of it, some at a time."""
    todo = iter(work)

    async def some() -> None:
        for one in todo:
            await one

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


def _template(labels: dict[str, str] | None = None) -> Object:
    container = {
        "name": "main",
        "image": "registry.example/app:1",
        "command": ["app", "--serve"],
        "env": [{"name": f"VARIABLE_{n}", "value": f"value {n}"} for n in range(5)],
        "ports": [{"containerPort": 8080}],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}},
    }
    spec = {"nodeSelector": {LABEL: "true"}, "containers": [container], "terminationGracePeriodSeconds": 1}
    return {"spec": spec} if labels is None else {"metadata": {"labels": labels}, "spec": spec}


def _deployment(name: str, replicas: int) -> Object:
    labels = {"app": name}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": _template(labels)}
    return {"metadata": {"name": name}, "spec": spec}


if __name__ == "__main__":
    for row in run(quick=False):
        print(row)
