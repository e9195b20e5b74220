"""Let pods reach the API and what stands beside it: listeners at API_ADDRESS, in the network of one node."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from proa.local_nodes.addresses import API_ADDRESS, API_PORT

if TYPE_CHECKING:
    from proa.httpd.server import HttpServer
    from proa.node.noded.client import NodedClient


class Listener(Protocol):
    """A listening socket that is served."""

    def close(self) -> None:
        """Accept no more."""


class Door(Protocol):
    """The way to the API in one node's network."""

    async def open(self) -> None:
        """Listen; raise RuntimeFailure."""

    async def renew(self) -> None:
        """Cut what came from the node that is gone, and listen in the new one; raise RuntimeFailure."""

    async def close(self, grace_seconds: float | None = None) -> None:
        """Stop listening, and end the connections."""


class NodeDoor:
    """One node's listeners; `make_server` returns an HTTP server of the API that is not serving yet.

    `others` are further ports, and what serves each.
    """

    def __init__(
        self,
        client: NodedClient,
        make_server: Callable[[], HttpServer],
        others: Mapping[int, Callable[[socket.socket], Listener]],
    ) -> None:
        self._others = others
        self._listeners: list[Listener] = []
        self._client = client
        self._make_server = make_server
        self._server = make_server()

    async def open(self) -> None:
        """Listen; raise RuntimeFailure."""
        await self._client.add_addresses([f"{API_ADDRESS}/32"])
        await self._server.serve(await self._client.open_socket("tcp-listen", API_ADDRESS, API_PORT))
        for port, listen in self._others.items():
            self._listeners.append(listen(await self._client.open_socket("tcp-listen", API_ADDRESS, port)))

    async def renew(self) -> None:
        """Cut what came from the node that is gone, and listen in the new one; raise RuntimeFailure."""
        self._close_others()
        await self._server.close(0)
        self._server = self._make_server()
        await self.open()

    async def close(self, grace_seconds: float | None = None) -> None:
        """Stop listening, and end the connections."""
        self._close_others()
        await (self._server.close() if grace_seconds is None else self._server.close(grace_seconds))

    def _close_others(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
