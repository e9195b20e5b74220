"""Offer NodePorts and load balancers on the host, which is outside of every node's network.

See hostports.py and load_balancers.py. Watches services and endpointslices through the shared informers; writes Events
about ports that are taken, and load balancers' addresses into services' status (`client` is for that). There is
one host, whatever the number of its nodes: connections go out from any node that runs, to pods on all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from proa.client.protocol import Client, Object
from proa.network import pod_ports
from proa.network.data_path import ServiceKey
from proa.network.hostports import HostPorts
from proa.network.load_balancers import LoadBalancers, lowest_port
from proa.network.protocol import DataPathBackend, NodeNetwork
from proa.network.services import ServiceProxy
from proa.objects.resource import ENDPOINT_SLICES, PODS, SERVICES
from proa.reconcile.informer import InformerFactory
from proa.reconcile.protocol import EventRecorder

logger = logging.getLogger(__name__)


class HostEntrance:
    """The listeners at `listen_address`; `node_network` makes sockets of a node that runs.

    `is_here` tells of a node by its name whether it is of this machine, and its pods' hostPorts are taken here.
    """

    def __init__(
        self,
        informers: InformerFactory,
        node_network: NodeNetwork,
        events: EventRecorder,
        listen_address: str,
        client: Client | None = None,
        *,
        is_here: Callable[[str], bool] = lambda node: True,
    ) -> None:
        self._events = events
        self._services = informers.informer(SERVICES)
        ports = HostPorts(node_network, listen_address, self._problem)
        backends: list[DataPathBackend] = [ports]
        if client is not None:
            backends.append(LoadBalancers(node_network, self._find, client, events, lowest_port()))
        self._pods = informers.informer(PODS)
        slices = informers.informer(ENDPOINT_SLICES)
        self._proxy = ServiceProxy(
            self._services,
            slices,
            backends,
            "",
            pods=self._pods,
            is_here=is_here,
            only_offered_on_host=True,
        )

    async def start(self) -> None:
        """Serve from now on."""
        await self._proxy.start()

    async def renew(self) -> None:
        """Begin anew: sockets of the node that was used lead nowhere any more."""
        await self._proxy.renew()

    async def stop(self) -> None:
        """Leave no listener."""
        await self._proxy.stop()

    def _problem(self, key: ServiceKey, reason: str, message: str) -> None:
        logger.warning("%s namespace=%s service=%s", message, key.namespace, key.name)
        if (service := self._find(key)) is not None:
            self._events.event(service, "Warning", reason, message)

    def _find(self, key: ServiceKey) -> Object | None:
        if key.name.startswith(pod_ports.PREFIX):
            return self._pods.get(key.name.removeprefix(pod_ports.PREFIX), key.namespace)
        return self._services.get(key.name, key.namespace)
