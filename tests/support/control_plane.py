"""All controllers against the real API server in process, with a kubelet that only writes status."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from proa.apiserver.app import ApiServer
from proa.apiserver.authorization.bootstrap_policy import ensure_policy
from proa.apiserver.bootstrap import ensure_system_objects
from proa.apiserver.resources import DEFINITIONS
from proa.client.api import ApiClient
from proa.client.local import LocalTransport
from proa.client.protocol import Client, Object, User
from proa.controllers import make_controllers, make_server_controllers
from proa.controllers.local_path.controller import make_storage_class
from proa.controllers.settings import ControllerSettings
from proa.objects import meta
from proa.objects.errors import Conflict, NotFound
from proa.objects.pods import is_ready, is_terminated, node_name
from proa.objects.resource import NODES, PODS, STORAGE_CLASSES, Resource
from proa.reconcile.informer import InformerFactory
from proa.reconcile.manager import Manager
from proa.scheduler.cycle import Scheduler
from proa.store.memory import MemoryStore

DEADLINE_SECONDS = 60.0
NODE = "proa-1"


class StatusKubelet:
    """Says of pods that they run; those labelled `ends` end that way at once. Without a scheduler it binds them too."""

    def __init__(self, client: Client, manager: Manager, *, binds: bool = True) -> None:
        self._client = client
        self._binds = binds
        self._queue: asyncio.Queue[Object] = asyncio.Queue()
        self._addresses = 1
        self.makes_ready = True
        manager.informers(PODS).listen(lambda old, new: self._queue.put_nowait(new) if new else None)
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            pod = await self._queue.get()
            try:
                await self._sync(pod)
            except (Conflict, NotFound):
                continue

    async def _sync(self, pod: Object) -> None:
        name, namespace = meta.name(pod), meta.namespace(pod)
        if meta.is_deleting(pod) and not is_terminated(pod):
            await self._client.delete(PODS, name, namespace, grace_period_seconds=0, uid=meta.uid(pod))
        elif not node_name(pod) and not self._binds:
            return
        elif not node_name(pod):
            target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
            await self._client.create_subresource(PODS, name, "binding", binding, namespace)
        elif not is_terminated(pod) and not is_ready(pod) and self.makes_ready:
            await self._client.update(PODS, {**pod, "status": self._status(pod)}, subresource="status")

    def _status(self, pod: Object) -> Object:
        self._addresses += 1
        ip = f"10.244.{1 + self._addresses // 250}.{self._addresses % 250}"
        ends = meta.labels(pod).get("ends")
        conditions = (pod.get("status") or {}).get("conditions") or []
        ready = meta.with_condition(conditions, "Ready", str(ends is None), "", "", time.time())
        status = {**pod["status"], "phase": ends or "Running", "conditions": ready}
        return {**status, "podIP": ip, "podIPs": [{"ip": ip}]}


class Cluster:
    """What a test holds: the client, the kubelet, and `until`."""

    def __init__(self, client: Client, manager: Manager, server: ApiServer, *, binds: bool = True) -> None:
        self.client = client
        self.manager = manager
        self.server = server
        self.kubelet = StatusKubelet(client, manager, binds=binds)

    async def until(self, is_true: Callable[[], Any]) -> Any:
        """Wait until `is_true` (sync or async) gives something true; return it."""
        end = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < end:
            found = is_true()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.005)
        raise AssertionError(f"not within {DEADLINE_SECONDS} s")

    async def all(self, resource: Resource, namespace: str = "default") -> list[Object]:
        return (await self.client.list(resource, namespace)).items

    async def conditions(self, resource: Resource, name: str) -> dict[str, tuple[str, str]]:
        obj = await self.client.get(resource, name, "default")
        return {
            c["type"]: (c["status"], c["reason"]) for c in (obj.get("status") or {}).get("conditions") or ()
        }

    async def has(self, resource: Resource, name: str, namespace: str | None = "default") -> bool:
        try:
            await self.client.get(resource, name, namespace)
        except NotFound:
            return False
        return True

    async def is_gone(self, resource: Resource, name: str, namespace: str | None = "default") -> bool:
        return not await self.has(resource, name, namespace)


@asynccontextmanager
async def running(
    tmp_path: Path, now: Callable[[], float] = time.time, schedules: Sequence[str] = ()
) -> AsyncIterator[Cluster]:
    """Yield a cluster whose controllers take the time from `now`; a scheduler at work on nodes called `schedules`."""
    store = MemoryStore()
    server = ApiServer(store, DEFINITIONS)

    def client(name: str, *groups: str) -> Client:
        return ApiClient(LocalTransport(server.handle, User(name, (*groups, "system:authenticated"))))

    def client_of(account: str) -> Client:
        groups = ("system:serviceaccounts", "system:serviceaccounts:kube-system")
        return client(f"system:serviceaccount:kube-system:{account}", *groups)

    admin = client("admin", "system:masters")
    await ensure_system_objects(admin, service_cidr="10.96.0.0/16", address="10.243.0.1", port=6443)
    await ensure_policy(server.catalog)
    await admin.create(STORAGE_CLASSES, make_storage_class())
    for name in schedules or (NODE,):
        await add_node(admin, name)
    settings = ControllerSettings("CA", tmp_path / "volumes")
    manager = Manager(
        client("system:kube-controller-manager"),
        [*make_server_controllers(), *make_controllers()],
        settings,
        now,
        client_of=client_of,
    )
    await manager.start()
    cluster = Cluster(admin, manager, server, binds=not schedules)
    informers = InformerFactory(client("system:kube-scheduler"))
    recorder = manager.events.recorder
    scheduler = Scheduler(
        client("system:kube-scheduler"), informers, recorder, time.time, random.Random(1).random
    )
    scheduling = asyncio.create_task(scheduler.run()) if schedules else None
    try:
        yield cluster
        assert scheduling is None or not scheduling.done()
    finally:
        await scheduler.stop()
        await informers.stop()
        cluster.kubelet.task.cancel()
        await asyncio.gather(cluster.kubelet.task, return_exceptions=True)
        await manager.stop()
        await store.close()


async def add_node(client: Client, name: str) -> None:
    """Make a node that is ready, with 4 cpus, 8 GiB and room for 110 pods."""
    await client.create(NODES, {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}})
    node = await client.get(NODES, name)
    ready = meta.with_condition(
        [], "Ready", "True", "KubeletReady", "kubelet is posting ready status", time.time()
    )
    amounts = {"cpu": "4", "memory": "8Gi", "pods": "110"}
    status = {"conditions": ready, "capacity": amounts, "allocatable": amounts}
    await client.update(NODES, {**node, "status": status}, subresource="status")
