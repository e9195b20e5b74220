"""Nodes without machines: their kubelets keep leases and say that every pod runs at once, over HTTPS.


They cost this process time, not the control plane's; what they ask of it is what real kubelets ask.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from proa.client.protocol import Client, Object
from proa.objects import meta
from proa.objects.errors import ApiError, Conflict, NotFound
from proa.objects.pods import is_ready, is_terminated, node_name
from proa.objects.resource import LEASES, NODES, PODS

LABEL = "bench.proa/fake"
PODS_A_NODE = 110
LEASE_SECONDS = 10.0
WRITERS = 16


class FakeNodes:
    """Some nodes, until `stop`; `running` counts the pods that are Ready."""

    def __init__(self, client: Client, count: int) -> None:
        self._client = client
        self._names = [f"fake-{number}" for number in range(count)]
        self._queue: asyncio.Queue[Object] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._known: dict[str, bool] = {}
        self._changed = asyncio.Event()
        self.renews = True
        """Whether leases are kept up."""

    @property
    def running(self) -> int:
        """How many pods are Ready."""
        return sum(self._known.values())

    @property
    def present(self) -> int:
        """How many pods there are."""
        return len(self._known)

    async def start(self) -> None:
        """Register, and begin to look after pods."""
        for name in self._names:
            await self._register(name)
        version = (await self._client.list(PODS)).resource_version
        self._go(self._watch(version))
        self._go(self._renew())
        for _ in range(WRITERS):
            self._go(self._write())

    async def stop(self) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until(self, is_so: Callable[[], bool], seconds: float = 1200.0) -> None:
        """Return when a change of some pod has made it so."""
        async with asyncio.timeout(seconds):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()

    def _go(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def _register(self, name: str) -> None:
        resources = {"cpu": "64", "memory": "256Gi", "pods": str(PODS_A_NODE)}
        conditions = meta.with_condition([], "Ready", "True", "KubeletReady", "fake", time.time())
        labels = {LABEL: "true", "kubernetes.io/hostname": name}
        await self._client.create(NODES, {"metadata": {"name": name, "labels": labels}})
        status = {"capacity": resources, "allocatable": resources, "conditions": conditions}
        await self._client.patch(NODES, name, {"status": status}, subresource="status")
        await self._client.create(LEASES, _lease(name), "kube-node-lease")

    async def _renew(self) -> None:
        while True:
            for name in self._names:
                await asyncio.sleep(LEASE_SECONDS / len(self._names))
                if self.renews:
                    spec = _lease(name)["spec"]
                    try:
                        await self._client.patch(LEASES, name, {"spec": spec}, "kube-node-lease")
                    except ApiError as error:
                        print(f"fake kubelet: {error}")

    async def _watch(self, version: str) -> None:
        while True:
            try:
                async for event in self._client.watch(PODS, resource_version=version):
                    version = event.object["metadata"]["resourceVersion"]
                    if event.type != "BOOKMARK":
                        self._heard(event.object, is_gone=event.type == "DELETED")
            except ApiError as error:
                print(f"fake kubelet: {error}")
                listed = await self._client.list(PODS)
                version = listed.resource_version
                self._known.clear()
                for pod in listed.items:
                    self._heard(pod, is_gone=False)

    def _heard(self, pod: Object, *, is_gone: bool) -> None:
        if is_gone:
            self._known.pop(meta.uid(pod), None)
        else:
            self._known[meta.uid(pod)] = is_ready(pod)
            self._queue.put_nowait(pod)
        self._changed.set()

    async def _write(self) -> None:
        while True:
            pod = await self._queue.get()
            try:
                await self._sync(pod)
            except (Conflict, NotFound):
                continue
            except ApiError as error:
                print(f"fake kubelet: {error}")

    async def _sync(self, pod: Object) -> None:
        if not node_name(pod).startswith("fake-"):
            return
        name, namespace = meta.name(pod), meta.namespace(pod)
        if meta.is_deleting(pod):
            await self._client.delete(PODS, name, namespace, grace_period_seconds=0, uid=meta.uid(pod))
        elif not is_terminated(pod) and not is_ready(pod):
            await self._client.update(PODS, {**pod, "status": _status(pod)}, subresource="status")


def _status(pod: Object) -> Object:
    now = meta.format_time(time.time())
    number = int(meta.resource_version(pod))
    address = f"10.{200 + number // 65536 % 50}.{number // 256 % 256}.{number % 256}"
    conditions = (pod.get("status") or {}).get("conditions") or []
    for type in ("Initialized", "PodReadyToStartContainers", "ContainersReady", "Ready"):
        conditions = meta.with_condition(conditions, type, "True", "", "", time.time())
    containers = [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": f"sha256:{'0' * 64}",
            "containerID": f"fake://{meta.uid(pod)}",
            "ready": True,
            "started": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": now}},
        }
        for container in pod["spec"]["containers"]
    ]
    addresses = {"hostIP": "10.1.1.1", "podIP": address, "podIPs": [{"ip": address}], "startTime": now}
    return {
        **pod["status"],
        **addresses,
        "phase": "Running",
        "conditions": conditions,
        "containerStatuses": containers,
    }


def _lease(name: str) -> Object:
    now = meta.format_micro_time(time.time())
    spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now}
    return {"metadata": {"name": name}, "spec": spec}
