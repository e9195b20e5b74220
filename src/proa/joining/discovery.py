"""Find out whether who answers at an address is the cluster that a token and a hash are of, before anything is trusted.

The cluster's public word (kube-public/cluster-info) is asked for without trust; the token has signed it, and the hash
is that of the authority in it. Then it is asked for again, by that authority, and must be the same. Follows
cmd/kubeadm/app/discovery/token/token.go.
"""

from __future__ import annotations

import base64
import email.utils
import ssl
import time
from typing import Any

from proa.client.api import ApiClient
from proa.client.http import HttpTransport
from proa.client.kubeconfig import Cluster, make_transport
from proa.client.protocol import Request, Response
from proa.joining.invitation import hash_authority
from proa.joining.membership import JoinFailure
from proa.objects.bootstrap_tokens import (
    CLUSTER_INFO,
    KUBECONFIG_KEY,
    PUBLIC_NAMESPACE,
    SIGNATURE_PREFIX,
    is_signed,
    split_token,
)
from proa.objects.errors import ApiError, NotFound
from proa.objects.resource import CONFIG_MAPS

CLOCK_SECONDS = 240.0
"""Certificates are valid from five minutes before they are made."""
AGAIN = "`proa token create --print-join-command` on the cluster's machine prints what works"


async def discover(server: str, token: str, ca_hash: str) -> bytes:
    """Return the authority (PEM) of the cluster at a URL; raise JoinFailure."""
    date = _DateWatch(HttpTransport(server, _trusting_context()))
    info = await _ask(server, date)
    authority = check(info, server, token, ca_hash)
    again = await _ask(server, make_transport(Cluster(server, authority=authority)), date.offset())
    if (again.get("data") or {}).get(KUBECONFIG_KEY) != info["data"][KUBECONFIG_KEY]:
        raise JoinFailure(f"{server} says something else of itself to those who trust it; nothing was done")
    return authority


def check(info: dict[str, Any], server: str, token: str, ca_hash: str) -> bytes:
    """Return the authority in a cluster-info, where the token has signed it and the hash is the authority's."""
    parts = split_token(token)
    if parts is None:
        raise JoinFailure(f"--token: it is six characters, a dot, and sixteen (a-z, 0-9); {AGAIN}")
    data = info.get("data") or {}
    content, signature = data.get(KUBECONFIG_KEY), data.get(SIGNATURE_PREFIX + parts[0])
    if content is None or signature is None:
        raise JoinFailure(
            f"the cluster at {server} does not know the token {parts[0]}.…, or its time is over; {AGAIN}"
        )
    if not is_signed(content, signature, *parts):
        raise JoinFailure(
            f"the token {parts[0]}.… is not the one that the cluster at {server} knows by that name: its second part "
            f"is wrong, or somebody answers in the cluster's place; {AGAIN}"
        )
    authority = _authority_of(content, server)
    found = hash_authority(authority)
    if found != ca_hash.lower():
        raise JoinFailure(
            f"the authority of the cluster at {server} has the hash {found}, not {ca_hash}: this is another cluster, "
            "or somebody answers in its place; nothing was sent to it but the question who it is"
        )
    return authority


def _authority_of(content: str, server: str) -> bytes:
    import yaml

    try:
        cluster = yaml.safe_load(content)["clusters"][0]["cluster"]
        return base64.b64decode(cluster["certificate-authority-data"])
    except (yaml.YAMLError, LookupError, TypeError, ValueError):
        raise JoinFailure(f"the cluster-info of {server} is not what a cluster says of itself") from None


async def _ask(server: str, transport: Any, offset: float = 0.0) -> dict[str, Any]:
    client = ApiClient(transport, "proa-join")
    try:
        return await client.get(CONFIG_MAPS, CLUSTER_INFO, PUBLIC_NAMESPACE)
    except NotFound:
        raise JoinFailure(f"the cluster at {server} invites nobody yet; {AGAIN}") from None
    except ApiError as error:
        if error.code in (401, 403):
            raise JoinFailure(f"the cluster at {server} invites nobody yet; {AGAIN}") from None
        raise JoinFailure(explain(server, error.message, offset)) from None
    finally:
        await client.close()


def explain(server: str, problem: str, offset: float = 0.0) -> str:
    """Return why a server is not reached, and what would help; `offset` is by how far its clock is ahead."""
    if "certificate verify failed" in problem and abs(offset) > CLOCK_SECONDS:
        where = "ahead of" if offset < 0 else "behind"
        return (
            f"this machine's clock is {abs(offset):.0f} s {where} the cluster's at {server}: set it right, and join "
            "again"
        )
    if "certificate verify failed" in problem:
        return (
            f"the certificate of {server} is for other names ({problem.rpartition('failed: ')[2]}): use the address "
            "that `proa up --listen` was given there"
        )
    if "WRONG_VERSION_NUMBER" in problem or "record layer" in problem:
        return f"{server} does not speak TLS: is it another program's port?"
    return (
        f"{problem}. Does `proa up --listen ADDRESS` run there, on an address that this machine reaches, and does no "
        "firewall keep it out?"
    )


def _trusting_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


class _DateWatch:
    """A transport that notes what time it is at the other end."""

    def __init__(self, transport: HttpTransport) -> None:
        self._transport = transport
        self._offset = 0.0

    async def send(self, request: Request) -> Response:
        response = await self._transport.send(request)
        if said := email.utils.parsedate_to_datetime(response.headers.get("date") or _now()):
            self._offset = said.timestamp() - time.time()
        return response

    async def close(self) -> None:
        await self._transport.close()

    def offset(self) -> float:
        """Return by how many seconds the server's clock is ahead of this machine's."""
        return self._offset


def _now() -> str:
    return email.utils.formatdate(usegmt=True)
