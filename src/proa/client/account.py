"""Send requests as a service account, with tokens that another client asks the server for and that are renewed in time.

Follows controller-manager's pkg/clientbuilder (client_builder_dynamic.go): the account is made where there is none,
tokens live for an hour, and a new one is fetched after four fifths of that, or after a 401.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from proa.client.protocol import Client, Object, Request, Response, Transport
from proa.objects.errors import AlreadyExists, NotFound
from proa.objects.resource import SERVICE_ACCOUNTS

TOKEN_SECONDS = 3600
RENEWED_AFTER_SECONDS = TOKEN_SECONDS * 0.8


class AccountTransport:
    """`client.protocol.Transport` as an account of `namespace`. `transport` must not be known to the server itself.

    `client` may ask for the account's tokens; `clock` returns seconds.
    """

    def __init__(
        self,
        transport: Transport,
        client: Client,
        account: str,
        namespace: str = "kube-system",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._client = client
        self._account = account
        self._namespace = namespace
        self._clock = clock
        self._token = ""
        self._renewed_at = float("-inf")
        self._renewing = asyncio.Lock()

    async def send(self, request: Request) -> Response:
        """Return the answer to the account; raise what asking for its token raises."""
        async with self._renewing:
            if self._clock() - self._renewed_at >= RENEWED_AFTER_SECONDS:
                asked_at = self._clock()
                self._token = await self._ask_token()
                self._renewed_at = asked_at
        token = request.headers["authorization"] = f"Bearer {self._token}"
        response = await self._transport.send(request)
        if response.status == 401 and token == f"Bearer {self._token}":
            self._renewed_at = float("-inf")
        return response

    async def close(self) -> None:
        """Leave the connections to whom they belong: accounts share them."""

    async def _ask_token(self) -> str:
        try:
            answer = await self._request_token()
        except NotFound:
            await self._make_account()
            answer = await self._request_token()
        return str(answer["status"]["token"])

    async def _request_token(self) -> Object:
        wanted = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": TOKEN_SECONDS},
        }
        return await self._client.create_subresource(
            SERVICE_ACCOUNTS, self._account, "token", wanted, self._namespace
        )

    async def _make_account(self) -> None:
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": self._account}}
        try:
            await self._client.create(SERVICE_ACCOUNTS, account, self._namespace)
        except AlreadyExists:
            return
