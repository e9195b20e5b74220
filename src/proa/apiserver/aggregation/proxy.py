"""Pass requests for a remote group version on to the server that has it.

The request was authenticated and authorized here. Answers stream, so that watches work; upgrades are joined. Follows
kube-aggregator/pkg/apiserver/handler_proxy.go.
"""

from __future__ import annotations

import logging
from urllib.parse import quote, urlencode

from proa.apiserver.aggregation.remotes import Remote
from proa.apiserver.aggregation.upstream import REMOTE_PREFIX, Upstream, identity_headers
from proa.apiserver.handlers.health import TEXT
from proa.apiserver.streams.context import UpgradedConnection
from proa.apiserver.streams.proxy import without_hops
from proa.apiserver.streams.splice import splice
from proa.apiserver.streams.upgraded import Upgraded
from proa.apiserver.webhooks.resolver import CannotConnect
from proa.client.protocol import Request, Response

_log = logging.getLogger(__name__)
_NOT_PASSED = frozenset(("authorization", "content-length", "host"))


async def pass_on(request: Request, remote: Remote, upstream: Upstream) -> Response:
    """Return the remote server's answer, or 503 in plain text where it cannot be had."""
    if not remote.is_available:
        return _unavailable("service unavailable")
    try:
        backend = await upstream.connect(remote)
    except CannotConnect as error:
        _log.warning("a remote API server cannot be reached apiservice=%s error=%s", remote.name, error)
        return _unavailable(f"error trying to reach service: {error}")
    wants_upgrade = "upgrade" in request.headers.get("connection", "").lower()
    try:
        assert request.user is not None
        headers = _headers(request, remote, wants_upgrade=wants_upgrade)
        await backend.send(
            request.method, _path(request), headers, request.body, identity_headers(request.user)
        )
        head = await backend.read_head(request.method)
    except (OSError, ValueError) as error:
        await backend.close()
        return _unavailable(f"error trying to reach service: {error}")
    except BaseException:
        await backend.close()
        raise
    if head.status == 101 and wants_upgrade:

        async def upgrade(connection: UpgradedConnection) -> None:
            await splice(Upgraded(connection), backend.raw_stream())

        return Response(101, head.headers, upgrade=upgrade)
    answered = without_hops(head.headers)
    answered.pop("Content-Length", None)
    return Response(head.status, answered, stream=backend.body())


def _unavailable(text: str) -> Response:
    return Response(503, dict(TEXT), f"{text}\n".encode())


def _path(request: Request) -> str:
    path = quote(request.path, safe="/%:@!$&'()*+,;=~-._")
    query = urlencode(request.query, doseq=True)
    return f"{path}?{query}" if query else path


def _headers(request: Request, remote: Remote, *, wants_upgrade: bool) -> dict[str, str]:
    """Return what the client sent, but for who it says that it is and what is between it and this server."""
    headers = {
        name: value
        for name, value in without_hops(request.headers).items()
        if name not in _NOT_PASSED and not name.startswith((REMOTE_PREFIX, "impersonate-"))
    }
    headers["host"] = f"{remote.server_name}:{remote.port}"
    headers["x-forwarded-proto"] = "https"
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        headers["content-length"] = str(len(request.body))
    headers["connection"] = "Upgrade" if wants_upgrade else "close"
    if wants_upgrade:
        headers["upgrade"] = request.headers.get("upgrade", "")
    return headers
