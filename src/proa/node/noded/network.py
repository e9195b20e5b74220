"""Keep the node's network: one bridge for its pods, one address for itself, and a routed address for each pod.

A pod has its address as a /32 and reaches everything through the bridge's .1, its neighbours too: so every packet
passes the node's IP layer, where services are translated both ways, without br_netfilter. The node's own address
is on lo; the service range is a local route, so that a ClusterIP without endpoints refuses at once.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

from proa.node.noded import links, linux, netlink, overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from proa.node.noded.ipv6 import Ipv6

BRIDGE = "proa0"
_SYSCTLS = {
    "ipv4/ip_forward": "1",
    "ipv4/conf/all/route_localnet": "1",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv4/icmp_ratelimit": "0",
    "ipv4/ip_unprivileged_port_start": "0",
    "bridge/bridge-nf-call-iptables": "0",
    "bridge/bridge-nf-call-ip6tables": "0",
}
OUTSIDE_MARK = 0x1000000
"""The bit of the mark by which nftables rules say that a packet is delivered here, wherever it is meant for."""
_MARKED_TABLE, _OWN_TABLE = 112, 113
_MARKED_PRIORITY, _OWN_PRIORITY = 112, 32770
"""Of the rules that lead there: the second is asked after the main table, for what the node itself sends."""
_IP_TRANSPARENT, _IP_RECVORIGDSTADDR = 19, 20
_IPV6_TRANSPARENT, _IPV6_RECVORIGDSTADDR = 75, 74
_IPC_SYSCTLS = ("kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue.")


class AddressesExhausted(Exception):
    """The pod CIDR has no free address."""


class Addresses:
    """Which addresses of the pod CIDR are taken. Hands them out in turn, so that one is not soon used again."""

    def __init__(self, cidr: str) -> None:
        network, _, bits = cidr.partition("/")
        self._base = struct.unpack(">I", socket.inet_aton(network))[0]
        self._size = 1 << (32 - int(bits))
        self._next = 2
        self._taken: set[str] = set()

    @property
    def gateway(self) -> str:
        """The bridge's own address."""
        return self._at(1)

    def take(self) -> str:
        """Return a free address; raise AddressesExhausted."""
        for _ in range(self._size):
            address = self._at(self._next)
            self._next = self._next + 1 if self._next < self._size - 2 else 2
            if address not in self._taken:
                self._taken.add(address)
                return address
        raise AddressesExhausted(f"no address is free among {self._size - 3} of the node's pods")

    def release(self, address: str) -> None:
        """Give an address back."""
        self._taken.discard(address)

    def _at(self, offset: int) -> str:
        return socket.inet_ntoa(struct.pack(">I", self._base + offset))


