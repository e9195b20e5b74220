"""Serve ClusterIPs, NodePorts, externalIPs and load balancers with nftables rules in the node's network.

No byte of a connection passes through this process. The rules are told the kernel in netlink messages of our own, so
that no library or program is needed, and a change costs what changes (service_rules.py says how). What belongs together
goes in one transaction; after one that failed nothing is taken for granted: the next replaces the whole table.
Conversations by UDP with endpoints that are gone are ended (udp_flows.py). Follows pkg/proxy/nftables/proxier.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from proa.network.data_path import ServiceKey, ServicePort
from proa.network.netfilter.messages import DELETE_ELEMENTS, NEW_ELEMENTS, Message, check, transaction
from proa.network.protocol import NodeNetwork
from proa.network.service_elements import (
    Claims,
    Elements,
    Orders,
    elements_of,
    messages_of,
)
from proa.network.service_rules import FAMILIES, Family, Plan, base, plan_chain, removal
from proa.network.udp_flows import UdpFlows

MAX_TRANSACTION_BYTES = 96 << 10
"""A transaction is one message to the kernel, and must fit into a socket's buffer: 212,992 bytes, of which half."""

MAX_UNUSED_PLANS = 1024
"""A table with more plans than this, and than twice those in use, is made anew."""


class NftablesDataPath:
    """A DataPathBackend. `node_ips` are the node's own addresses, one of each family that it serves.

    `cluster_cidrs` are the networks of all pods: who comes from elsewhere is outside of the cluster.
    """

    def __init__(
        self, node_network: NodeNetwork, node_ips: Sequence[str], cluster_cidrs: Sequence[str]
    ) -> None:
        self._node_network = node_network
        cidr_of = {":" in cidr: cidr for cidr in cluster_cidrs}
        self._tables = [
            _Table(node_network, FAMILIES["IPv6" if ":" in ip else "IPv4"], ip, cidr_of[":" in ip])
            for ip in node_ips
        ]
        self._flows = UdpFlows(node_network, node_ips)
        self._is_fresh = False

    async def start(self) -> None:
        """Replace whatever a previous run has left; raise what the node or its kernel says.

        A second time, with nothing applied in between, it is done already.
        """
        if not self._is_fresh:
            for table in self._tables:
                await table.start()
            self._is_fresh = True

    async def apply(self, changes: Mapping[ServiceKey, tuple[ServicePort, ...]]) -> None:
        """See DataPathBackend."""
        self._is_fresh = False
        for table in self._tables:
            await table.apply(changes)
        await self._flows.apply(changes)

    async def stop(self) -> None:
        """See DataPathBackend."""
        self._is_fresh = False
        for table in self._tables:
            await table.stop()


class _Table:
    """One family's."""

    def __init__(self, node_network: NodeNetwork, family: Family, node_ip: str, cluster_cidr: str) -> None:
        self._node_network = node_network
        self._family = family
        self._node_ip = node_ip
        self._cluster_cidr = cluster_cidr
        self._ports: dict[ServiceKey, tuple[ServicePort, ...]] = {}
        self._in_doubt = False
        self._forget()

    def _forget(self) -> None:
        self._elements: dict[ServiceKey, Elements] = {}
        self._orders: dict[ServiceKey, Orders] = {}
        self._claims = Claims()
        self._plans: dict[Plan, int] = {}
        self._max_plans = MAX_UNUSED_PLANS

    async def start(self) -> None:
        self._ports.clear()
        await self._begin()
        self._in_doubt = False

    async def _begin(self) -> None:
        self._forget()
        await self._send(base(self._family, self._node_ip, self._cluster_cidr))

    async def apply(self, changes: Mapping[ServiceKey, tuple[ServicePort, ...]]) -> None:
        self._note(changes)
        if self._in_doubt or len(self._plans) > self._max_plans:
            self._in_doubt = True
            await self._begin()
            changes = self._ports
        self._in_doubt = True
        if messages := self._change(changes):
            await self._send(messages)
        self._in_doubt = False
        self._max_plans = max(self._max_plans, 2 * len(self._plans))

    def _note(self, changes: Mapping[ServiceKey, tuple[ServicePort, ...]]) -> None:
        for service, ports in changes.items():
            if ports:
                self._ports[service] = ports
            else:
                self._ports.pop(service, None)

    def _change(self, changes: Mapping[ServiceKey, tuple[ServicePort, ...]]) -> list[Message]:
        """Note the changes, and return what brings the table there; plans come before what follows them."""
        plans = len(self._plans)
        pairs: dict[ServiceKey, tuple[Elements, Elements]] = {}
        for service, ports in changes.items():
            before = self._elements.pop(service, {})
            now, orders = elements_of(self._family, ports, self._number_of, self._orders.pop(service, {}))
            if now:
                self._elements[service], self._orders[service] = now, orders
            pairs[service] = before, now
        made = list(self._plans.items())[plans:]
        messages = [message for plan, number in made for message in plan_chain(self._family, number, plan)]
        return messages + messages_of(self._family, *self._claims.change(pairs))

    def _number_of(self, plan: Plan) -> int:
        return self._plans.setdefault(plan, len(self._plans) + 1)

    async def stop(self) -> None:
        self._ports.clear()
        self._forget()
        await self._send(removal(self._family))

    async def _send(self, messages: Sequence[Message]) -> None:
        for some in _transactions(messages):
            check(some, await self._node_network.ask_netfilter(transaction(some)))


def _transactions(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Yield messages that go together: all, unless they are too many."""
    begin = size = 0
    for index, message in enumerate(messages):
        is_replacing = message.kind == NEW_ELEMENTS and messages[index - 1].kind == DELETE_ELEMENTS
        if size and size + len(message.attributes) > MAX_TRANSACTION_BYTES and not is_replacing:
            yield messages[begin:index]
            begin, size = index, 0
        size += len(message.attributes) + 24
    if begin < len(messages):
        yield messages[begin:]
