"""Become a node of a cluster: find it, be sure of it, and have it sign this machine's certificate.

Follows cmd/kubeadm/app/cmd/join.go and the kubelet's TLS bootstrap (pkg/kubelet/certificate/bootstrap).
"""

from __future__ import annotations

import socket
from typing import NamedTuple
from urllib.parse import urlsplit

from proa.client.api import ApiClient
from proa.client.kubeconfig import Cluster, make_transport
from proa.client.protocol import Client
from proa.home import Home, write_private
from proa.joining.certificates import client_purpose, request_certificate, write_pair
from proa.joining.discovery import AGAIN, discover, explain
from proa.joining.membership import JoinFailure, Membership, keep_membership, key_files, node_of
from proa.local_nodes.overlay import find_way_out
from proa.objects.errors import ApiError, NotFound, Unauthorized
from proa.objects.meta import find_condition
from proa.objects.resource import NODES


class Wanted(NamedTuple):
    """What one `proa join` asks for, each as the option of that name."""

    server: str
    token: str
    ca_hash: str
    name: str
    kubelet_port: int
    node_ports: str
    outside_network: str
    kubelet_config: str


async def enrol(home: Home, wanted: Wanted) -> Membership:
    """Join, and keep what was agreed in the home; raise JoinFailure, and then nothing is kept."""
    server_address, address = find_addresses(wanted.server)
    authority = await discover(wanted.server, wanted.token, wanted.ca_hash)
    if address == server_address:  # no kubelet's certificate is for the API server's address
        raise JoinFailure(
            f"{wanted.server} is at {address}, an address of this machine, and nodes of the cluster's own machine "
            "need no joining: `proa up --nodes N` there makes more of them"
        )
    client = ApiClient(
        make_transport(Cluster(wanted.server, authority=authority, token=wanted.token)),
        "proa-join",
        waits=True,
    )
    try:
        await _check_name(client, wanted.name)
        certificate, key = await request_certificate(client, wanted.name, client_purpose())
    except Unauthorized:
        raise JoinFailure(
            f"the cluster does not take the token {wanted.token[:6]}.… (any more) for joining; {AGAIN}"
        ) from None
    except ApiError as error:
        raise JoinFailure(f"{wanted.server}: {error.message}") from None
    finally:
        await client.close()
    files = key_files(home)
    write_private(files.authority, authority)
    write_pair(files.client, files.client_key, certificate, key)
    membership = Membership(
        wanted.server,
        wanted.name,
        address,
        wanted.kubelet_port,
        wanted.node_ports or address,
        outside_network=wanted.outside_network,
        kubelet_config=wanted.kubelet_config,
    )
    keep_membership(home, membership)
    return membership


async def move(home: Home, membership: Membership, server: str) -> Membership | None:
    """Return the membership with another address of the same cluster, kept; None where it does not know the node there.

    It is the same where the authority of old has signed its certificate. Raises JoinFailure where nobody answers.
    """
    moved = membership._replace(server=server)
    client = ApiClient(make_transport(node_of(home, moved)), "proa-join")
    try:
        await client.get(NODES, moved.node_name)
    except Unauthorized:
        return None
    except NotFound:
        pass  # it was removed while this machine was away: it may make itself again
    except ApiError as error:
        raise JoinFailure(explain(server, error.message)) from None
    finally:
        await client.close()
    keep_membership(home, moved)
    return moved


def find_addresses(server: str) -> tuple[str, str]:
    """Return (the server's address, this machine's on the way there); raise JoinFailure where there is no way."""
    parts = urlsplit(server)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
        far = str(found[0][4][0])
        return far, find_way_out(far)[0]
    except OSError as error:
        raise JoinFailure(
            explain(server, f"there is no way to {server}: {error.strerror or error}")
        ) from None


async def _check_name(client: Client, name: str) -> None:
    """Refuse the name of a node that is alive; one that is not may be this machine, come back."""
    try:
        node = await client.get(NODES, name)
    except NotFound:
        return
    ready = find_condition(node, "Ready")
    if ready is not None and ready.get("status") == "True":
        raise JoinFailure(
            f"the cluster has a node {name} that is Ready: take another name with --name, or have that one leave "
            f"(`proa leave` there, or `kubectl delete node {name}`)"
        )
