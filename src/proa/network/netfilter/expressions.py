"""Encode the expressions of which nftables' rules are made: load, compare, look up, translate, decide. Pure.

A rule is a list of them, evaluated in turn over sixteen registers of four bytes each; one that does not match ends the
rule. A register here is a number from 0; longer values take the registers that follow.
Layouts: linux/netfilter/nf_tables.h; what each does: net/netfilter/nft_*.c.
"""

from __future__ import annotations

import struct

from proa.network.netfilter.messages import attribute, nested, text, u32, u64

ACCEPT, DROP, JUMP, GOTO = 1, 0, -3, -4
EQUAL, NOT_EQUAL, AT_MOST, AT_LEAST = 0, 1, 3, 5
_FIRST_REGISTER = 8
_VERDICT_REGISTER = 0
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_META_MARK, _META_L4PROTO = 3, 16
_META_INTERFACE = 4
_CT_STATE, _CT_ESTABLISHED, _CT_RELATED, _CT_NEW = 0, 2, 4, 8
_FIB_DESTINATION, _FIB_PRESENT = 2, 32
_FIB_INTERFACE, _FIB_KIND = 1, 3
_UNICAST, _LOCAL, _UNREACHABLE = 1, 2, 7
_RANDOM = 1
_DNAT = 1
_ICMP_UNREACHABLE, _TCP_RESET = 0, 1
_UPDATE, _DELETE = 1, 2


def _expression(name: str, *attributes: bytes) -> bytes:
    return text(1, name) + nested(2, *attributes)


def _register(kind: int, register: int) -> bytes:
    return u32(kind, _FIRST_REGISTER + register)


def value(payload: bytes) -> bytes:
    """Encode plain data."""
    return attribute(1, payload)


def verdict(code: int, chain: str = "") -> bytes:
    """Encode what becomes of a packet, as data."""
    return nested(2, u32(1, code), text(2, chain) if chain else b"")


def load_network(register: int, offset: int, length: int) -> bytes:
    """Load bytes of the IP header."""
    return _payload(register, _NETWORK_HEADER, offset, length)


def load_interface(register: int) -> bytes:
    """Load the index of the interface by which the packet came in."""
    return _expression("meta", _register(1, register), u32(2, _META_INTERFACE))


def load_destination_port(register: int) -> bytes:
    """Load the port of TCP, UDP."""
    return _payload(register, _TRANSPORT_HEADER, 2, 2)


def _payload(register: int, base: int, offset: int, length: int) -> bytes:
    return _expression("payload", _register(1, register), u32(2, base), u32(3, offset), u32(4, length))


def load_protocol(register: int) -> bytes:
    """Load the transport protocol's number."""
    return _expression("meta", _register(1, register), u32(2, _META_L4PROTO))


def load(register: int, payload: bytes) -> bytes:
    """Load a constant."""
    return _expression("immediate", _register(1, register), nested(2, value(payload)))


def compare(register: int, payload: bytes, how: int = EQUAL) -> bytes:
    """Go on only where the register has this value, or how it is to compare with it."""
    return _expression("cmp", _register(1, register), u32(2, how), nested(3, value(payload)))


def mask(register: int, bits: bytes, flipped: bytes = b"") -> bytes:
    """Keep these bits of a register; then turn those over."""
    return _expression(
        "bitwise",
        _register(1, register),
        _register(2, register),
        u32(3, len(bits)),
        nested(4, value(bits)),
        nested(5, value(flipped or bytes(len(bits)))),
    )


def set_mark(register: int, mark: int) -> list[bytes]:
    """Add a bit to the packet's mark, by way of a register."""
    bits = struct.pack("=I", mark)
    others = struct.pack("=I", ~mark & 0xFFFFFFFF)
    return [
        _expression("meta", _register(1, register), u32(2, _META_MARK)),
        mask(register, others, bits),
        _expression("meta", u32(2, _META_MARK), _register(3, register)),
    ]


def has_mark(register: int, mark: int) -> list[bytes]:
    """Go on only where the packet's mark has this bit."""
    bits = struct.pack("=I", mark)
    return [
        _expression("meta", _register(1, register), u32(2, _META_MARK)),
        mask(register, bits),
        compare(register, bits),
    ]


