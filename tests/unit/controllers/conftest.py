"""A small world for controllers: a fake API, a manager over it, a clock, and a kubelet that says what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from proa.client.fake import FakeClient
from proa.client.protocol import Object
from proa.controllers.settings import ControllerSettings
from proa.objects import meta
from proa.objects.resource import PODS, Resource
from proa.reconcile.manager import Manager

NOW = 1_750_000_000.0


class World:
    """Use as `async with world(controllers)`; `settle` returns when nothing is left to do at this moment."""

    def __init__(self, controllers: Any, client: FakeClient | None = None, settings: Any = None) -> None:
        self.time = NOW
        self.client = client or FakeClient(now=lambda: self.time)
        self.tick = 0.0
        self.manager = Manager(self.client, controllers, settings=settings, now=self._now, random=lambda: 0.5)
        self.events: list[tuple[str, str, str]] = []

    def _now(self) -> float:
        """Return the time, which goes on by `tick` whenever a controller looks at it."""
        self.time += self.tick
        return self.time

    async def __aenter__(self) -> World:
        await self.manager.start()
        for runner in self.manager._runners:
            recorder = SimpleNamespace(event=self._event)
            object.__setattr__(runner.context, "events", recorder)
        await self.settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.manager.stop()

    def _event(self, obj: Object, type: str, reason: str, message: str) -> None:
        self.events.append((type, reason, message))

    async def settle(self) -> None:
        quiet = 0
        async with asyncio.timeout(60):  # in which they come to rest
            while quiet <= 20:
                await asyncio.sleep(0)
                quiet = quiet + 1 if self.manager.is_idle() and self._is_synced() else 0

    def _is_synced(self) -> bool:
        for informer in self.manager.informers._informers.values():
            stored = {
                (meta.uid(o), meta.resource_version(o)) for o in self.client.all(informer.scope.resource)
            }
            if stored != {(meta.uid(o), meta.resource_version(o)) for o in informer.list()}:
                return False
        return True

    async def reconcile_all(self) -> None:
        """Put every key on the queues again, as a restart does."""
        for runner in self.manager._runners:
            for watch in runner.controller.WATCHES:
                for obj in self.client.all(watch.resource):
                    for key in runner._keys_of(watch)(obj):
                        runner.queue.add(key)
        await self.settle()

    def set_pod(
        self, pod: Object, *, phase: str = "Running", ready: bool = True, ip: str = "", node: str = ""
    ) -> Object:
        """Do what scheduler and kubelet do: node, phase, Ready condition."""
        status = {
            **(pod.get("status") or {}),
            "phase": phase,
            "conditions": meta.with_condition(
                (pod.get("status") or {}).get("conditions") or [], "Ready", str(ready), "", "", self.time
            ),
        }
        if ip:
            status |= {"podIP": ip, "podIPs": [{"ip": ip}]}
        spec = {**pod["spec"], **({"nodeName": node} if node else {})}
        return self.client.add(PODS, {**pod, "spec": spec, "status": status})

    def pods(self) -> list[Object]:
        return self.client.all(PODS)

    def conditions(
        self, resource: Resource, name: str, namespace: str = "default"
    ) -> dict[str, tuple[str, str]]:
        obj = self.client.peek(resource, name, namespace)
        assert obj is not None
        found = (obj.get("status") or {}).get("conditions") or []
        return {c["type"]: (c["status"], c.get("reason", "")) for c in found}

    def advance(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def world() -> Callable[..., World]:
    return World


@pytest.fixture
def settings(tmp_path: Any) -> ControllerSettings:
    return ControllerSettings(
        ca_certificate="-----BEGIN CERTIFICATE-----", volumes_directory=tmp_path / "volumes"
    )
