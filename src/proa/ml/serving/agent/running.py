"""Run an agent until it is told to stop: then tell that it is not ready, answer what is in hand, bring logs away."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import AsyncExitStack, suppress

from proa.httpd.server import HttpServer
from proa.ml.serving.agent.client_connection import ClientConnection
from proa.ml.serving.agent.load_port import LoadPort
from proa.ml.serving.agent.proxy import Proxy
from proa.ml.serving.agent.readiness import Readiness
from proa.ml.serving.agent.settings import Settings
from proa.ml.serving.payloads.sinks import make_payload_logger

BACKLOG = 1024
_log = logging.getLogger(__name__)


async def run_agent(
    settings: Settings, stop: asyncio.Event, sockets: list[socket.socket] | None = None
) -> None:
    """Serve until `stop` is set, and end in order. `sockets` are the agent's and its load port's, where they exist."""
    front, load = sockets or [_listen(settings.host, port) for port in (settings.port, settings.load_port)]
    log = settings.log
    if not log.source:
        log = log._replace(source=f"http://localhost:{settings.port}/")
    logger = make_payload_logger(log)
    readiness = Readiness(settings.component_port, settings.readiness_probe)
    proxy = Proxy(settings, readiness, logger)
    drained = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        if logger is not None:
            logger.start()
            stack.push_async_callback(logger.close)
        load_server = HttpServer(
            LoadPort(proxy, readiness, logger, stop, drained), max_connections=256, max_body_bytes=1024
        )
        stack.push_async_callback(load_server.close)
        await load_server.serve(load)
        readiness.start()
        stack.push_async_callback(readiness.close)
        server = await loop.create_server(lambda: ClientConnection(proxy), sock=front, backlog=BACKLOG)
        sweeping = loop.create_task(proxy.sweep(), name="sweep")
        stack.callback(sweeping.cancel)
        _log.info("before port %d of the container", settings.component_port)
        await stop.wait()
        _log.info("told to stop: answering what is in hand")
        await proxy.drain(settings.quiet_seconds, settings.drain_seconds)
        server.close()
        await proxy.close()
        drained.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; on all addresses of both families where no host is named."""
    if host:
        return socket.create_server((host, port), backlog=BACKLOG)
    if socket.has_dualstack_ipv6():
        with suppress(OSError):
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG
            )
    return socket.create_server(("", port), backlog=BACKLOG)
