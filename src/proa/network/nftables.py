"""Serve ClusterIPs and NodePorts with nftables rules in the node's namespace: no byte passes through this process.

Theory of operation. Table `ip proa` has one verdict map from (protocol, address, port) to a service's chain, looked up
in prerouting (pods) and output (the node itself), and one from (protocol, port) for NodePorts on the node's address.
A service's chain picks one of N endpoint chains with `numgen random`, after a look into one set an endpoint of the
clients that must return to it (ClientIP affinity). An endpoint's chain marks hairpin traffic for masquerading and
rewrites the destination. A port without endpoints has a place in two more maps, behind which is a reject.
Everything that belongs to a service port is named after a hash of it, so that an update touches nothing else; each
`apply` is one transaction. After one that failed nothing is taken for granted: the next replaces the whole table.

Follows pkg/proxy/nftables/proxier.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from proa.network.data_path import Endpoint, ServiceKey, ServicePort
from proa.network.protocol import NodeNetwork

TABLE = "ip proa"
MASQUERADE_MARK = "0x4000"


class NftablesDataPath:
    """A DataPathBackend."""

    def __init__(self, node_network: NodeNetwork, node_ip: str) -> None:
        self._node_network = node_network
        self._node_ip = node_ip
        self._applied: dict[ServiceKey, tuple[ServicePort, ...]] = {}
        self._in_doubt = False

    async def start(self) -> None:
        """Replace whatever a previous run has left."""
        self._applied.clear()
        self._in_doubt = False
        await self._node_network.apply_nftables(render_base(self._node_ip))

    async def apply(self, changes: Mapping[ServiceKey, tuple[ServicePort, ...]]) -> None:
        """See DataPathBackend."""
        wanted = {**self._applied, **changes}
        if self._in_doubt:
            commands = render_base(self._node_ip) + render_changes(((), ports) for ports in wanted.values())
        else:
            commands = render_changes((self._applied.get(key, ()), ports) for key, ports in changes.items())
        if commands:
            self._in_doubt = True
            await self._node_network.apply_nftables(commands)
            self._in_doubt = False
        self._applied = {key: ports for key, ports in wanted.items() if ports}

    async def stop(self) -> None:
        """See DataPathBackend."""
        self._applied.clear()
        await self._node_network.apply_nftables(f"add table {TABLE}\ndelete table {TABLE}\n")


def render_base(node_ip: str) -> str:
    """Return the commands that make an empty data path, replacing any that is there."""
    return f"""add table {TABLE}
