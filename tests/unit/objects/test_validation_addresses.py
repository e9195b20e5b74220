"""Addresses and networks, as strictly as a field asks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proa.objects.validation_addresses import (
    NOT_A_CIDR,
    NOT_AN_ADDRESS,
    NOT_AN_INTERFACE,
    canonical_cidr,
    canonical_ip,
    interface_address,
    legacy_cidr,
    legacy_ip,
)

CASES = [
    (legacy_ip, "10.0.0.1", []),
    (legacy_ip, "010.0.0.1", ["must not have leading 0s"]),
    (legacy_ip, "10.0.0", [NOT_AN_ADDRESS]),
    (legacy_ip, "fe80::1%eth0", [NOT_AN_ADDRESS]),
    (legacy_ip, "::ffff:10.0.0.1", ["must not be an IPv4-mapped IPv6 address"]),
    (legacy_ip, "2001:DB8::1", []),
    (canonical_ip, "2001:DB8::1", ['must be in canonical form ("2001:db8::1")']),
    (canonical_ip, "2001:db8::1", []),
    (legacy_cidr, "10.0.0.0/8", []),
    (legacy_cidr, "10.0.0.0/08", ["must not have leading 0s in IP or prefix length"]),
    (legacy_cidr, "10.0.0.0/33", [NOT_A_CIDR]),
    (legacy_cidr, "10.0.0.0", [NOT_A_CIDR]),
    (legacy_cidr, "::ffff:10.0.0.0/104", ["must not have an IPv4-mapped IPv6 address"]),
    (legacy_cidr, "10.0.0.1/8", ["must not have bits set beyond the prefix length"]),
    (canonical_cidr, "2001:db8:0::/64", ['must be in canonical form ("2001:db8::/64")']),
    (interface_address, "10.0.0.1/8", []),
    (interface_address, "10.0.0.1", [NOT_AN_INTERFACE]),
    (interface_address, "::ffff:10.0.0.1/120", ['must be in canonical form ("10.0.0.1/24")']),
]


@pytest.mark.parametrize(("rule", "value", "problems"), CASES, ids=lambda v: getattr(v, "__name__", str(v)))
def test_addresses_are_looked_at_closely(
    rule: Callable[[str], list[str]], value: str, problems: list[str]
) -> None:
    assert rule(value) == problems
