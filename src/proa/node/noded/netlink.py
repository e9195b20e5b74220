"""Speak rtnetlink: links, addresses and routes without the ip program.

A request is a list of messages sent in one datagram; each is acknowledged, and the first error is raised as
OSError with what it was doing. Layouts: linux/netlink.h, linux/rtnetlink.h, linux/if_link.h (RFC 3549).
"""

from __future__ import annotations

import os
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST, _ACK, _REPLACE, _EXCL, _CREATE, _DUMP = 0x1, 0x4, 0x100, 0x200, 0x400, 0x300
_NEWLINK, _DELLINK, _GETLINK, _NEWADDR, _DELADDR, _GETADDR, _NEWROUTE = 16, 17, 18, 20, 21, 22, 24
_DELROUTE, _NEWNEIGH, _DELNEIGH = 25, 28, 29
_NEWRULE, _FRA_IIFNAME, _FRA_PRIORITY, _FRA_FWMARK, _FRA_FWMASK, _FR_ACT_TO_TBL = 32, 3, 6, 10, 16, 1
_IFF_UP = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_NET_NS_FD = (
    1, 3, 4, 5, 10, 18, 28,
)  # fmt: skip
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA, _IFLA_BRPORT_ISOLATED = 4, 5, 33
_VXLAN_ID, _VXLAN_LOCAL, _VXLAN_LEARNING, _VXLAN_PORT, _VXLAN_LOCAL6 = 1, 4, 7, 15, 17
_NDA_DST, _NDA_LLADDR, _NDA_PORT, _NDA_VNI = 1, 2, 6, 7
_NUD_PERMANENT, _NTF_SELF, _AF_BRIDGE = 0x80, 0x02, 7
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_NODAD = 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC = 1, 4, 5, 7
_TABLE_MAIN, _TABLE_LOCAL, _PROTOCOL_BOOT = 254, 255, 3
SCOPE_GLOBAL, SCOPE_LINK, SCOPE_HOST, _SCOPE_ANY = 0, 253, 254, 255
_RTN_UNICAST, _RTN_LOCAL, _RTN_UNREACHABLE = 1, 2, 7


class Message:
    """One request: its type, flags, body, and words for an error."""

    __slots__ = ("body", "doing", "flags", "kind")

    def __init__(self, kind: int, flags: int, body: bytes, doing: str) -> None:
        self.kind, self.flags, self.body, self.doing = kind, flags, body, doing


class Rtnetlink:
    """A route socket of the network namespace in which it was made."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self.socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def send(self, messages: Sequence[Message]) -> None:
        """Carry out all messages in order; raise OSError for the first that the kernel refused."""
        first = self._sequence + 1
        packed = b"".join(self._pack(message, _REQUEST | _ACK | message.flags) for message in messages)
        self.socket.send(packed)
        failed: tuple[int, str] | None = None
        waiting = len(messages)
        while waiting:
            for kind, sequence, body in self._receive():
                if kind != _NLMSG_ERROR or sequence < first:
                    continue
                waiting -= 1
                code = -int(struct.unpack_from("=i", body)[0])
                if code and failed is None:
                    failed = (code, messages[sequence - first].doing)
        if failed is not None:
            raise OSError(failed[0], f"{os.strerror(failed[0])} ({failed[1]})")

    def link_index(self, name: str) -> int | None:
        """Return an interface's index, None when there is none of that name."""
        found = self.find_link(name)
        return found[0] if found is not None else None

    def find_link(self, name: str) -> tuple[int, int] | None:
        """Return the index of an interface and that of its peer (a veth's other end, 0 for none), None without it."""
        found = None
        for kind, _, body in self._dump(_GETLINK, struct.pack("=BxHiII", 0, 0, 0, 0, 0)):
            attributes = _attributes(body[16:])
            if kind == _NEWLINK and attributes.get(_IFLA_IFNAME) == name.encode() + b"\0":
                peer = attributes.get(_IFLA_LINK, b"\0\0\0\0")
                found = (int(struct.unpack_from("=i", body, 4)[0]), int(struct.unpack("=i", peer)[0]))
        return found

    def addresses(self, index: int | None = None) -> set[str]:
        """Return the addresses ("10.0.0.1/32") of an interface, or of all."""
        found = set()
        for kind, _, body in self._dump(_GETADDR, struct.pack("=BBBBi", socket.AF_UNSPEC, 0, 0, 0, 0)):
            if kind != _NEWADDR or (index is not None and struct.unpack_from("=i", body, 4)[0] != index):
                continue
            attributes = _attributes(body[8:])
            local = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
            if local:
                found.add(f"{socket.inet_ntop(body[0], local)}/{body[1]}")
        return found

    def _dump(self, kind: int, body: bytes) -> Iterator[tuple[int, int, bytes]]:
        self.socket.send(self._pack(Message(kind, 0, body, "dump"), _REQUEST | _DUMP))
        while True:
            for answer in self._receive():
                if answer[1] != self._sequence:
                    continue
                if answer[0] == _NLMSG_DONE:
                    return
                yield answer

    def _pack(self, message: Message, flags: int) -> bytes:
        self._sequence += 1
        return (
            struct.pack("=IHHII", 16 + len(message.body), message.kind, flags, self._sequence, 0)
            + message.body
        )

    def _receive(self) -> Iterator[tuple[int, int, bytes]]:
        data = self.socket.recv(1 << 17)
        offset = 0
        while offset < len(data):
            length, kind, _, sequence, _ = struct.unpack_from("=IHHII", data, offset)
            yield kind, sequence, data[offset + 16 : offset + length]
            offset += (length + 3) & ~3


