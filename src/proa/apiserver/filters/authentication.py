"""Know who asks: a client certificate, a bearer token, or the in-process client that says so itself.

Certificates are verified by TLS, and whom they name arrives as `Request.user` (httpd/certificates.py), as does the user
of an in-process transport. Who shows nothing is system:anonymous, who may do what is bound to the group
system:unauthenticated: ask for health and version. Follows apiserver/pkg/authentication and
endpoints/filters/authentication.go.
"""

from __future__ import annotations

from collections.abc import Callable

from proa.apiserver.filters.chain import Filter, InfoHandler
from proa.apiserver.pace import WHO
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Request, Response, User
from proa.objects.errors import Unauthorized

TokenAuthenticator = Callable[[str], User | None]
"""Returns whom a bearer token names, or None where it is not valid."""
ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


def with_authentication(authenticate_token: TokenAuthenticator) -> Filter:
    """Set `request.user`, or raise Unauthorized."""

    def wrap(handler: InfoHandler) -> InfoHandler:
        async def handle(request: Request, info: RequestInfo) -> Response:
            if request.user is None:
                request.user = _find_user(request, authenticate_token)
            WHO.set(request.user.name)
            return await handler(request, info)

        return handle

    return wrap


def _find_user(request: Request, authenticate_token: TokenAuthenticator) -> User:
    token = bearer_token(request)
    if not token:
        return ANONYMOUS
    user = authenticate_token(token)
    if user is None:
        raise Unauthorized("Unauthorized")
    return user


def bearer_token(request: Request) -> str:
    """Return the token of the Authorization header, or of a WebSocket's subprotocol; "" when there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    for protocol in request.headers.get("sec-websocket-protocol", "").split(","):
        prefix = "base64url.bearer.authorization.k8s.io."
        if protocol.strip().startswith(prefix):
            return _decode(protocol.strip()[len(prefix) :])
    return ""


def _decode(text: str) -> str:
    import base64

    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii")
    except ValueError:
        return ""
