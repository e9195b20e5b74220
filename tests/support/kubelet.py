"""A kubelet over a fake API and a fake runtime, for tests: `async with harness(tmp_path) as node`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from proa.client.fake import FakeClient
from proa.node.kubelet import Kubelet
from proa.node.runtimes.fake import FakeRuntime
from proa.node.settings import KubeletSettings
from proa.objects.resource import PODS
from proa.reconcile.informer import InformerFactory

DEADLINE_SECONDS = 60.0


@dataclass
class Events:
    """`reconcile.protocol.EventRecorder` that remembers."""

    all: list[tuple[str, str, str, str]] = field(default_factory=list)

    def event(self, obj: Any, type: str, reason: str, message: str, field_path: str = "") -> None:
        self.all.append((type, reason, message, field_path))

    def messages(self, reason: str) -> list[str]:
        return [message for _, r, message, _ in self.all if r == reason]


@dataclass
class Node:
    """What a test holds of the node. `offset` moves its clock."""

    client: FakeClient
    runtime: FakeRuntime
    events: Events
    settings: KubeletSettings
    informers: InformerFactory
    kubelet: Kubelet
    offset: float = 0.0

    def now(self) -> float:
        return time.time() + self.offset

    def advance(self, seconds: float) -> None:
        """Move the clock and let every worker look."""
        self.offset += seconds
        for worker in [*self.kubelet.workers.values()]:
            worker.wake()

    def pod(self, name: str = "web") -> dict[str, Any] | None:
        return self.client.peek(PODS, name, "default")

    def status(self, name: str = "web") -> dict[str, Any]:
        return (self.pod(name) or {}).get("status") or {}

    def container_status(self, name: str = "web", index: int = 0) -> dict[str, Any]:
        statuses = self.status(name).get("containerStatuses") or [{}] * (index + 1)
        return statuses[index]

    def waiting(self, name: str = "web") -> str:
        return (self.container_status(name).get("state", {}).get("waiting") or {}).get("reason", "")

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for a condition; fail when it does not come true."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not condition():
                await asyncio.sleep(0.002)

    async def settle(self) -> None:
        """Wait until no worker has anything to do now."""
        await self.until(lambda: not any(w._task for w in self.kubelet.workers.values()))

    async def restart(self) -> None:
        """Stop the kubelet, leaving pods running, and start another on the same node."""
        await self.kubelet.stop()
        await self.informers.stop()
        await self.start()

    async def start(self) -> None:
        self.informers = InformerFactory(self.client)
        self.kubelet = make_kubelet(self)
        await self.kubelet.start()


def make_kubelet(node: Node) -> Kubelet:
    return Kubelet(
        node.client,
        node.runtime,
        node.informers,
        node.events,
        node.settings,
        now=node.now,
        random=lambda: 0.0,
    )


@contextlib.asynccontextmanager
async def harness(directory: Path, *, start: bool = True, **settings: Any) -> AsyncIterator[Node]:
    """Give a node whose kubelet runs, and stop it."""
    node = Node.__new__(Node)
    node.offset = 0.0
    node.client = FakeClient(now=node.now)
    node.runtime = FakeRuntime(node.now)
    node.events = Events()
    node.settings = replace(KubeletSettings("proa-1", directory), **settings)
    node.informers = InformerFactory(node.client)
    node.kubelet = make_kubelet(node)
    if start:
        await node.kubelet.start()
    try:
        yield node
    finally:
        await node.kubelet.stop()
        await node.informers.stop()


def make_pod(name: str = "web", *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """Build a pod that is bound to the node."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "generation": 1},
        "spec": {
            "nodeName": "proa-1",
            "containers": list(containers) or [make_container()],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            **spec,
        },
    }


def make_container(name: str = "app", **more: Any) -> dict[str, Any]:
    """Build a container on the host image."""
    return {"name": name, "image": "proa.local/python", "command": ["serve"], **more}