def new_bridge(name: str, mac: bytes, mtu: int = 1500) -> Message:
    """Make a bridge and bring it up."""
    body = _link(up=True) + _name(name) + _attribute(_IFLA_ADDRESS, mac) + _attribute(_IFLA_MTU, _u32(mtu))
    body += _attribute(_IFLA_LINKINFO, _attribute(_IFLA_INFO_KIND, b"bridge"))
    return Message(_NEWLINK, _CREATE | _EXCL, body, f"add bridge {name}")


def new_veth(
    name: str, peer: str, *, peer_namespace: int, peer_mac: bytes = b"", master: int | None, mtu: int = 1500
) -> Message:
    """Make a veth pair: `name` up here (in the bridge `master`), `peer` in the namespace open as that fd."""
    size = _attribute(_IFLA_MTU, _u32(mtu))
    far = _link() + _name(peer) + _attribute(_IFLA_NET_NS_FD, _u32(peer_namespace)) + size
    far += _attribute(_IFLA_ADDRESS, peer_mac) if peer_mac else b""
    info = _attribute(_IFLA_INFO_KIND, b"veth")
    info += _attribute(_IFLA_INFO_DATA, _attribute(_VETH_INFO_PEER, far))
    body = _link(up=True) + _name(name) + size + _attribute(_IFLA_LINKINFO, info)
    if master is not None:
        body += _attribute(_IFLA_MASTER, _u32(master))
    return Message(_NEWLINK, _CREATE | _EXCL, body, f"add veth {name}")


def isolate(name: str) -> Message:
    """Have a bridge's port pass frames to and from the bridge itself only, not to others that are isolated."""
    info = _attribute(_IFLA_INFO_SLAVE_KIND, b"bridge")
    info += _attribute(_IFLA_INFO_SLAVE_DATA, _attribute(_IFLA_BRPORT_ISOLATED, b"\1"))
    body = _link() + _name(name) + _attribute(_IFLA_LINKINFO, info)
    return Message(_NEWLINK, 0, body, f"isolate {name}")


def new_vxlan(name: str, *, namespace: int, vni: int, local: str, port: int, mac: bytes, mtu: int) -> Message:
    """Make a VXLAN device in the namespace open as that fd; its packets go by the one that the request comes from.

    It learns nothing: `new_forwarding` says where each far end is. `local` is this machine's address.
    """
    is_6 = ":" in local
    info = _attribute(_VXLAN_ID, _u32(vni)) + _attribute(_VXLAN_LEARNING, b"\0")
    info += _attribute(_VXLAN_LOCAL6 if is_6 else _VXLAN_LOCAL, _raw(local))
    info += _attribute(_VXLAN_PORT, struct.pack(">H", port))
    body = _link() + _name(name) + _attribute(_IFLA_NET_NS_FD, _u32(namespace))
    body += _attribute(_IFLA_MTU, _u32(mtu)) + _attribute(_IFLA_ADDRESS, mac)
    kind = _attribute(_IFLA_INFO_KIND, b"vxlan") + _attribute(_IFLA_INFO_DATA, info)
    body += _attribute(_IFLA_LINKINFO, kind)
    return Message(_NEWLINK, _CREATE | _EXCL, body, f"add vxlan {name} vni {vni} port {port}")


def new_neighbour(index: int, address: str, mac: bytes) -> Message:
    """Say which MAC an address behind an interface has, for good."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    body = _neighbour(index, family, _NUD_PERMANENT, 0) + _attribute(_NDA_DST, _raw(address))
    return Message(
        _NEWNEIGH, _CREATE | _REPLACE, body + _attribute(_NDA_LLADDR, mac), f"add neighbour {address}"
    )


def delete_neighbour(index: int, address: str) -> Message:
    """Forget it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    body = _neighbour(index, family, 0, 0) + _attribute(_NDA_DST, _raw(address))
    return Message(_DELNEIGH, 0, body, f"delete neighbour {address}")


def new_forwarding(index: int, mac: bytes, address: str, port: int, vni: int) -> Message:
    """Have a VXLAN device send what is for `mac` to a machine, for the device there whose number is `vni`."""
    body = _neighbour(index, _AF_BRIDGE, _NUD_PERMANENT, _NTF_SELF) + _attribute(_NDA_LLADDR, mac)
    body += _attribute(_NDA_DST, _raw(address)) + _attribute(_NDA_PORT, struct.pack(">H", port))
    return Message(
        _NEWNEIGH, _CREATE | _REPLACE, body + _attribute(_NDA_VNI, _u32(vni)), f"add way to {address}"
    )


