"""Reach an API server in the same process: hand each request to its handler, without a socket.

The request is authenticated as the user given here, as if it had shown that user's certificate.
"""

from __future__ import annotations

from proa.client.protocol import Handler, Request, Response, User
from proa.objects.errors import BadRequest, ServiceUnavailable


class LocalTransport:
    """`client.protocol.Transport` over a handler. Closing it refuses further requests."""

    def __init__(self, handler: Handler, user: User) -> None:
        self._handler = handler
        self._user = user
        self._closed = False

    async def send(self, request: Request) -> Response:
        """Return the handler's answer; raise ServiceUnavailable once closed."""
        if self._closed:
            raise ServiceUnavailable("the client is closed")
        request.user = self._user
        response = await self._handler(request)
        if response.upgrade is not None:
            raise BadRequest("the in-process client cannot upgrade a connection")
        return response

    async def close(self) -> None:
        """Refuse further requests."""
        self._closed = True
