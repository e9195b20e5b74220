"""`python -m proa.ml.serving.graph.router --graph-json JSON`: answer requests to one graph, at any path.

Listens on 8080, with /readyz there; the load is told on 9091. Told to stop it is not ready, answers until nobody has
asked for a while, and ends. Source: KServe's cmd/router/main.go.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import orjson

from proa import process
from proa.client.protocol import Request, Response
from proa.httpd.server import HttpServer
from proa.ml.serving.graph.definition import BadGraph, Graph, read_graph
from proa.ml.serving.graph.services import HeaderPatterns, Services
from proa.ml.serving.graph.walk import GraphError, Outcome, Walk
from proa.ml.serving.kinds import HTTP_PORT, LOAD_PORT
from proa.ml.serving.wire.load_counter import LoadCounter

READY_PATH = "/readyz"
HEADERS_VARIABLE = "PROPAGATE_HEADERS"
MAX_BODY_BYTES, MAX_HELD_BYTES = 64 * 1024 * 1024, 512 * 1024 * 1024
MAX_CONNECTIONS, MAX_IN_HAND = 4096, 2048
QUIET_SECONDS, MAX_DRAIN_SECONDS = 2.0, 600.0


class Settings(NamedTuple):
    """What one router is told."""

    graph: Graph
    header_patterns: tuple[str, ...]
    host: str
    port: int
    load_port: int
    quiet_seconds: float


class Router:
    """Answers for one graph."""

    def __init__(self, settings: Settings) -> None:
        self.load = LoadCounter()
        self.is_draining = False
        self.last_request = 0.0
        self._timeouts = settings.graph.timeouts
        self._walk = Walk(settings.graph, random.SystemRandom().random)
        self._headers = HeaderPatterns(settings.header_patterns)
        self._services = Services(self._timeouts.client)

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        if request.path == READY_PATH:
            return self._tell_ready()
        if self.load.in_hand >= MAX_IN_HAND:
            return _refuse(GraphError(503, f"{MAX_IN_HAND} requests are in hand already"))
        self.load.arrived()
        try:
            async with asyncio.timeout(self._timeouts.write or None):
                return await self._answer(request)
        except GraphError as error:
            return _refuse(error)
        except TimeoutError:
            seconds = self._timeouts.write
            return _refuse(GraphError(504, f"no answer within {seconds:g} s (routerTimeouts.serverWrite)"))
        finally:
            self.load.left()
            self.last_request = time.monotonic()

    async def _answer(self, request: Request) -> Response:
        headers = self._headers.select(request.headers)

        async def call(url: str, body: bytes) -> Outcome:
            return await self._services.call(url, body, headers)

        answer = await self._walk.answer(request.body, call)
        kind = {"Content-Type": "application/json" if _is_json(answer.body) else "text/plain; charset=utf-8"}
        return Response(answer.status or 200, kind, answer.body)

    def _tell_ready(self) -> Response:
        return Response(503, {}, b"shutting down\n") if self.is_draining else Response(200, {}, b"")

    async def tell_load(self, request: Request) -> Response:
        """Answer on the load port: the load at /, whether we are ready at /ready."""
        if request.path == "/ready":
            return self._tell_ready()
        if request.path != "/":
            return Response(404, {}, b"not found\n")
        return Response(200, {"Content-Type": "application/json"}, orjson.dumps(self.load.read()._asdict()))

    async def drain(self, quiet_seconds: float) -> None:
        """Tell that we are not ready; return once nothing is in hand and nobody has asked for a while."""
        self.is_draining = True
        self.last_request = time.monotonic()
        last = self.last_request + MAX_DRAIN_SECONDS
        while (now := time.monotonic()) < last:
            rest = self.last_request + quiet_seconds - now
            if rest <= 0 and not self.load.in_hand:
                return
            await asyncio.sleep(max(rest, 0.05))

    def close(self) -> None:
        """Let go of connections."""
        self._services.close()


async def run_router(settings: Settings, stop: asyncio.Event, sockets: Sequence[socket.socket] = ()) -> None:
    """Serve until `stop` is set, and end in order. `sockets`, if any, are the router's and its load port's."""
    router = Router(settings)
    timeouts = settings.graph.timeouts
    server = HttpServer(
        router,
        max_body_bytes=MAX_BODY_BYTES,
        max_connections=MAX_CONNECTIONS,
        max_held_bytes=MAX_HELD_BYTES,
        read_seconds=timeouts.read,
        idle_seconds=timeouts.idle,
    )
    load = HttpServer(router.tell_load, max_body_bytes=1024, max_connections=256)
    front, back = sockets or [_listen(settings.host, port) for port in (settings.port, settings.load_port)]
    try:
        await load.serve(back)
        await server.serve(front)
        await stop.wait()
        await router.drain(settings.quiet_seconds)
    finally:
        await server.close()
        await load.close()
        router.close()


def read_settings(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Return what the command line and the environment say; raise BadGraph."""
    parser = argparse.ArgumentParser(
        "python -m proa.ml.serving.graph.router", description="Answer for a graph."
    )
    parser.add_argument(
        "--graph-json", required=True, help="an InferenceGraph's spec, each step with its serviceUrl"
    )
    parser.add_argument("--host", default="", help="the address it listens on; default: all")
    parser.add_argument("--port", type=int, default=HTTP_PORT)
    parser.add_argument("--load-port", type=int, default=LOAD_PORT)
    parser.add_argument("--quiet-seconds", type=float, default=QUIET_SECONDS)
    options = parser.parse_args(arguments)
    try:
        spec = orjson.loads(options.graph_json)
    except orjson.JSONDecodeError as error:
        raise BadGraph(f"--graph-json: no JSON: {error}") from None
    patterns = tuple(part for part in environment.get(HEADERS_VARIABLE, "").split(",") if part)
    return Settings(
        read_graph(spec), patterns, options.host, options.port, options.load_port, options.quiet_seconds
    )


def _refuse(error: GraphError) -> Response:
    told = {"error": "Failed to process request", "cause": str(error)}
    return Response(error.status, {"Content-Type": "application/json"}, orjson.dumps(told))


def _is_json(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def _listen(host: str, port: int) -> socket.socket:
    if host:
        return socket.create_server((host, port), backlog=1024)
    if socket.has_dualstack_ipv6():
        with suppress(OSError):
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
    return socket.create_server(("", port), backlog=1024)


async def _main(settings: Settings) -> None:
    await run_router(settings, process.told_to_stop())


if __name__ == "__main__":
    process.log_to_stderr()
    try:
        process.run(_main(read_settings(sys.argv[1:])))
    except (BadGraph, OSError) as error:
        logging.getLogger("router").error("%s", error)
        sys.exit(1)
