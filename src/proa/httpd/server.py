"""Serve a handler over TLS on any number of sockets, and cut the connections whose time is up.

Why not a framework: only a protocol that owns its transport can hand it over to WebSocket and SPDY, and this
costs a fifth of one a request. connection.py speaks HTTP.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time

from proa.client.protocol import Handler
from proa.httpd.connection import MAX_BODY_BYTES, Connection

SWEEP_SECONDS = 5.0


class HttpServer:
    """Serves one handler on any number of listening sockets. More than `max_connections` at once are cut."""

    def __init__(
        self,
        handler: Handler,
        ssl_context: ssl.SSLContext | None = None,
        *,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_connections: int = 0,
        max_held_bytes: int = 0,
        read_seconds: float = 0.0,
        idle_seconds: float = 0.0,
    ) -> None:
        """Limits of 0 are none, times of 0 the usual. `max_held_bytes` is of all bodies that are not answered yet."""
        self.handler = handler
        self.max_body_bytes = max_body_bytes
        self.max_connections = max_connections
        self.max_held_bytes = max_held_bytes
        self.held_bytes = 0
        self.read_seconds, self.idle_seconds = read_seconds, idle_seconds
        self.connections: set[Connection] = set()
        self.date = ""
        self._ssl_context = ssl_context
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None

    async def serve(self, sock: socket.socket) -> asyncio.Server:
        """Start to accept on a listening socket, and return what ends that; the socket is ours from now on."""
        loop = asyncio.get_running_loop()
        if self._sweeper is None:
            self._sweeper = loop.create_task(self._sweep(), name="http sweep")
        self._tick()
        sock.setblocking(False)
        server = await loop.create_server(
            lambda: Connection(self),
            sock=sock,
            ssl=self._ssl_context,
            ssl_handshake_timeout=10.0 if self._ssl_context else None,
            backlog=1024,
        )
        self._servers.append(server)
        return server

    async def close(self, grace_seconds: float = 1.0) -> None:
        """Stop accepting, let answers under way finish for `grace_seconds`, and cut the rest."""
        for server in self._servers:
            server.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        tasks = [c.task for c in self.connections if c.task is not None and c.busy]
        for connection in tuple(self.connections):
            connection.finish_up()
        if tasks:
            await asyncio.wait(tasks, timeout=grace_seconds)
        rest = [c.task for c in self.connections if c.task is not None]
        for connection in tuple(self.connections):
            connection.abort()
        if rest:
            await asyncio.wait(rest, timeout=grace_seconds)

    async def _sweep(self) -> None:
        """Keep the Date header and end connections whose time is up: one timer for all of them."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self._tick()
            now = time.monotonic()
            for connection in tuple(self.connections):
                if connection.deadline and now > connection.deadline:
                    connection.time_is_up()

    def _tick(self) -> None:
        self.date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())


def make_server_context(certificate: str, key: str, client_authority: str = "") -> ssl.SSLContext:
    """Return a TLS context for PEM files; clients may show a certificate of `client_authority`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    if client_authority:
        context.load_verify_locations(client_authority)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context
