"""Answer on the load port: the load at /, metrics, whether the container is ready, and when all is drained.

Source: Knative Serving's pkg/queue (the metrics' names) and its /wait-for-drain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import orjson

from proa.client.protocol import Request, Response
from proa.ml.serving.agent.proxy import Proxy
from proa.ml.serving.agent.readiness import Readiness
from proa.ml.serving.payloads.logger import PayloadLogger

STOP_SECONDS = 5.0
"""A container that is to end alone waits so long for the word that the agent is to end with it."""


class LoadPort:
    """Answers for one agent. That it is to `stop` it hears elsewhere: nobody who can reach the port ends it."""

    def __init__(
        self,
        proxy: Proxy,
        readiness: Readiness,
        logger: PayloadLogger | None,
        stop: asyncio.Event,
        drained: asyncio.Event,
    ) -> None:
        self._proxy, self._readiness, self._logger = proxy, readiness, logger
        self._stop, self._drained = stop, drained
        self._answers: dict[str, Callable[[], Awaitable[Response]]] = {
            "/": self._load,
            "/metrics": self._metrics,
            "/ready": self._ready,
            "/wait-for-drain": self._wait_for_drain,
        }

    async def __call__(self, request: Request) -> Response:
        answer = self._answers.get(request.path)
        return await answer() if answer else Response(404, {}, b"not found\n")

    async def _load(self) -> Response:
        load = self._proxy.load.read()
        return Response(200, {"Content-Type": "application/json"}, orjson.dumps(load._asdict()))

    async def _ready(self) -> Response:
        is_ready = not self._proxy.is_draining and await self._readiness.is_ready()
        return Response(200 if is_ready else 503, {"Content-Type": "text/plain"}, b"")

    async def _wait_for_drain(self) -> Response:
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self._stop.wait()
        if self._stop.is_set():
            await self._drained.wait()
        return Response(200, {"Content-Type": "text/plain"}, b"")

    async def _metrics(self) -> Response:
        proxy = self._proxy
        lines = ["# TYPE revision_request_count counter"]
        for hundreds, count in enumerate(proxy.statuses):
            if count:
                lines.append(f'revision_request_count{{response_code_class="{hundreds}xx"}} {count}')
        lines += [
            "# TYPE revision_queue_depth gauge",
            f"revision_queue_depth {proxy.gate.waiting}",
            "# TYPE revision_requests_in_hand gauge",
            f"revision_requests_in_hand {proxy.load.in_hand}",
        ]
        if self._logger is not None:
            lines.append("# TYPE payload_events_total counter")
            for name, count in self._logger.counts._asdict().items():
                lines.append(f'payload_events_total{{result="{name}"}} {count}')
        text = "\n".join([*lines, ""])
        return Response(200, {"Content-Type": "text/plain; version=0.0.4"}, text.encode())
