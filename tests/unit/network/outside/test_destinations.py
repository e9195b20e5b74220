"""What pods reach of other networks, and what of the host they never do."""

from __future__ import annotations

import pytest

from proa.network.outside.destinations import Destinations

INSIDE = ("10.96.0.0/16", "10.243.0.0/16", "10.244.0.0/16")
HOST = "10.243.255.2"


@pytest.mark.parametrize(
    "address", ["192.0.2.2", "8.8.8.8", "10.0.0.1", "10.245.0.1", "172.17.0.1", "2001:db8::1"]
)
def test_other_networks_are_reached_as_they_are(address: str) -> None:
    for mode in ("yes", "loopback"):
        assert Destinations(mode, INSIDE, HOST).find(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.0.0.53",
        "::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "169.254.169.254",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "224.0.0.251",
        "ff02::fb",
        "255.255.255.255",
        "240.0.0.1",
        "10.96.0.1",
        "10.243.0.7",
        "10.244.7.7",
        "::ffff:10.244.7.7",
        "localhost",
        "",
    ],
)
def test_the_hosts_loopback_and_the_clusters_networks_are_not_reached(address: str) -> None:
    for mode in ("yes", "loopback"):
        assert Destinations(mode, INSIDE, HOST).find(address) is None


def test_one_address_stands_for_the_hosts_loopback_where_that_is_asked_for() -> None:
    assert Destinations("yes", INSIDE, HOST).find(HOST) is None
    opened = Destinations("loopback", INSIDE, HOST)
    assert opened.find(HOST) == "127.0.0.1"
    assert opened.find("127.0.0.1") is None
    assert opened.find("10.243.255.3") is None
    assert sum(network.num_addresses for network in opened.inside) == 3 * 65536 - 1
