"""Name this machine's nodes and their addresses: node N is `proa-N`, at 10.243.0.N, its pods in 10.244.N.0/24.

With IPv6 it is also at fd00:10:243::N, its pods in fd00:10:244:N::/64, N in hexadecimal.

The API is at the same address on every node, where the node's own listener has it: what runs on a node reaches the API
without any other node. Standard library only: the command line reads this before anything else.
"""

from __future__ import annotations

from typing import NamedTuple

MAX_NODES = 32
"""Every node of one machine has a wire to every other."""
JOINED_NUMBERS = range(MAX_NODES + 1, 255)
"""The numbers of nodes on other machines (controllers/node_ipam.py hands them out)."""
CLUSTER_POD_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
SERVICE_CIDR_V6 = "fd00:10:96::/112"
API_SERVICE_IP = "10.96.0.1"
DNS_SERVICE_IP = "10.96.0.10"
API_ADDRESS = "10.243.255.1"
API_PORT = 6443
REGISTRY_NAME = "proa.local"
REGISTRY_PORT = 5000
"""Where pods reach the cluster's registry: at the API's address."""
PIPELINES_NAME = "http://ml-pipeline.kubeflow:8888"
PIPELINES_PORT = 8888
"""Where pods reach the pipelines' API: at the API's address, too."""
TUNING_NAME = "katib-db-manager.kubeflow:6789"
TUNING_PORT = 6789
"""Where pods reach Katib's DBManager: there, too."""
ACTIVATOR_PORT = 8012
"""Where what carries requests finds serving's activator: there, too."""
HOST_ADDRESS = "10.243.255.2"
"""What stands for the host's loopback, where pods may reach it."""
INSIDE_CIDRS = (CLUSTER_POD_CIDR, SERVICE_CIDR, "10.243.0.0/16")
"""The cluster's own networks: pods', services', and nodes'."""
_PREFIX = "proa-"


class Place(NamedTuple):
    """A node's number, counted from 1, and what follows from it; one on another machine has a name of its own."""

    number: int
    own_name: str = ""

    @property
    def name(self) -> str:
        """The name of its Node object and of its folder."""
        return self.own_name or f"{_PREFIX}{self.number}"

    @property
    def ip(self) -> str:
        """Its InternalIP, in its own network."""
        return f"10.243.0.{self.number}"

    @property
    def pod_cidr(self) -> str:
        """Where its pods' addresses are from."""
        return f"10.244.{self.number}.0/24"

    @property
    def ipv6(self) -> str:
        """Its InternalIP of that family, where the cluster has it."""
        return f"fd00:10:243::{self.number:x}"

    @property
    def pod_cidr_v6(self) -> str:
        """Where its pods' IPv6 addresses are from."""
        return f"fd00:10:244:{self.number:x}::/64"


def places(count: int) -> list[Place]:
    """Return the nodes of a cluster that has so many."""
    return [Place(number) for number in range(1, count + 1)]


def joined_pod_cidrs(*, is_dual: bool = False) -> tuple[tuple[str, ...], ...]:
    """Return what nodes on other machines are given for their pods, an entry a node, with a range a family."""
    places = map(Place, JOINED_NUMBERS)
    return tuple((place.pod_cidr, *([place.pod_cidr_v6] if is_dual else [])) for place in places)


def place_of(name: str, pod_cidr: str) -> Place | None:
    """Return the place of a node that has these addresses for its pods; None where no node has such ones."""
    parts = pod_cidr.split(".")
    number = int(parts[2]) if len(parts) == 4 and parts[2].isdecimal() and parts[2].isascii() else 0
    place = Place(number, name)
    return place if 0 < number < 255 and place.pod_cidr == pod_cidr else None


def find_number(name: str) -> int:
    """Return the number of a node by its name, 0 where no node of this machine is called so."""
    number = name.removeprefix(_PREFIX)
    return int(number) if name.startswith(_PREFIX) and number.isdecimal() and number.isascii() else 0
