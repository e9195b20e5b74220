"""Write what became of the objects: statuses, Events, and the Service by which pods reach the proxy.

The latest word counts: what is not written yet when there is a newer one is never written. Nobody waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from proa.client.protocol import Client, Object
from proa.network.gateway.caches import Caches
from proa.network.gateway.exposure import Exposure
from proa.network.gateway.world import Problem
from proa.objects import meta
from proa.objects.errors import AlreadyExists, ApiError, NotFound
from proa.objects.resource import ENDPOINT_SLICES, INGRESSES, SERVICES, Resource
from proa.reconcile.protocol import EventRecorder

logger = logging.getLogger(__name__)

RETRY_SECONDS = 2.0


class _Status(NamedTuple):
    resource: Resource
    obj: Object
    status: Object


class Reports:
    """What is to be written. Between `begin` and `end` everything is added anew."""

    def __init__(self, client: Client, caches: Caches, events: EventRecorder) -> None:
        self._client = client
        self._caches = caches
        self._events = events
        self._statuses: dict[str, _Status] = {}
        self._told: dict[str, tuple[Problem, ...]] = {}
        self._telling: dict[str, tuple[Problem, ...]] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_new = False
        self.exposure: Exposure | None = None
        self._exposed: Exposure | None = None
        self.reach: Mapping[int, tuple[str, int]] = {}

    def begin(self) -> None:
        """Forget what was added before."""
        self._statuses = {}
        self._telling = {}

    def add(
        self,
        resource: Resource,
        obj: Object,
        status: Object | None,
        problems: Sequence[Problem] = (),
        refusal: str = "",
    ) -> None:
        """Have a status written, unless None, and problems told that were not told before."""
        uid = meta.uid(obj)
        if status is not None:
            self._statuses[uid] = _Status(resource, obj, status)
        wrong = (*problems, *([Problem("ProxyRefused", refusal)] if refusal else ()))
        for problem in wrong:
            if problem not in self._told.get(uid, ()):
                self._events.event(obj, "Warning", problem.reason, problem.message)
        if wrong:
            self._telling[uid] = wrong

    def end(self) -> None:
        """Have it written from now on."""
        self._told = self._telling
        self._is_new = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write(), name="gateway's statuses")

    async def stop(self) -> None:
        """Write no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _write(self) -> None:
        while self._is_new:
            self._is_new = False
            try:
                await self._write_exposure()
                await self._write_statuses()
            except ApiError as error:
                logger.warning("what became of Ingresses and Gateways is not written yet error=%s", error)
                await asyncio.sleep(RETRY_SECONDS)
                self._is_new = True

    async def _write_statuses(self) -> None:
        while self._statuses:
            uid, (resource, obj, status) = next(iter(self._statuses.items()))
            space = meta.namespace(obj) or None
            try:
                written = await self._client.patch(
                    resource, meta.name(obj), {"status": status}, space, subresource="status"
                )
            except NotFound:  # it is gone, or its kind is
                self._done(uid, status)
                continue
            self._done(uid, status)
            if (informer := self._caches.find(resource)) is not None:
                informer.wrote(written)
            if resource == INGRESSES and not (obj.get("status") or {}).get("loadBalancer", {}).get("ingress"):
                self._events.event(obj, "Normal", "Sync", self._where())

    def _done(self, uid: str, status: Object) -> None:
        if (pending := self._statuses.get(uid)) is not None and pending.status is status:
            del self._statuses[uid]

    def _where(self) -> str:
        schemes = {80: "http", 443: "https"}
        urls = [
            f"{schemes[port]}://{address}{'' if number == port else f':{number}'}"
            for port, (address, number) in sorted(self.reach.items())
            if port in schemes
        ]
        return f"served at {' and '.join(urls)}"

    async def _write_exposure(self) -> None:
        exposure = self.exposure
        if exposure is None or exposure == self._exposed:
            return
        for resource, obj in ((SERVICES, exposure.service), (ENDPOINT_SLICES, exposure.slice)):
            await self._ensure(resource, obj)
        self._exposed = exposure

    async def _ensure(self, resource: Resource, wanted: Object) -> None:
        name, space = meta.name(wanted), meta.namespace(wanted)
        patch = {key: value for key, value in wanted.items() if key != "metadata"}
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **wanted}
        try:
            await self._client.patch(resource, name, patch, space)
        except NotFound:
            try:
                await self._client.create(resource, body, space)
            except AlreadyExists:
                await self._client.patch(resource, name, patch, space)
