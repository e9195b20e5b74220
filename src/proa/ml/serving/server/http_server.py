"""Serve HTTP on listening sockets: bounds for all connections together, the clock they look at, and an end in order."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

from proa.ml.serving.server.connection import Connection
from proa.ml.serving.server.exchange import Exchange

MAX_CONNECTIONS = 4096
MAX_HELD_BYTES = 256 * 1024 * 1024
"""Of the bodies of all requests that are not answered yet; at least four of the longest."""
STEP_SECONDS = 0.5
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

Handler = Callable[[Exchange], None]


class HttpServer:
    """Hands requests to one handler."""

    def __init__(
        self,
        handle: Handler,
        *,
        max_body_bytes: int,
        keep_alive_seconds: float = 65.0,
        timeout_seconds: float = 0.0,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self.handle = handle
        self.max_body_bytes = max_body_bytes
        self.max_held_bytes = max(MAX_HELD_BYTES, 4 * max_body_bytes)
        self.keep_alive_seconds = keep_alive_seconds
        self.timeout_seconds = timeout_seconds
        self.max_connections = max_connections
        self.step_seconds = STEP_SECONDS
        self.held_bytes = 0
        self.connections: set[Connection] = set()
        self.is_draining = False
        self.now = 0.0
        self.date = _date_line()
        self._servers: list[asyncio.Server] = []
        self._clock: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int) -> int:
        """Accept on a port, 0 for a free one, which is returned; `host` "" for all of this machine's."""
        loop = asyncio.get_running_loop()
        if self._clock is None:
            self._tick()
        server = await loop.create_server(
            lambda: Connection(self), sock=open_listener(host, port), backlog=1024
        )
        self._servers.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    def drain(self) -> None:
        """Say with each answer that its connection ends, and end those that are idle."""
        self.is_draining = True
        for connection in [*self.connections]:
            connection.finish_up()

    async def close(self) -> None:
        """Accept no more, and cut what is left."""
        for server in self._servers:
            server.close()
        for connection in [*self.connections]:
            connection.cut()
        if self._clock is not None:
            self._clock.cancel()
        await asyncio.sleep(0)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        self.date = _date_line()
        for connection in [*self.connections]:
            connection.look(self.now)
        self._clock = loop.call_later(self.step_seconds, self._tick)


def open_listener(host: str, port: int) -> socket.socket:
    """Return a listening socket: of both families where all addresses are meant and this machine has both."""
    is_dual = not host and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if is_dual or ":" in host else socket.AF_INET
    sock = socket.create_server((host, port), family=family, dualstack_ipv6=is_dual, backlog=1024)
    sock.setblocking(False)
    return sock


def _date_line() -> bytes:
    """Return the Date header (email.utils would be a tenth of the imports)."""
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime()
    day_and_month = f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]}"
    return f"Date: {day_and_month} {year} {hour:02}:{minute:02}:{second:02} GMT\r\n".encode()