class NodeNetwork:
    """The network namespace that noded is in, and the pods' that hang off it."""

    def __init__(self, node_ip: str, pod_cidr: str, service_cidr: str, second: Ipv6 | None = None) -> None:
        self.namespace = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.addresses = Addresses(pod_cidr)
        self.node_ip = node_ip
        self._pod_cidr = pod_cidr
        self._service_cidr = service_cidr
        self._second = second
        self._route = netlink.Rtnetlink()
        self._bridge = 0
        self._made = 0
        self._is_diverted = False
        self._overlay = overlay.Overlay(self._route)

    def set_up(self) -> dict[str, str]:
        """Make the bridge and the node's addresses; return the sysctls that could not be set, with why."""
        refused = _write_sysctls()
        gateway = self.addresses.gateway
        self._route.send([netlink.new_bridge(BRIDGE, _mac(gateway)), netlink.link_up(1)])
        self._bridge = self._route.link_index(BRIDGE) or 0
        bits = self._pod_cidr.partition("/")[2]
        messages = [
            netlink.new_address(self._bridge, f"{gateway}/{bits}"),
            netlink.new_address(1, f"{self.node_ip}/32"),
        ]
        if self._service_cidr:
            messages.append(netlink.new_local_route(1, self._service_cidr, self.node_ip))
        self._route.send(messages)
        return refused

    def set_up_ipv6(self) -> None:
        """Make the IPv6 side; raise OSError, and be without it from then on."""
        second, self._second = self._second, None
        if second is not None:
            second.set_up(self._route, self._bridge)
            self._second = second

    @property
    def node_ipv6(self) -> str:
        """The node's IPv6 address, "" where it has none."""
        return self._second.node_ip if self._second is not None else ""

    def ipv6_of(self, pod_ip: str) -> str:
        """Return the IPv6 address of the pod with this IPv4 one, "" where pods have none."""
        return self._second.address_of(pod_ip) if self._second is not None else ""

    def divert_outside(self, inside: list[str]) -> None:
        """Bring what is meant for other networks to this node's own sockets: packets that rules mark, and its own.

        From then on rules must refuse what nobody takes: it would be delivered here whatever its address. The node's
        own packets to networks of `inside` are refused as before where no route leads there.
        """
        if self._is_diverted:
            return
        self._route.send([
            netlink.new_rule(socket.AF_INET, _MARKED_PRIORITY, _MARKED_TABLE, mark=OUTSIDE_MARK),
            netlink.new_local_route(1, "0.0.0.0/0", self.node_ip, _MARKED_TABLE),
            netlink.new_rule(socket.AF_INET, _OWN_PRIORITY, _OWN_TABLE, interface="lo"),
            netlink.new_local_route(1, "0.0.0.0/0", self.node_ip, _OWN_TABLE),
            *(netlink.new_unreachable(network, _OWN_TABLE) for network in inside),
        ])  # fmt: skip
        self._is_diverted = True

    def connect_pod(self, namespace: int) -> str:
        """Give the pod in the network namespace `namespace` an address, and return it."""
        address = self.addresses.take()
        try:
            self._connect(namespace, address)
        except BaseException:
            self.addresses.release(address)
            raise
        return address

    def _connect(self, namespace: int, address: str) -> None:
        self._made += 1
        name = f"veth{self._made:x}"
        self._route.send([
            netlink.new_veth(name, "eth0", peer_namespace=namespace, peer_mac=_mac(address), master=self._bridge),
            netlink.isolate(name),  # else a pod that makes its own frames passes by the node's rules
        ])  # fmt: skip
        with linux.entered(namespace, self.namespace):
            inside = netlink.Rtnetlink()
        try:
            index = inside.link_index("eth0") or 0
            gateway = self.addresses.gateway
            inside.send([
                netlink.link_up(1),
                netlink.new_address(index, f"{address}/32"),
                netlink.link_up(index),
                netlink.new_route(index, f"{gateway}/32", scope=netlink.SCOPE_LINK, source=address),
                netlink.new_route(index, "0.0.0.0/0", gateway=gateway, source=address),
            ])  # fmt: skip
            if self._second is not None:
                with linux.entered(namespace, self.namespace):
                    self._second.connect(inside, index, address)
        finally:
            inside.close()

    def link(self, far_namespace: int, here: dict[str, Any], there: dict[str, Any]) -> None:
        """Wire this node to another of this machine, whose network namespace is open as `far_namespace`."""
        links.link(self._route, self.namespace, far_namespace, here, there)

    def set_overlay(self, device: dict[str, Any], peers: list[dict[str, Any]]) -> bool:
        """See `overlay.Overlay.set`."""
        return self._overlay.set(device, peers)

    def add_addresses(self, addresses: list[str]) -> None:
        """Give lo these addresses (CIDR notation); those it has are left alone."""
        have = self._route.addresses(1)
        missing = [a for a in map(_with_bits, addresses) if a not in have]
        if missing:
            self._route.send([netlink.new_address(1, address) for address in missing])

    def remove_addresses(self, addresses: list[str]) -> None:
        """Take these addresses from lo; those it has not are no error."""
        have = self._route.addresses(1)
        present = [a for a in map(_with_bits, addresses) if a in have]
        if present:
            self._route.send([netlink.delete_address(1, address) for address in present])


def make_socket(kind: str, host: str, port: int) -> socket.socket:
    """Make a socket of the namespace that the caller is in: tcp-listen, tcp, udp or icmp.

    With "transparent-" before it, one that may have any address as its own, and that tells which one a datagram was
    sent to.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if kind == "icmp":
        return socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP)
    is_udp = kind.endswith("udp")
    made = socket.socket(family, socket.SOCK_DGRAM if is_udp else socket.SOCK_STREAM)
    try:
        if kind.startswith("transparent-"):
            _make_transparent(made)
        if port or host not in ("", "::"):
            if not is_udp:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((host, port))
        if kind.endswith("tcp-listen"):
            made.listen(1024)
    except BaseException:
        made.close()
        raise
    made.setblocking(False)
    return made


def _make_transparent(made: socket.socket) -> None:
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVORIGDSTADDR, 1)
    else:
        made.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
        made.setsockopt(socket.IPPROTO_IP, _IP_RECVORIGDSTADDR, 1)


def host_address() -> str:
    """Return the address by which this namespace reaches others, 127.0.0.1 when it has none."""
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    except OSError as error:
        if error.errno not in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            raise
        return "127.0.0.1"
    finally:
        probe.close()


def write_pod_sysctl(name: str, value: str, namespaces: Iterable[str]) -> None:
    """Set a sysctl of the namespaces (net, ipc) that the caller has for itself; raise PermissionError for others."""
    first, *rest = name.split(".")
    owner = "net" if first == "net" else "ipc" if name.startswith(_IPC_SYSCTLS) else ""
    if owner not in namespaces or not all(rest) or "/" in name:
        raise PermissionError(errno.EPERM, f"sysctl {name!r} is not in a separate kernel namespace")
    write_sysctl(name, value)


def write_sysctl(name: str, value: str) -> None:
    """Set a sysctl by its dotted or slashed name, in the namespaces that the caller is in."""
    path = name if "/" in name else name.replace(".", "/")
    with open(f"/proc/sys/{path}", "w") as file:
        file.write(value)


def _write_sysctls() -> dict[str, str]:
    refused = {}
    for name, value in _SYSCTLS.items():
        try:
            write_sysctl(f"net/{name}", value)
        except FileNotFoundError:
            continue  # br_netfilter is not loaded: there is nothing to turn off
        except OSError as error:
            refused[name] = error.strerror or str(error)
    return refused


def _mac(address: str) -> bytes:
    return b"\x0a\x58" + socket.inet_aton(address)


def _with_bits(address: str) -> str:
    if "/" in address:
        return address
    return f"{address}/128" if ":" in address else f"{address}/32"