def is_new(register: int) -> list[bytes]:
    """Go on only with the first packets of a connection."""
    return _is_in_state(register, _CT_NEW)


def is_known(register: int) -> list[bytes]:
    """Go on only with packets of a connection that was answered, or that belong to one (ICMP errors)."""
    return _is_in_state(register, _CT_ESTABLISHED | _CT_RELATED)


def _is_in_state(register: int, states: int) -> list[bytes]:
    return [
        _expression("ct", _register(1, register), u32(2, _CT_STATE)),
        mask(register, struct.pack("=I", states)),
        compare(register, bytes(4), NOT_EQUAL),
    ]


def is_for_another(register: int) -> list[bytes]:
    """Go on only where the destination is no address of this node, nor one of many."""
    return _is_destination(register, _UNICAST)


def is_for_here(register: int) -> list[bytes]:
    """Go on only where the destination is an address of this node."""
    return _is_destination(register, _LOCAL)


def is_for_nobody(register: int) -> list[bytes]:
    """Go on only where no route leads to the destination; for IPv6 only, of which more is looked at."""
    return _is_destination(register, _UNREACHABLE)


def _is_destination(register: int, kind: int) -> list[bytes]:
    loaded = _expression("fib", _register(1, register), u32(2, _FIB_KIND), u32(3, _FIB_DESTINATION))
    return [loaded, compare(register, struct.pack("=I", kind))]


def has_no_route(register: int) -> list[bytes]:
    """Go on only where no route leads to the destination."""
    flags = _FIB_DESTINATION | _FIB_PRESENT
    loaded = _expression("fib", _register(1, register), u32(2, _FIB_INTERFACE), u32(3, flags))
    return [loaded, compare(register, b"\0")]


def give_to_port(register: int, family: int, port: int) -> list[bytes]:
    """Have the packet taken by whoever listens on this port here, its destination unchanged; go on if somebody does."""
    return [
        load(register, struct.pack(">H", port)),
        _expression("tproxy", u32(1, family), _register(3, register)),
    ]


def look_up(name: str, key: int, result: int | None = None) -> bytes:
    """Go on only where the set has the key; of a map, load what it has for it."""
    found = _register(3, result) if result is not None else b""
    return _expression("lookup", text(1, name), _register(2, key), found)


def look_up_verdict(name: str, key: int) -> bytes:
    """Do what the map says for the key."""
    return _expression("lookup", text(1, name), _register(2, key), u32(3, _VERDICT_REGISTER))


def decide(code: int, chain: str = "") -> bytes:
    """Say what becomes of the packet."""
    return _expression("immediate", u32(1, _VERDICT_REGISTER), nested(2, verdict(code, chain)))


def choose(register: int, count: int, offset: int) -> bytes:
    """Load a random number from `offset` on, one of `count`."""
    return _expression("numgen", _register(1, register), u32(2, count), u32(3, _RANDOM), u32(4, offset))


def remember(name: str, key: int, result: int, seconds: int) -> bytes:
    """Have the map say `result` for the key for so long from now on; an entry that is there is only prolonged."""
    return _expression(
        "dynset",
        text(1, name),
        u32(3, _UPDATE),
        _register(4, key),
        _register(5, result),
        u64(6, seconds * 1000),
    )


def forget(name: str, key: int, result: int) -> bytes:
    """Have the map say nothing for the key."""
    return _expression("dynset", text(1, name), u32(3, _DELETE), _register(4, key), _register(5, result))


def translate(family: int, address: int, port: int) -> bytes:
    """Give the connection another destination."""
    return _expression(
        "nat",
        u32(1, _DNAT),
        u32(2, family),
        _register(3, address),
        _register(4, address),
        _register(5, port),
        _register(6, port),
    )


def masquerade() -> bytes:
    """Give the connection the node's own address as its source."""
    return _expression("masq")


def reset() -> bytes:
    """Answer a TCP connection that there is nobody."""
    return _expression("reject", u32(1, _TCP_RESET), attribute(2, b"\0"))


def refuse(icmp_code: int) -> bytes:
    """Answer with ICMP's (or ICMPv6's) "unreachable", of this code."""
    return _expression("reject", u32(1, _ICMP_UNREACHABLE), attribute(2, bytes([icmp_code])))
