"""Keep in join.json which cluster a home is a node of, and where its keys are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from proa.home import Home, write_private

if TYPE_CHECKING:
    from proa.client.api import ApiClient
    from proa.client.kubeconfig import Cluster


class JoinFailure(Exception):
    """The node cannot join, or cannot start; the message says why and what would help."""


class Membership(NamedTuple):
    """What a node keeps of the cluster that it has joined. `address` is this machine's, as others reach it, and
    `far_address` the server's, as it was last.

    `is_dual` tells whether pods have IPv6 too. `pod_cidr` is "" until the cluster has given it one; `kubelet_port` is
    where its kubelet answers, and `node_ports` the address at which NodePorts are offered here. `outside_network` is
    one of network/outside/modes.py, `kubelet_config` a file, "" for none.
    """

    server: str
    node_name: str
    address: str
    kubelet_port: int = 10250
    node_ports: str = ""
    pod_cidr: str = ""
    is_dual: bool = False
    far_address: str = ""
    outside_network: str = "yes"
    kubelet_config: str = ""


class KeyFiles(NamedTuple):
    """The files of a node's `pki` folder, in PEM."""

    authority: Path
    client: Path
    client_key: Path
    serving: Path
    serving_key: Path


def file_of(home: Home) -> Path:
    """Return where a home keeps its membership."""
    return home.path / "join.json"


def read_membership(home: Home) -> Membership | None:
    """Return what a home has joined, None where it has not; raise JoinFailure for a file that is not ours."""
    try:
        return Membership(**json.loads(file_of(home).read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise JoinFailure(f"{file_of(home)} cannot be read: {error}") from None


def keep_membership(home: Home, membership: Membership) -> None:
    """Write it."""
    write_private(file_of(home), json.dumps(membership._asdict(), indent=2))


def node_of(home: Home, membership: Membership) -> Cluster:
    """Return the cluster as the node itself is known to it; raise OSError."""
    from proa.client.kubeconfig import Cluster

    files = key_files(home)
    both = files.client_key.read_bytes()  # the key, and the certificate that goes with it
    return Cluster(membership.server, authority=files.authority.read_bytes(), certificate=both, key=both)


def connect_as_node(home: Home) -> ApiClient:
    """Return a client that is the node; raise OSError, JoinFailure where the home has joined nothing."""
    from proa.client.api import ApiClient
    from proa.client.kubeconfig import make_transport

    membership = read_membership(home)
    if membership is None:
        raise JoinFailure(f"{home.path} is no node of another machine's cluster")
    return ApiClient(make_transport(node_of(home, membership)), "proa")


def key_files(home: Home) -> KeyFiles:
    """Name the files, whether or not they are there."""
    folder = home.pki
    return KeyFiles(
        folder / "ca.crt",
        folder / "kubelet-client.crt",
        folder / "kubelet-client.key",
        folder / "kubelet.crt",
        folder / "kubelet.key",
    )
