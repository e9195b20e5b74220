"""End the conversations by UDP that the kernel has with endpoints that serve no more.

A client that sends from one port on and on never makes a new connection, so the kernel would go on sending to where the
first datagram went: to a pod that is gone, or to nobody at all where the service had no endpoint yet. Whoever is not
among a port's endpoints when these have changed is forgotten; the client's next datagram chooses anew.
Follows pkg/proxy/conntrack/cleanup.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from proa.network.data_path import Endpoint, ServiceKey, ServicePort
from proa.network.netfilter import conntrack
from proa.network.protocol import NodeNetwork

_UDP = 17

Entrances = dict[tuple[str, int], frozenset[Endpoint]]
"""Who may answer at each address and port."""


class UdpFlows:
    """The conversations of one node, whose own addresses are `node_ips`."""

    def __init__(self, node_network: NodeNetwork, node_ips: Sequence[str]) -> None:
        self._node_network = node_network
        self._node_ips = tuple(node_ips)
        self._known: dict[ServiceKey, Entrances] = {}

    async def apply(self, changes: Mapping[ServiceKey, tuple[ServicePort, ...]]) -> None:
        """Look at what has changed; the data path is there already."""
        for service, ports in changes.items():
            before, now = self._known.get(service, {}), dict(self._entrances(ports))
            for entrance in before.keys() | now.keys():
                if before.get(entrance) != now.get(entrance):
                    await self._end(*entrance, now.get(entrance, frozenset()))
            self._known.pop(service, None)
            if now:
                self._known[service] = now

    def _entrances(
        self, ports: Sequence[ServicePort]
    ) -> Iterator[tuple[tuple[str, int], frozenset[Endpoint]]]:
        for port in ports:
            if port.protocol != "UDP":
                continue
            outside = frozenset((*port.node_port_endpoints, *port.cluster_endpoints))
            yield from (((address, port.port), frozenset(port.endpoints)) for address in port.addresses)
            for address in (*port.external_addresses, *port.balancer_addresses):
                yield (address, port.port), outside
            for address in self._node_ips if port.node_port else ():
                if (":" in address) == (port.family == "IPv6"):
                    yield (address, port.node_port), outside

    async def _end(self, address: str, port: int, endpoints: frozenset[Endpoint]) -> None:
        answer = await self._node_network.ask_netfilter(conntrack.ask_for(address, _UDP, port))
        stale = [
            flow
            for flow in conntrack.flows_in(answer, _UDP)
            if (flow.address, flow.port) == (address, port)
            and (flow.answering, flow.answering_port) not in endpoints
        ]
        if stale:
            await self._node_network.ask_netfilter(conntrack.forget(stale))
