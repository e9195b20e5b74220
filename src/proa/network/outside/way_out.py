"""Keep one node's way out to the host's networks open: rules and sockets in the node's namespace, relays here.

The host has nothing of it: no link, no address, no rule. What goes out has the host's address as its sender.
"""

from __future__ import annotations

from collections.abc import Sequence

from proa.network.netfilter.messages import Message, check, transaction
from proa.network.outside import rules
from proa.network.outside.connections import OutsideConnections
from proa.network.outside.datagrams import OutsideDatagrams
from proa.network.outside.destinations import Destinations
from proa.network.protocol import DivertingNetwork
from proa.network.sockets import SocketPool

EVERYWHERE = "0.0.0.0"  # noqa: S104 - of the node's own network, where only what the rules divert arrives


class WayOut:
    """One node's. `has_ipv6` says whether its pods have addresses of IPv6, which do not lead out."""

    def __init__(
        self, node_network: DivertingNetwork, destinations: Destinations, *, has_ipv6: bool = False
    ) -> None:
        self._node_network = node_network
        self._destinations = destinations
        self._inside = [str(network) for network in destinations.inside]
        self._has_ipv6 = has_ipv6
        self._connections: OutsideConnections | None = None
        self._datagrams: OutsideDatagrams | None = None
        self._sockets = SocketPool(node_network, "transparent-udp")

    async def start(self) -> None:
        """Open it; raise what NodeNetwork raises."""
        node_network = self._node_network
        tcp = await node_network.open_socket("transparent-tcp-listen", EVERYWHERE)
        udp = await node_network.open_socket("transparent-udp", EVERYWHERE)
        self._connections = OutsideConnections(self._destinations.find)
        await self._connections.start(tcp)
        errors = await node_network.open_socket("icmp")
        self._datagrams = OutsideDatagrams(self._destinations.find, self._sockets, errors)
        self._datagrams.start(udp)
        ports = tcp.getsockname()[1], udp.getsockname()[1]
        await self._apply(rules.plan(self._inside, *ports))
        inside = map(
            str, self._destinations.without_host
        )  # the same in every mode: noded outlives this process
        await node_network.divert_outside([*inside, *rules.NEVER_OUTSIDE])

    async def renew(self) -> None:
        """Open it in a node that was made anew: flows through the one that is gone end."""
        await self.close()
        await self.start()

    async def stop(self) -> None:
        """End every flow, and refuse others at once."""
        await self.close()
        await self._apply(rules.plan(self._inside))

    async def _apply(self, plan: Sequence[Message]) -> None:
        messages = [*plan, *(rules.plan_ipv6() if self._has_ipv6 else ())]
        check(messages, await self._node_network.ask_netfilter(transaction(messages)))

    async def close(self) -> None:
        """End every flow."""
        if self._connections is not None:
            await self._connections.stop()
        if self._datagrams is not None:
            await self._datagrams.stop()
        await self._sockets.close()
