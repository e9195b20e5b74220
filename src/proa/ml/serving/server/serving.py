"""Be a model server: listen, load, answer, and end in order.

The ports are open before the model is loaded: probes are told that it is not ready. After SIGTERM it is not ready, says
with each answer that the connection ends, and goes on until nobody has asked for a while: the news that the pod goes
needs time to get about. A model that cannot be loaded ends the process with 1, with why on its last line, and where
the kubelet looks for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import orjson

from proa.ml.serving.server.app import App
from proa.ml.serving.server.exchange import Exchange
from proa.ml.serving.server.gate import Gate
from proa.ml.serving.server.http_server import HttpServer, open_listener
from proa.ml.serving.server.measures import CONTENT_TYPE, Measures
from proa.ml.serving.server.repository import OpenModel, Repository
from proa.ml.serving.wire.load_counter import LoadCounter
from proa.process import told_to_stop

if TYPE_CHECKING:
    from proa.ml.grpc.server import GrpcServer
    from proa.ml.serving.payloads.logger import PayloadLogger
    from proa.ml.serving.server.options import Options

TERMINATION_LOG = Path("/dev/termination-log")
LOOK_SECONDS = 0.1
MIB = 1024 * 1024

logger = logging.getLogger(__name__)


class Ports(NamedTuple):
    """Where a server answers; 0 where it does not."""

    http: int
    grpc: int
    load: int


class ModelServer:
    """The parts of one server."""

    def __init__(self, options: Options, open_model: OpenModel | None = None) -> None:
        self.options = options
        self.load = LoadCounter()
        self.payloads = _make_payload_logger(options)
        self.measures = Measures(self.load, self.payloads)
        self.repository = Repository(options, self.measures, open_model)
        self.gate = Gate(self.load, options.container_concurrency, options.queue_depth)
        self.app = App(self.repository, self.gate, self.measures, self.payloads)
        self.http = HttpServer(
            self.app.handle,
            max_body_bytes=options.max_body_bytes,
            keep_alive_seconds=options.keep_alive_seconds,
            timeout_seconds=options.timeout_seconds,
        )
        self._load_http = HttpServer(self._tell_load, max_body_bytes=1024, max_connections=256)
        self._grpc: list[GrpcServer] = []
        """None before the first connection, then one."""
        self._stack = AsyncExitStack()

    async def listen(self) -> Ports:
        """Open the ports."""
        options = self.options
        if self.payloads is not None:
            self.payloads.start()
            self._stack.push_async_callback(self.payloads.close)
        http = await self.http.listen(options.host, options.http_port)
        self._stack.push_async_callback(self.http.close)
        load = 0
        if options.load_port >= 0:
            load = await self._load_http.listen(options.host, options.load_port)
            self._stack.push_async_callback(self._load_http.close)
        grpc = await self._listen_grpc() if options.grpc_port >= 0 else 0
        return Ports(http, grpc, load)

    async def drain(self) -> None:
        """Answer what comes and is in hand, until nobody has asked for a while."""
        options, began = self.options, time.monotonic()
        self.app.is_draining = True
        self.http.drain()
        for grpc in self._grpc:
            grpc.go_away()
        quiet_since, seen = began, self.load.requests
        while time.monotonic() - began < options.drain_seconds:
            now = time.monotonic()
            if self.load.requests != seen or self.load.in_hand:
                quiet_since, seen = now, self.load.requests
            elif now - quiet_since >= options.quiet_seconds:
                return
            await asyncio.sleep(LOOK_SECONDS)
        logger.warning("%d requests are cut: they took too long", self.load.in_hand)

    async def close(self) -> None:
        """Close the ports, and let go of the models."""
        await self._stack.aclose()
        await self.repository.close()

    async def _listen_grpc(self) -> int:
        """Open gRPC's port; what speaks it is imported with the first connection."""
        servers = self._grpc

        def connect() -> asyncio.Protocol:
            from proa.ml.grpc.connection import GrpcConnection

            if not servers:
                servers.append(self._make_grpc())
            return GrpcConnection(servers[0], is_host=False)

        async def close() -> None:
            listening.close()
            for server in servers:
                await server.close()

        sock = open_listener(self.options.host, self.options.grpc_port)
        listening = await asyncio.get_running_loop().create_server(connect, sock=sock, backlog=1024)
        self._stack.push_async_callback(close)
        port: int = listening.sockets[0].getsockname()[1]
        return port

    def _make_grpc(self) -> GrpcServer:
        from proa.ml.grpc.connection import Limits
        from proa.ml.grpc.server import GrpcServer
        from proa.ml.serving.server.grpc_service import InferenceService
        from proa.ml.serving.wire.grpc_messages import OPEN_INFERENCE

        options = self.options
        held_bytes = max(256 * MIB, 4 * options.max_body_bytes)
        limits = Limits(
            connections=4096,
            of_one_address=4096,
            message_bytes=options.max_body_bytes,
            held_bytes=held_bytes,
            held_of_one_bytes=held_bytes,
            call_seconds=options.timeout_seconds or 600.0,
        )
        service = InferenceService(self.repository, self.gate, self.app)
        return GrpcServer(OPEN_INFERENCE, service.methods, limits)

    def _tell_load(self, exchange: Exchange) -> None:
        """Answer at the load port: GET / and /metrics."""
        path = exchange.path
        if exchange.method != b"GET" or path not in ("/", "/metrics"):
            exchange.answer(404, b'{"error":"Not Found: there is GET / and GET /metrics"}')
        elif path == "/":
            exchange.answer_json(orjson.dumps(self.load.read()._asdict()))
        else:
            exchange.answer(200, self.measures.write(), CONTENT_TYPE)


def _make_payload_logger(options: Options) -> PayloadLogger | None:
    settings = options.payloads
    if not settings.url:
        return None
    from proa.ml.serving.payloads.sinks import make_payload_logger

    source = settings.source or f"http://localhost:{options.http_port}/"
    return make_payload_logger(settings._replace(source=source))


async def serve(options: Options) -> None:
    """Serve until told to stop; SystemExit with 1 where the model cannot be loaded."""
    stop = told_to_stop()
    server = ModelServer(options)
    try:
        ports = await server.listen()
        logger.info("listening http=%d grpc=%d load=%d", *ports)
        await _load(server)
        logger.info("ready models=%s", ",".join(server.repository.names()))
        await stop.wait()
        await server.drain()
    finally:
        await server.close()


async def _load(server: ModelServer) -> None:
    from proa.ml.serving.server.formats.protocol import ModelError

    try:
        await server.repository.load_all()
    except ModelError as error:
        message = f"model {server.options.model_name} cannot be loaded: {error}"
        logger.error("%s", message)
        _leave_word(message)
        raise SystemExit(1) from None


def _leave_word(message: str) -> None:
    if TERMINATION_LOG.exists() and os.access(TERMINATION_LOG, os.W_OK):
        TERMINATION_LOG.write_text(message[:4096])
