"""Wire one node's network together: services, the host's NodePorts, and DNS.

Watches services and endpointslices through the shared informers; writes Events about ports that cannot be offered.
"""

from __future__ import annotations

import logging

from proa.client.protocol import Client
from proa.network.data_path import ServiceKey
from proa.network.dns import DnsServer, Resolver
from proa.network.dns_forward import Forwarder, read_resolvers
from proa.network.dns_records import (
    CLUSTER_IP_INDEX,
    ENDPOINT_IP_INDEX,
    ClusterZone,
    index_cluster_ips,
    index_endpoint_ips,
)
from proa.network.hostports import HostPorts
from proa.network.nftables import NftablesDataPath
from proa.network.protocol import DataPathBackend, NetworkSettings, NodeNetwork, RuntimeStatus
from proa.network.services import ServiceProxy
from proa.network.userspace import UserspaceDataPath
from proa.objects.resource import ENDPOINT_SLICES, SERVICES
from proa.reconcile.informer import InformerFactory
from proa.reconcile.protocol import EventRecorder

logger = logging.getLogger(__name__)


class Network:
    """Everything between services and sockets on one node. Call `start` with the informers, started or not."""

    def __init__(
        self,
        client: Client,
        informers: InformerFactory,
        node_network: NodeNetwork,
        runtime_status: RuntimeStatus,
        events: EventRecorder,
        settings: NetworkSettings,
    ) -> None:
        self._events = events
        self._services = informers.informer(SERVICES)
        self._slices = informers.informer(ENDPOINT_SLICES)
        self._services.add_index(CLUSTER_IP_INDEX, index_cluster_ips)
        self._slices.add_index(ENDPOINT_IP_INDEX, index_endpoint_ips)
        self.data_path_name, backend = self._choose_data_path(node_network, runtime_status)
        backends: list[DataPathBackend] = [backend]
        if settings.host_listen_address is not None:
            backends.append(HostPorts(node_network, settings.host_listen_address, self._problem))
        self._proxy = ServiceProxy(
            self._services,
            self._slices,
            backends,
            settings.node_name,
            excluded_addresses={settings.dns_address},
        )
        zone = ClusterZone(self._services, self._slices, settings.cluster_domain)
        forwarder = Forwarder(read_resolvers(settings.resolv_conf, excluded=[settings.dns_address]))
        resolver = Resolver(zone, forwarder, lambda: self._services.has_synced and self._slices.has_synced)
        self._dns = DnsServer(node_network, settings.dns_address, resolver)

    def _choose_data_path(
        self, node_network: NodeNetwork, runtime_status: RuntimeStatus
    ) -> tuple[str, DataPathBackend]:
        reason = runtime_status.features.get("nftables", "noded does not say")
        if not reason:
            return "nftables", NftablesDataPath(node_network, runtime_status.node_ip)
        logger.info("services are served in userspace reason=%s", reason)
        return "userspace", UserspaceDataPath(node_network, runtime_status.node_ip, self._problem)

    async def start(self) -> None:
        """Serve from now on; raise what noded raises where DNS has no address or socket."""
        await self._proxy.start()
        await self._dns.start()

    async def stop(self) -> None:
        """Leave no listener, rule or address."""
        await self._dns.stop()
        await self._proxy.stop()

    def _problem(self, key: ServiceKey, reason: str, message: str) -> None:
        logger.warning("%s namespace=%s service=%s", message, key.namespace, key.name)
        if (service := self._services.get(key.name, key.namespace)) is not None:
            self._events.event(service, "Warning", reason, message)
