"""Open a connection to a remote API server, as this server: with its front-proxy certificate, and verified.

The remote knows by the certificate that the X-Remote-* headers are true (client-go/transport SetAuthProxyHeaders).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from proa.apiserver.aggregation.identity import ProxyIdentity
from proa.apiserver.aggregation.remotes import Remote
from proa.apiserver.streams.http_backend import Backend
from proa.apiserver.webhooks.client import CallFailure, make_context
from proa.apiserver.webhooks.connection import NoAnswer, secure
from proa.apiserver.webhooks.resolver import CannotConnect, ServiceResolver
from proa.client.protocol import User

if TYPE_CHECKING:
    import ssl

MAX_CONTEXTS = 100
REMOTE_USER, REMOTE_UID, REMOTE_GROUP = "x-remote-user", "x-remote-uid", "x-remote-group"
REMOTE_EXTRA = "x-remote-extra-"
REMOTE_PREFIX = "x-remote-"


class Upstream:
    """Connects; TLS settings are kept by what they are made of."""

    def __init__(self, resolver: ServiceResolver, identity: ProxyIdentity | None) -> None:
        self._resolver = resolver
        self._identity = identity
        self._contexts: dict[tuple[bytes, bool], ssl.SSLContext] = {}

    async def connect(self, remote: Remote) -> Backend:
        """Return a connection for one exchange; raise CannotConnect."""
        namespace, name = remote.service
        stream = await self._resolver.connect(namespace, name, remote.port)
        try:
            context = self._context(remote)
        except CallFailure as failure:
            await stream.close()
            raise CannotConnect(str(failure)) from None
        try:
            return Backend(await secure(stream, context, remote.server_name))
        except NoAnswer as error:
            raise CannotConnect(str(error)) from error

    def _context(self, remote: Remote) -> ssl.SSLContext:
        import ssl

        key = (remote.ca_bundle, remote.insecure)
        found = self._contexts.get(key)
        if found is None:
            found = make_context(remote.ca_bundle)
            if remote.insecure:
                found.check_hostname = False
                found.verify_mode = ssl.CERT_NONE
            if self._identity is not None:
                found.load_cert_chain(self._identity.certificate, self._identity.key)
            if len(self._contexts) >= MAX_CONTEXTS:
                del self._contexts[next(iter(self._contexts))]
            self._contexts[key] = found
        return found


def identity_headers(user: User) -> list[tuple[str, str]]:
    """Return the headers that tell a remote server who asks."""
    headers = [(REMOTE_USER, user.name)]
    if user.uid:
        headers.append((REMOTE_UID, user.uid))
    headers += [(REMOTE_GROUP, group) for group in user.groups]
    for key, values in user.extra.items():
        name = REMOTE_EXTRA + quote(key.lower(), safe="!#$&'*+-.^_`|~")
        headers += [(name, value) for value in values]
    return headers
