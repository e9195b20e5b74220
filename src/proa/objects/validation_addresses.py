"""Say what is wrong with IP addresses and CIDRs, as strictly as the field asks.

Follows apimachinery/pkg/util/validation/ip.go. Fields older than 1.33 take any spelling that says one thing
(`legacy_*`), later ones the canonical spelling alone.
A function returns the problems it found, an empty list when there are none.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from proa.objects.validation import quote

Address = IPv4Address | IPv6Address
_LINK_LOCAL_MULTICAST = {
    4: ipaddress.ip_network("224.0.0.0/24"),
    6: ipaddress.ip_network("ff02::/16"),
}
LONGEST_KEPT = 64
NOT_AN_ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
NOT_A_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
NOT_AN_INTERFACE = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"


def find_address(value: str) -> Address | None:
    """Return the address that a text means, leading zeros or not; None where it means none."""
    return (_read_address if len(value) <= LONGEST_KEPT else _read_address.__wrapped__)(value)


@lru_cache(maxsize=4096)
def _read_address(value: str) -> Address | None:
    if "." in value and ":" not in value:
        value = ".".join(_without_zeros(part) for part in value.split("."))
    try:
        return None if "%" in value else ipaddress.ip_address(value)
    except ValueError:
        return None


def find_cidr(value: str) -> tuple[Address, int] | None:
    """Return the address and the prefix length that a text means; None where it means none."""
    text, slash, length = value.partition("/")
    address = find_address(text)
    if address is None or not slash or not (length.isascii() and length.isdigit()) or len(length) > 9:
        return None
    return (address, int(length)) if int(length) <= address.max_prefixlen else None


def network_text(address: Address, length: int) -> str:
    """Return the canonical spelling of the network that an address is in."""
    mapped = _mapped(address)
    if mapped is not None and length >= 96:
        address, length = mapped, length - 96
    return str(ipaddress.ip_network((address, length), strict=False))


def legacy_ip(value: str) -> list[str]:
    """An address without leading zeros, and not IPv4 in IPv6's clothes."""
    address = find_address(value)
    if address is None:
        return [NOT_AN_ADDRESS]
    if isinstance(address, IPv4Address):
        return ["must not have leading 0s"] if value != str(address) else []
    return ["must not be an IPv4-mapped IPv6 address"] if address.ipv4_mapped else []


def canonical_ip(value: str) -> list[str]:
    """An address in the one spelling of RFC 5952."""
    problems = legacy_ip(value)
    if problems or value == str(find_address(value)):
        return problems
    return [f"must be in canonical form ({quote(str(find_address(value)))})"]


def legacy_cidr(value: str) -> list[str]:
    """A network: nothing set beyond the prefix."""
    found = find_cidr(value)
    if found is None:
        return [NOT_A_CIDR]
    (address, length), (text, _, digits) = found, value.partition("/")
    if digits != str(length) or (isinstance(address, IPv4Address) and text != str(address)):
        return ["must not have leading 0s in IP or prefix length"]
    if _mapped(address):
        return ["must not have an IPv4-mapped IPv6 address"]
    if ipaddress.ip_network((address, length), strict=False).network_address != address:
        return ["must not have bits set beyond the prefix length"]
    return []


def canonical_cidr(value: str) -> list[str]:
    """A network in its one spelling."""
    problems = legacy_cidr(value)
    found = find_cidr(value)
    if problems or found is None or value == network_text(*found):
        return problems
    return [f"must be in canonical form ({quote(network_text(*found))})"]


def interface_address(value: str) -> list[str]:
    """An address with the length of its network's prefix, in its one spelling."""
    found = find_cidr(value)
    if found is None:
        return [NOT_AN_INTERFACE]
    address, length = found
    mapped = _mapped(address)
    if mapped is not None:
        address, length = mapped, length - 96 if length > 32 else length
    canonical = f"{address}/{length}"
    return [] if value == canonical else [f"must be in canonical form ({quote(canonical)})"]


def special_ip(value: str, *, loopback_too: bool = True) -> list[str]:
    """An address that other machines can reach: not this very machine's, nor its link's (ValidateNonSpecialIP)."""
    address = find_address(value)
    if address is None:
        return ["must be a valid IP address"]
    address = _mapped(address) or address
    problems: list[str] = []
    if address.is_unspecified:
        problems.append(f"may not be unspecified ({value})")
    if address.is_loopback and loopback_too:
        problems.append("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if address.is_link_local:
        problems.append("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if address in _LINK_LOCAL_MULTICAST[address.version]:
        problems.append("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    return problems


def ip_warnings(field: str, value: str) -> list[str]:
    """Return what to warn of in an address that a field takes though it should be spelled otherwise."""
    address = find_address(value)
    if address is None:
        return []
    if (mapped := _mapped(address)) or (isinstance(address, IPv4Address) and value != str(address)):
        meant = quote(str(mapped or address))
        return [f"{field}: non-standard IP address {quote(value)} is invalid: use {meant}"]
    if value != str(address):
        meant = quote(str(address))
        return [f"{field}: IPv6 address {quote(value)} should be in RFC 5952 canonical format ({meant})"]
    return []


def cidr_warnings(field: str, value: str) -> list[str]:
    """Return the same of a network."""
    found = find_cidr(value)
    if found is None:
        return []
    (address, length), (text, _, digits) = found, value.partition("/")
    whole, warnings = network_text(address, length), []
    if ipaddress.ip_network((address, length), strict=False).network_address != address:
        single = f"{_mapped(address) or address}/{address.max_prefixlen}"
        said = f"is ambiguous in this context (should be {quote(whole)} or {quote(single)}?)"
        warnings.append(f"{field}: CIDR value {quote(value)} {said}")
    has_zeros = digits != str(length) or (isinstance(address, IPv4Address) and text != str(address))
    if _mapped(address) or has_zeros:
        warnings.append(f"{field}: non-standard CIDR value {quote(value)} is invalid: use {quote(whole)}")
    if not warnings and value != whole:
        warnings.append(
            f"{field}: IPv6 CIDR value {quote(value)} should be in RFC 5952 canonical format ({quote(whole)})"
        )
    return warnings


def _mapped(address: Address) -> IPv4Address | None:
    return address.ipv4_mapped if isinstance(address, IPv6Address) else None


def _without_zeros(part: str) -> str:
    return part.lstrip("0") or "0" if part.isascii() and part.isdigit() else part
