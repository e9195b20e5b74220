"""Addresses are handed out once, in turn; netlink does in a namespace what it is asked to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proa.node.noded import linux
from proa.node.noded.network import Addresses, AddressesExhausted

SOURCE = Path(linux.__file__).parents[3]
IN_A_NAMESPACE = """
from proa.node.noded import linux, network, netlink
linux.unshare(linux.CLONE_NEWNET)
node = network.NodeNetwork("10.243.0.1", "10.244.1.0/24", "10.96.0.0/16")
node.set_up()
route = netlink.Rtnetlink()
found = {a for a in route.addresses() if ":" not in a}
assert found == {"127.0.0.1/8", "10.243.0.1/32", "10.244.1.1/24"}, found
assert route.link_index("proa0") and route.link_index("nonesuch") is None
node.add_addresses(["10.96.0.10", "10.96.0.11/32"]); node.add_addresses(["10.96.0.10/32"])
node.remove_addresses(["10.96.0.11"]); node.remove_addresses(["10.96.0.11", "10.96.0.99"])
assert "10.96.0.10/32" in route.addresses(1) and "10.96.0.11/32" not in route.addresses(1)
import os
linux.unshare(linux.CLONE_NEWNET)
pod = os.open("/proc/self/ns/net", os.O_RDONLY)
inside = netlink.Rtnetlink()
linux.setns(node.namespace)
assert node.connect_pod(pod) == "10.244.1.2"
assert "10.244.1.2/32" in inside.addresses()
try:
    route.send([netlink.delete_link("nonesuch")])
except OSError as error:
    assert "delete nonesuch" in str(error), error
else:
    raise AssertionError
print("done")
"""


def test_an_address_comes_back_only_after_all_others() -> None:
    addresses = Addresses("10.244.3.0/29")
    assert addresses.gateway == "10.244.3.1"
    first = addresses.take()
    addresses.release(first)
    assert [addresses.take() for _ in range(5)] == [f"10.244.3.{n}" for n in (3, 4, 5, 6, 2)]
    with pytest.raises(AddressesExhausted):
        addresses.take()
    addresses.release("10.244.3.4")
    assert addresses.take() == "10.244.3.4"


@pytest.mark.skipif(os.geteuid() != 0, reason="not on this machine: only root makes a network namespace here")
def test_the_nodes_network_is_made_without_any_program() -> None:
    environment = {"PYTHONPATH": str(SOURCE), "PATH": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", IN_A_NAMESPACE], env=environment, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
