"""Let pods reach the API: a listener of the API server at API_ADDRESS, in the network of one node."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from proa.local_nodes.addresses import API_ADDRESS, API_PORT

if TYPE_CHECKING:
    from proa.apiserver.http_server import ApiHttpServer
    from proa.node.noded.client import NodedClient


class Door(Protocol):
    """The way to the API in one node's network."""

    async def open(self) -> None:
        """Listen; raise RuntimeFailure."""

    async def renew(self) -> None:
        """Cut what came from the node that is gone, and listen in the new one; raise RuntimeFailure."""

    async def close(self, grace_seconds: float | None = None) -> None:
        """Stop listening, and end the connections."""


class NodeDoor:
    """One node's listener; `make_server` returns an HTTP server that is not serving yet."""

    def __init__(self, client: NodedClient, make_server: Callable[[], ApiHttpServer]) -> None:
        self._client = client
        self._make_server = make_server
        self._server = make_server()

    async def open(self) -> None:
        """Listen; raise RuntimeFailure."""
        await self._client.add_addresses([f"{API_ADDRESS}/32"])
        await self._server.serve(await self._client.open_socket("tcp-listen", API_ADDRESS, API_PORT))

    async def renew(self) -> None:
        """Cut what came from the node that is gone, and listen in the new one; raise RuntimeFailure."""
        await self._server.close(0)
        self._server = self._make_server()
        await self.open()

    async def close(self, grace_seconds: float | None = None) -> None:
        """Stop listening, and end the connections."""
        await (self._server.close() if grace_seconds is None else self._server.close(grace_seconds))
