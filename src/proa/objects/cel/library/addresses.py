"""IP addresses and networks (apiserver/pkg/cel/library/ip.go, cidr.go)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network
from typing import ClassVar

from proa.objects.cel.errors import CelRuntimeError
from proa.objects.cel.functions import Functions, overload
from proa.objects.quick_dataclass import dataclass
from proa.objects.validation import quote

_MAX_TEXT = 64


@dataclass(frozen=True, slots=True)
class Ip:
    """An address."""

    TYPE_NAME: ClassVar[str] = "net.IP"
    address: IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Cidr:
    """An address and the length of its network's prefix; bits after it may be set."""

    TYPE_NAME: ClassVar[str] = "net.CIDR"
    address: IPv4Address | IPv6Address
    length: int

    def __str__(self) -> str:
        return f"{self.address}/{self.length}"


def read_ip(text: str) -> Ip:
    """Return `ip(text)`; raise CelRuntimeError."""
    try:
        if len(text) > _MAX_TEXT:
            raise ValueError
        address = ip_address(text)
    except ValueError:
        shown = quote(text[:_MAX_TEXT])
        message = f"parse error during conversion from string: ParseAddr({shown}): unable to parse IP"
        raise CelRuntimeError(f"IP Address {shown} {message}") from None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise CelRuntimeError(f"IP address {quote(text)} with zone value is not allowed")
        if address.ipv4_mapped is not None:
            raise CelRuntimeError(f"IPv4-mapped IPv6 address {quote(text)} is not allowed")
    return Ip(address)


def read_cidr(text: str) -> Cidr:
    """Return `cidr(text)`; raise CelRuntimeError."""
    name, _, length = text.partition("/")
    prefix = "network address parse error during conversion from string: "
    try:
        if len(text) > _MAX_TEXT or not (length.isascii() and length.isdigit()) or "%" in text:
            raise ValueError
        if length != "0" and length.startswith("0"):
            raise ValueError
        found = ip_interface(f"{name}/{length}")
    except ValueError:
        shown = quote(text[:_MAX_TEXT])
        raise CelRuntimeError(f"{prefix}{prefix}netip.ParsePrefix({shown}): unable to parse") from None
    address = found.ip
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise CelRuntimeError(f"{prefix}IPv4-mapped IPv6 address {quote(text)} is not allowed")
    return Cidr(address, found.network.prefixlen)


def _is_ip(text: str) -> bool:
    try:
        read_ip(text)
    except CelRuntimeError:
        return False
    return True


def _is_cidr(text: str) -> bool:
    try:
        read_cidr(text)
    except CelRuntimeError:
        return False
    return True


def _is_canonical(text: str) -> bool:
    return str(read_ip(text).address) == text


def _family(ip: Ip) -> int:
    return ip.address.version


def _is_global_unicast(ip: Ip) -> bool:
    address = ip.address
    is_broadcast = isinstance(address, IPv4Address) and int(address) == 0xFFFFFFFF
    return not (
        is_broadcast
        or address.is_unspecified
        or address.is_loopback
        or address.is_multicast
        or address.is_link_local
    )


def _is_link_local_multicast(ip: Ip) -> bool:
    address = ip.address
    if isinstance(address, IPv4Address):
        return address in ip_network("224.0.0.0/24")
    return address.packed[0] == 0xFF and address.packed[1] & 0x0F == 0x02


def _is_link_local_unicast(ip: Ip) -> bool:
    if isinstance(ip.address, IPv4Address):
        return ip.address.is_link_local
    return ip.address in ip_network("fe80::/10")


def _contains_ip(cidr: Cidr, ip: Ip) -> bool:
    return ip.address.version == cidr.address.version and _same_network(cidr.address, ip.address, cidr.length)


def _contains_cidr(cidr: Cidr, other: Cidr) -> bool:
    same_family = other.address.version == cidr.address.version
    return (
        same_family
        and cidr.length <= other.length
        and _same_network(cidr.address, other.address, cidr.length)
    )


def _same_network(one: IPv4Address | IPv6Address, other: IPv4Address | IPv6Address, length: int) -> bool:
    shift = one.max_prefixlen - length
    return int(one) >> shift == int(other) >> shift


def _masked(cidr: Cidr) -> Cidr:
    return Cidr(ip_network(str(cidr), strict=False).network_address, cidr.length)


FUNCTIONS: Functions = {
    "ip": (
        overload("(string) -> net.IP", read_ip),
        overload("net.CIDR.() -> net.IP", lambda cidr: Ip(cidr.address)),
    ),
    "isIP": (overload("(string) -> bool", _is_ip),),
    "ip.isCanonical": (overload("(string) -> bool", _is_canonical),),
    "family": (overload("net.IP.() -> int", _family),),
    "isUnspecified": (overload("net.IP.() -> bool", lambda ip: ip.address.is_unspecified),),
    "isLoopback": (overload("net.IP.() -> bool", lambda ip: ip.address.is_loopback),),
    "isLinkLocalMulticast": (overload("net.IP.() -> bool", _is_link_local_multicast),),
    "isLinkLocalUnicast": (overload("net.IP.() -> bool", _is_link_local_unicast),),
    "isGlobalUnicast": (overload("net.IP.() -> bool", _is_global_unicast),),
    "cidr": (overload("(string) -> net.CIDR", read_cidr),),
    "isCIDR": (overload("(string) -> bool", _is_cidr),),
    "containsIP": (
        overload("net.CIDR.(string) -> bool", lambda cidr, text: _contains_ip(cidr, read_ip(text))),
        overload("net.CIDR.(net.IP) -> bool", _contains_ip),
    ),
    "containsCIDR": (
        overload("net.CIDR.(string) -> bool", lambda cidr, text: _contains_cidr(cidr, read_cidr(text))),
        overload("net.CIDR.(net.CIDR) -> bool", _contains_cidr),
    ),
    "prefixLength": (overload("net.CIDR.() -> int", lambda cidr: cidr.length),),
    "masked": (overload("net.CIDR.() -> net.CIDR", _masked),),
    "string": (
        overload("(net.IP) -> string", lambda ip: str(ip.address)),
        overload("(net.CIDR) -> string", str),
    ),
}
