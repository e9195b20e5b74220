"""Connect to pods, by the way that wiring gives: this process is not in the cluster's network everywhere."""

from __future__ import annotations

import asyncio
import socket

from proa.ml.serving.settings import Dial

CONNECT_SECONDS = 3.0


async def dialed(dial: Dial, host: str, port: int) -> socket.socket:
    """Return a socket connected to a pod; raise OSError, also where it takes too long (TimeoutError is one)."""
    async with asyncio.timeout(CONNECT_SECONDS):
        sock = await dial(host, port)
    sock.setblocking(False)
    if sock.type == socket.SOCK_STREAM and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
