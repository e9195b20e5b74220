"""Start the gateway when the first object needs it, an Ingress or Gateway API's definitions; nothing runs before.

Watches Ingresses and CustomResourceDefinitions, whose caches the server has anyway or which are empty.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from proa.client.protocol import Client, Object
from proa.objects import meta
from proa.objects.resource import CUSTOM_RESOURCE_DEFINITIONS, INGRESSES
from proa.reconcile.informer import InformerFactory
from proa.reconcile.protocol import EventRecorder

if TYPE_CHECKING:
    from proa.network.gateway.controller import GatewayController
    from proa.network.gateway.proxy import Place

logger = logging.getLogger(__name__)

ACCOUNT = "proa-gateway"
CONTROLLER = "proa.local/ingress"
CLASS_NAME = "proa"
DEFAULT_CLASS_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"
DEFINITION = "gatewayclasses.gateway.networking.k8s.io"


def make_ingress_class() -> Object:
    """Return the class that Ingresses get which name none."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": CLASS_NAME, "annotations": {DEFAULT_CLASS_ANNOTATION: "true"}},
        "spec": {"controller": CONTROLLER},
    }


class GatewayStarter:
    """What waits. The arguments are those of `GatewayController`."""

    def __init__(
        self,
        client: Client,
        informers: InformerFactory,
        events: EventRecorder,
        place: Place,
        folder: Path,
        listen_address: str,
        now: Callable[[], float],
    ) -> None:
        self._arguments = (client, informers, events, place, folder, listen_address, now)
        self._informers = informers
        self._controller: GatewayController | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Wait from now on."""
        self._informers.informer(INGRESSES).listen(self._ingress_changed)
        self._informers.informer(CUSTOM_RESOURCE_DEFINITIONS).listen(self._definition_changed)

    async def stop(self) -> None:
        """End what was started."""
        self._informers.informer(INGRESSES).unlisten(self._ingress_changed)
        self._informers.informer(CUSTOM_RESOURCE_DEFINITIONS).unlisten(self._definition_changed)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._controller is not None:
            await self._controller.stop()

    def renew(self) -> None:
        """The node that Envoy runs in was made anew, or is another one."""
        if self._controller is not None:
            self._controller.renew()

    def _ingress_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._begin()

    def _definition_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None and meta.name(new) == DEFINITION:
            self._begin()

    def _begin(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._start(), name="gateway's start")

    async def _start(self) -> None:
        from proa.network.gateway.controller import GatewayController

        self._controller = GatewayController(*self._arguments)
        await self._controller.start()
