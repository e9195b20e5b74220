"""Remember what the runtime holds, by pod, so that a decision costs no call: events and our own acts keep it fresh."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from proa.node.runtimes.protocol import Container, Runtime, Sandbox

POD_UID_LABEL = "io.kubernetes.pod.uid"
POD_NAME_LABEL = "io.kubernetes.pod.name"
POD_NAMESPACE_LABEL = "io.kubernetes.pod.namespace"
CONTAINER_NAME_LABEL = "io.kubernetes.container.name"
IMAGE_ID_LABEL = "proa.local/image-id"
STORED_IMAGES_LABEL = "proa.local/stored-images"
RESOURCES_LABEL = "proa.local/resources"
"""What a container was last given, as JSON of its limits and requests."""
WANTED_IMAGE_LABEL = "proa.local/wanted-image"


class RuntimeCache:
    """Sandboxes and containers by pod uid. Values are the runtime's own frozen records."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._sandboxes: dict[str, Sandbox] = {}
        self._containers: dict[str, Container] = {}
        self._sandboxes_of: dict[str, dict[str, None]] = defaultdict(dict)
        self._containers_of: dict[str, dict[str, None]] = defaultdict(dict)
        self._waiters: dict[str, list[asyncio.Future[None]]] = defaultdict(list)
        self._touched: set[str] | None = None

    async def resync(self) -> set[str]:
        """Read everything anew; return the uids of all pods that were or are there.

        What was taken in while the lists were under way is newer than they are, and stays.
        """
        before = self.pod_uids()
        touched: set[str] = set()
        self._touched = touched
        try:
            sandboxes, containers = (
                await self._runtime.list_sandboxes(),
                await self._runtime.list_containers(),
            )
        finally:
            self._touched = None
        for known_id in {*self._sandboxes} - {s.id for s in sandboxes} - touched:
            self.drop_sandbox(known_id)
        for known_id in {*self._containers} - {c.id for c in containers} - touched:
            self.drop_container(known_id)
        for sandbox in sandboxes:
            if sandbox.id not in touched:
                self.put_sandbox(sandbox)
        for container in containers:
            if container.id not in touched:
                self.put_container(container)
        return before | self.pod_uids()

    async def refresh_container(self, container_id: str) -> str:
        """Read one container anew; return its pod's uid, "" when it is nobody's."""
        container = await self._runtime.get_container(container_id)
        if container is not None:
            return self.put_container(container)
        gone = self._containers.get(container_id)
        self.drop_container(container_id)
        return self._uid_of(gone) if gone else ""

    def pod_uids(self) -> set[str]:
        """Return the uids of all pods that have a sandbox or container."""
        return {u for u, ids in self._sandboxes_of.items() if ids} | {
            u for u, ids in self._containers_of.items() if ids
        }

    def sandboxes(self, pod_uid: str) -> list[Sandbox]:
        """Return the pod's sandboxes, the newest first."""
        found = [self._sandboxes[i] for i in self._sandboxes_of.get(pod_uid, ())]
        return sorted(found, key=lambda s: (s.config.attempt, s.created_at), reverse=True)

    def containers(self, pod_uid: str) -> list[Container]:
        """Return the pod's containers, newest attempts first."""
        found = [self._containers[i] for i in self._containers_of.get(pod_uid, ())]
        return sorted(found, key=lambda c: (c.config.attempt, c.created_at), reverse=True)

    def all_containers(self) -> list[Container]:
        """Return every container as last seen."""
        return [*self._containers.values()]

    def find_container(self, container_id: str) -> Container | None:
        """Return a container as last seen."""
        return self._containers.get(container_id)

    def put_sandbox(self, sandbox: Sandbox) -> None:
        """Take in a sandbox."""
        self._touch(sandbox.id)
        self._sandboxes[sandbox.id] = sandbox
        self._sandboxes_of[sandbox.config.uid][sandbox.id] = None

    def drop_sandbox(self, sandbox_id: str) -> None:
        """Forget a sandbox and the containers in it."""
        self._touch(sandbox_id)
        sandbox = self._sandboxes.pop(sandbox_id, None)
        if sandbox is None:
            return
        _discard(self._sandboxes_of, sandbox.config.uid, sandbox_id)
        for container in self.containers(sandbox.config.uid):
            if container.sandbox_id == sandbox_id:
                self.drop_container(container.id)

    def put_container(self, container: Container) -> str:
        """Take in a container and return its pod's uid."""
        self._touch(container.id)
        pod_uid = self._uid_of(container)
        self._containers[container.id] = container
        self._containers_of[pod_uid][container.id] = None
        if container.state == "Exited":
            self._tell_waiters(container.id)
        return pod_uid

    def drop_container(self, container_id: str) -> None:
        """Forget a container."""
        self._touch(container_id)
        container = self._containers.pop(container_id, None)
        if container is not None:
            _discard(self._containers_of, self._uid_of(container), container_id)
        self._tell_waiters(container_id)

    async def wait_exited(self, container_id: str) -> None:
        """Return once the container does not run any more."""
        container = self._containers.get(container_id)
        if container is None or container.state == "Exited":
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[container_id].append(waiter)
        await waiter

    def _tell_waiters(self, container_id: str) -> None:
        for waiter in self._waiters.pop(container_id, ()):
            if not waiter.done():
                waiter.set_result(None)

    def _touch(self, identifier: str) -> None:
        if self._touched is not None:
            self._touched.add(identifier)

    def _uid_of(self, container: Container) -> str:
        sandbox = self._sandboxes.get(container.sandbox_id)
        return container.config.labels.get(POD_UID_LABEL) or (sandbox.config.uid if sandbox else "")


def _discard(index: dict[str, dict[str, None]], pod_uid: str, member: str) -> None:
    members = index.get(pod_uid, {})
    members.pop(member, None)
    if not members:
        index.pop(pod_uid, None)