def delete_forwarding(index: int, mac: bytes) -> Message:
    """Forget where it is."""
    body = _neighbour(index, _AF_BRIDGE, 0, _NTF_SELF) + _attribute(_NDA_LLADDR, mac)
    return Message(_DELNEIGH, 0, body, "delete way")


def _neighbour(index: int, family: int, state: int, flags: int) -> bytes:
    return struct.pack("=BxHiHBB", family, 0, index, state, flags, 0)


def _raw(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def link_up(index: int) -> Message:
    """Bring an interface up."""
    return Message(_NEWLINK, 0, _link(index, up=True), f"set interface {index} up")


def delete_link(name: str) -> Message:
    """Delete an interface (and a veth's other end)."""
    return Message(_DELLINK, 0, _link() + _name(name), f"delete {name}")


def new_address(index: int, address: str, scope: int = SCOPE_GLOBAL) -> Message:
    """Give an interface an address in CIDR notation; one of IPv6 counts at once, without being looked for elsewhere."""
    return Message(_NEWADDR, _CREATE | _EXCL, _address(index, address, scope), f"add address {address}")


def delete_address(index: int, address: str) -> Message:
    """Take an address away."""
    return Message(_DELADDR, 0, _address(index, address, SCOPE_GLOBAL), f"delete address {address}")


def new_route(
    index: int, destination: str, *, gateway: str = "", source: str = "", scope: int = SCOPE_GLOBAL
) -> Message:
    """Add a route ("0.0.0.0/0" for the default) through an interface."""
    return _route(index, destination, _TABLE_MAIN, _RTN_UNICAST, scope, gateway, source)


def delete_route(index: int, destination: str) -> Message:
    """Take a route away."""
    added = new_route(index, destination, scope=_SCOPE_ANY)
    return Message(_DELROUTE, 0, added.body, f"delete route {destination}")


def new_local_route(index: int, destination: str, source: str = "", table: int = _TABLE_LOCAL) -> Message:
    """Take a whole range as this namespace's own: packets to it are delivered here."""
    return _route(index, destination, table, _RTN_LOCAL, SCOPE_HOST, "", source)


def new_unreachable(destination: str, table: int) -> Message:
    """Have a range of addresses refused at once."""
    return _route(0, destination, table, _RTN_UNREACHABLE, SCOPE_GLOBAL, "", "")


def new_rule(family: int, priority: int, table: int, *, mark: int = 0, interface: str = "") -> Message:
    """Have a routing table asked for packets with these bits of the mark, or that come in by an interface."""
    body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, table, 0, 0, _FR_ACT_TO_TBL, 0)
    body += _attribute(_FRA_PRIORITY, _u32(priority))
    if mark:
        body += _attribute(_FRA_FWMARK, _u32(mark)) + _attribute(_FRA_FWMASK, _u32(mark))
    if interface:
        body += _attribute(_FRA_IIFNAME, interface.encode() + b"\0")
    return Message(_NEWRULE, _CREATE | _EXCL, body, f"add rule to table {table}")


def _route(
    index: int, destination: str, table: int, kind: int, scope: int, gateway: str, source: str
) -> Message:
    network, _, bits = destination.partition("/")
    family, raw = _packed(network)
    length = int(bits or len(raw) * 8)
    body = struct.pack("=BBBBBBBBI", family, length, 0, 0, table, _PROTOCOL_BOOT, scope, kind, 0)
    if length:
        body += _attribute(_RTA_DST, raw)
    if index:
        body += _attribute(_RTA_OIF, _u32(index))
    if gateway:
        body += _attribute(_RTA_GATEWAY, _packed(gateway)[1])
    if source:
        body += _attribute(_RTA_PREFSRC, _packed(source)[1])
    return Message(_NEWROUTE, _CREATE | _EXCL, body, f"add route {destination}")


def _address(index: int, address: str, scope: int) -> bytes:
    ip, _, bits = address.partition("/")
    family, raw = _packed(ip)
    flags = _IFA_F_NODAD if family == socket.AF_INET6 else 0
    header = struct.pack("=BBBBi", family, int(bits or len(raw) * 8), flags, scope, index)
    return header + _attribute(_IFA_LOCAL, raw) + _attribute(_IFA_ADDRESS, raw)


def _packed(ip: str) -> tuple[int, bytes]:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    return family, socket.inet_pton(family, ip)


def _link(index: int = 0, *, up: bool = False) -> bytes:
    state = _IFF_UP if up else 0
    return struct.pack("=BxHiII", 0, 0, index, state, state)


def _name(name: str) -> bytes:
    return _attribute(_IFLA_IFNAME, name.encode() + b"\0")


def _u32(value: int) -> bytes:
    return struct.pack("=I", value)


def _attribute(kind: int, payload: bytes) -> bytes:
    length = 4 + len(payload)
    return struct.pack("=HH", length, kind) + payload + b"\0" * (-length % 4)


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found
