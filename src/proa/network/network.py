"""Wire one node's network together: services and DNS.

Watches services and endpointslices through the shared informers; writes Events about ports that cannot be offered.
The host's NodePorts are host.py's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from proa.network.data_path import ServiceKey
from proa.network.dns import DnsServer, Resolver
from proa.network.dns_forward import Forwarder, ResolvConf
from proa.network.dns_records import (
    CLUSTER_IP_INDEX,
    ENDPOINT_IP_INDEX,
    ClusterZone,
    index_cluster_ips,
    index_endpoint_ips,
)
from proa.network.health_checks import HealthChecks
from proa.network.outside import modes
from proa.network.outside.destinations import Destinations, find_outgoing_address
from proa.network.outside_addresses import OutsideAddresses
from proa.network.protocol import DataPathBackend, DivertingNetwork, NetworkSettings, RuntimeStatus
from proa.network.services import ServiceProxy
from proa.network.userspace import UserspaceDataPath
from proa.objects.resource import ENDPOINT_SLICES, NAMESPACES, NODES, PODS, SERVICES
from proa.reconcile.informer import InformerFactory
from proa.reconcile.protocol import EventRecorder

if TYPE_CHECKING:
    from proa.client.protocol import Object
    from proa.network.outside.way_out import WayOut
    from proa.network.policy.agent import PolicyAgent

logger = logging.getLogger(__name__)


class Network:
    """Everything between services and sockets on one node. Call `start` with the informers, started or not.

    Where the node cannot have the cluster's addresses (plain processes, no namespaces) there are no ClusterIPs and
    no DNS.
    """

    def __init__(
        self,
        informers: InformerFactory,
        node_network: DivertingNetwork,
        runtime_status: RuntimeStatus,
        events: EventRecorder,
        settings: NetworkSettings,
    ) -> None:
        self._node_network = node_network
        self._runtime_status = runtime_status
        self._events = events
        self._settings = settings
        self._services = informers.informer(SERVICES)
        self._slices = informers.informer(ENDPOINT_SLICES)
        self._nodes = informers.informer(NODES)
        self._pods = informers.informer(PODS)
        self._namespaces = informers.informer(NAMESPACES)
        self._services.add_index(CLUSTER_IP_INDEX, index_cluster_ips)
        self._slices.add_index(ENDPOINT_IP_INDEX, index_endpoint_ips)
        self._node_ips = settings.node_ips or (runtime_status.node_ip,)
        self._has_ipv6 = any(":" in ip for ip in self._node_ips)
        self._proxy: ServiceProxy | None = None
        self._dns: DnsServer | None = None
        self._way_out: WayOut | None = None
        self._policies: PolicyAgent | None = None
        self._informers = informers
        self._guarding: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Serve from now on; raise what noded raises where DNS gets no socket."""
        address = self._settings.dns_address
        if reason := await self._why_no_cluster_addresses():
            logger.warning("no ClusterIPs and no DNS on this node address=%s reason=%s", address, reason)
            self._guard(f"its pods have no network of their own: {reason}", way_out=False)
            return
        self._guard(self._why_no_netfilter(), way_out=True)
        node = self._settings.node_name
        outside = OutsideAddresses(self._node_network, self._settings.service_cidrs)
        checks = HealthChecks(self._node_network, self._node_ips)
        self._proxy = ServiceProxy(
            self._services,
            self._slices,
            [outside, await self._make_data_path(), checks],
            node,
            excluded_addresses={address},
            nodes=self._nodes,
            pods=self._pods,
        )
        await self._proxy.start()
        self._dns = self._make_dns()
        await self._dns.start()

    def _guard(self, why_no_policies: str, *, way_out: bool) -> None:
        """Begin to enforce policies and open the way out: nobody waits for it but pods that are to start."""

        async def begin() -> None:
            await self._enforce_policies(why_no_policies)
            if way_out:
                await self._open_way_out()

        self._guarding = asyncio.create_task(begin(), name=f"policies of {self._settings.node_name}")

    async def protect(self, pod: Object, addresses: Sequence[str]) -> None:
        """Return when network policies hold for a pod with these addresses; raise what noded says."""
        if self._guarding is not None:
            await asyncio.shield(self._guarding)
        if self._policies is not None:
            await self._policies.protect(pod, addresses)

    async def renew(self) -> None:
        """Serve in a node that was made anew; raise what noded raises, and then it can be called again."""
        if self._proxy is not None:
            await self._proxy.renew()
        if self._dns is not None:
            await self._dns.stop()
            await self._dns.start()
        if self._guarding is not None:
            await self._guarding
        if self._way_out is not None:
            await self._way_out.renew()
        if self._policies is not None:
            await self._policies.renew()

    async def stop(self) -> None:
        """Leave no listener, rule or address; whatever one part raises, the others end too."""
        if self._guarding is not None:
            self._guarding.cancel()
            await asyncio.gather(self._guarding, return_exceptions=True)
        async with AsyncExitStack() as parts:
            for part in (self._proxy, self._dns, self._way_out, self._policies):
                if part is not None:
                    parts.push_async_callback(part.stop)

    async def _why_no_cluster_addresses(self) -> str:
        """Return "" when the node can have them, as found by giving it the first."""
        try:
            await self._node_network.add_addresses([f"{self._settings.dns_address}/32"])
        except Exception as error:  # noded's refusal, in its words
            return str(error)
        return ""

    async def _make_data_path(self) -> DataPathBackend:
        """Return the kernel's where it takes its rules, else our own."""
        reason = self._why_no_netfilter()
        if not reason:
            from proa.network.nftables import NftablesDataPath

            path = NftablesDataPath(self._node_network, self._node_ips, self._settings.cluster_cidrs)
            try:
                await path.start()
            except Exception as error:  # the kernel's refusal, in its words
                reason = str(error)
            else:
                return path
        logger.warning("services are served in userspace reason=%s", reason)
        return UserspaceDataPath(self._node_network, self._node_ips, self._problem)

    async def _enforce_policies(self, why_not: str) -> None:
        """Enforce network policies from now on, or tell of each that it is not."""
        from proa.network.policy.agent import PolicyAgent

        settings = self._settings
        self._policies = PolicyAgent(
            self._informers,
            self._node_network,
            self._events,
            settings.node_name,
            families=("IPv4", "IPv6") if self._has_ipv6 else ("IPv4",),
            dns_addresses=[settings.dns_address],
            api_addresses=[settings.api_address],
            why_not=why_not,
        )
        await self._policies.start()

    async def _open_way_out(self) -> None:
        """Let pods reach other networks, or tell the Node why they do not."""
        from proa.network.outside import way_out

        settings = self._settings
        if reason := self._why_no_netfilter():
            if settings.outside != modes.NO:
                self._tell_node("NoOutsideNetwork", f"pods reach no network outside of the cluster: {reason}")
            return
        destinations = Destinations(settings.outside, settings.inside_cidrs, settings.host_address)
        found = way_out.WayOut(self._node_network, destinations, has_ipv6=self._has_ipv6)
        if settings.outside == modes.NO:
            await found.stop()
            return
        self._way_out = found
        try:
            await found.start()
        except Exception as error:  # noded's refusal, in its words: the kernel may lack nft_tproxy
            self._way_out = None
            await found.close()
            self._tell_node("NoOutsideNetwork", f"pods reach no network outside of the cluster: {error}")

    def _why_no_netfilter(self) -> str:
        return self._runtime_status.features.get("netfilter", "noded does not say")

    def _tell_node(self, reason: str, message: str) -> None:
        logger.warning("%s node=%s", message, self._settings.node_name)
        if (node := self._nodes.get(self._settings.node_name)) is not None:
            self._events.event(node, "Warning", reason, message)

    def _make_dns(self) -> DnsServer:
        settings = self._settings
        caches = self._services, self._slices, self._namespaces
        zone = ClusterZone(*caches, settings.cluster_domain, serial=int(time.time()))
        forwarder = Forwarder(ResolvConf(settings.resolv_conf).read)
        names = {} if settings.outside == modes.NO else {modes.HOST_NAME: self._host_address}
        if settings.registry_name:
            names[settings.registry_name] = lambda: settings.api_address
        resolver = Resolver(zone, forwarder, lambda: all(cache.has_synced for cache in caches), names)
        return DnsServer(self._node_network, settings.dns_address, resolver)

    def _host_address(self) -> str:
        """Return what pods reach the host by."""
        settings = self._settings
        return settings.host_address if settings.outside == modes.LOOPBACK else find_outgoing_address()

    def _problem(self, key: ServiceKey, reason: str, message: str) -> None:
        logger.warning("%s namespace=%s service=%s", message, key.namespace, key.name)
        if (service := self._services.get(key.name, key.namespace)) is not None:
            self._events.event(service, "Warning", reason, message)