delete table {TABLE}
table {TABLE} {{
  map services {{ type inet_proto . ipv4_addr . inet_service : verdict; }}
  map nodeports {{ type inet_proto . inet_service : verdict; }}
  map refused_services {{ type inet_proto . ipv4_addr . inet_service : verdict; }}
  map refused_nodeports {{ type inet_proto . inet_service : verdict; }}
  chain dispatch {{
    meta l4proto . ip daddr . th dport vmap @services
    ip daddr {node_ip} meta l4proto . th dport vmap @nodeports
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    jump dispatch
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    jump dispatch
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    meta mark & {MASQUERADE_MARK} == {MASQUERADE_MARK} masquerade
  }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject
  }}
  chain check_refused {{
    meta l4proto . ip daddr . th dport vmap @refused_services
    ip daddr {node_ip} meta l4proto . th dport vmap @refused_nodeports
  }}
  chain filter_input {{
    type filter hook input priority filter; policy accept;
    ct state new jump check_refused
  }}
  chain filter_forward {{
    type filter hook forward priority filter; policy accept;
    ct state new jump check_refused
  }}
  chain filter_output {{
    type filter hook output priority filter; policy accept;
    ct state new jump check_refused
  }}
}}
"""


class _Element(NamedTuple):
    map: str
    key: str
    verdict: str


def render_changes(changes: Iterable[tuple[tuple[ServicePort, ...], tuple[ServicePort, ...]]]) -> str:
    """Return the commands that turn each (old, new) ports of a service into the new ones; what stays is not touched.

    Elements of the maps go first and come last, so that every chain that is deleted is unused by then.
    """
    old_ports: list[ServicePort] = []
    new_ports: list[ServicePort] = []
    for old, new in changes:
        old_ports += (port for port in old if port not in new)
        new_ports += (port for port in new if port not in old)
    old_chains, new_chains = (
        {name: rules for port in ports for name, rules in _chains(port)} for ports in (old_ports, new_ports)
    )
    old_sets, new_sets = (
        dict(pair for port in ports for pair in _sets(port)) for ports in (old_ports, new_ports)
    )
    old_elements, new_elements = (
        {*(e for port in ports for e in _elements(port))} for ports in (old_ports, new_ports)
    )
    touched = [name for name, rules in old_chains.items() if new_chains.get(name) != rules]
    made = {name: rules for name, rules in new_chains.items() if old_chains.get(name) != rules}
    lines = [f"delete element {TABLE} {e.map} {{ {e.key} }}" for e in sorted(old_elements - new_elements)]
    lines += (f"flush chain {TABLE} {name}" for name in touched)
    lines += (f"delete chain {TABLE} {name}" for name in _users_first(touched) if name not in new_chains)
    lines += (f"delete set {TABLE} {name}" for name in old_sets if name not in new_sets)
    lines += (
        f"add set {TABLE} {name} {definition}"
        for name, definition in new_sets.items()
        if name not in old_sets
    )
    lines += (f"add chain {TABLE} {name}" for name in made if name not in old_chains)
    lines += (f"add rule {TABLE} {name} {rule}" for name, rules in made.items() for rule in rules)
    lines += (
        f"add element {TABLE} {e.map} {{ {e.key} : {e.verdict} }}"
        for e in sorted(new_elements - old_elements)
    )
    return "".join(f"{line}\n" for line in lines)


def _users_first(chains: Iterable[str]) -> list[str]:
    order = {"external": 0, "service": 1, "endpoint": 2}
    return sorted(chains, key=lambda name: order[name.split("_")[0]])


def _elements(port: ServicePort) -> Iterator[_Element]:
    protocol, name = port.protocol.lower(), _hash(port)
    for address in port.addresses:
        key = f"{protocol} . {address} . {port.port}"
        if port.endpoints:
            yield _Element("services", key, f"goto service_{name}")
        else:
            yield _Element("refused_services", key, "goto refuse")
    if port.node_port:
        key = f"{protocol} . {port.node_port}"
        if port.node_port_endpoints:
            yield _Element("nodeports", key, f"goto external_{name}")
        else:
            yield _Element("refused_nodeports", key, "goto refuse")


def _chains(port: ServicePort) -> Iterator[tuple[str, list[str]]]:
    name = _hash(port)
    affinity = port.affinity_seconds > 0
    for endpoint in sorted({*port.endpoints, *port.node_port_endpoints}):
        yield f"endpoint_{_hash(port, endpoint)}", _endpoint_rules(port, endpoint, affinity=affinity)
    yield f"service_{name}", _choice(port, port.endpoints, affinity=affinity)
    mark = f"meta mark set meta mark or {MASQUERADE_MARK}"
    yield f"external_{name}", [mark, *_choice(port, port.node_port_endpoints, affinity=affinity)]


def _choice(port: ServicePort, endpoints: tuple[Endpoint, ...], *, affinity: bool) -> list[str]:
    names = [_hash(port, endpoint) for endpoint in endpoints]
    rules = [f"ip saddr @affinity_{name} goto endpoint_{name}" for name in names] if affinity else []
    if names:
        verdicts = ", ".join(f"{index} : goto endpoint_{name}" for index, name in enumerate(names))
        rules.append(f"numgen random mod {len(names)} vmap {{ {verdicts} }}")
    return rules


def _endpoint_rules(port: ServicePort, endpoint: Endpoint, *, affinity: bool) -> list[str]:
    rules = [f"ip saddr {endpoint.address} meta mark set meta mark or {MASQUERADE_MARK}"]
    if affinity:
        rules.append(f"update @affinity_{_hash(port, endpoint)} {{ ip saddr }}")
    return [*rules, f"meta l4proto {port.protocol.lower()} dnat to {endpoint.address}:{endpoint.port}"]


def _sets(port: ServicePort) -> Iterator[tuple[str, str]]:
    if port.affinity_seconds:
        for endpoint in sorted({*port.endpoints, *port.node_port_endpoints}):
            definition = f"{{ type ipv4_addr; flags dynamic,timeout; timeout {port.affinity_seconds}s; }}"
            yield f"affinity_{_hash(port, endpoint)}", definition


def _hash(port: ServicePort, endpoint: Endpoint | None = None) -> str:
    where = f"@{endpoint.address}:{endpoint.port}" if endpoint else ""
    affinity = f"~{port.affinity_seconds}" if endpoint else ""
    text = f"{port.service.namespace}/{port.service.name}/{port.name}/{port.protocol}{affinity}{where}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
