"""Serve Kubeflow Pipelines from a process of its own: its API on a socket, and its operator, while this process leads.

All of it works in the leader alone, so that a file may be the database, and each scheduled time gets its one run. Who
stands by answers so, with 503: a Service's readiness probe of /apis/v2beta1/healthz finds the leader. /healthz tells of
the process itself.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from proa.client.protocol import Request, Response
from proa.httpd.server import HttpServer
from proa.ml.pipelines.api.refusals import Code, make_answer
from proa.ml.pipelines.api.uploads import MAX_UPLOAD_BYTES
from proa.ml.pipelines.component import MAX_CONNECTIONS, Pipelines, PipelinesSettings
from proa.standalone.leading import Component, Connections

NAME = "proa-pipelines-operator"
"""Of the lease, too."""


class PipelinesProcess:
    """One process. Where `needs_token`, nobody is answered without one."""

    def __init__(self, component: Component, settings: PipelinesSettings, *, needs_token: bool) -> None:
        self._component = component
        self._settings = settings
        self._needs_token = needs_token
        self._pipelines: Pipelines | None = None

    async def run(
        self, listener: socket.socket, health: socket.socket | None, when_started: Callable[[], None]
    ) -> None:
        """Answer, and work whenever it leads, until SIGTERM or SIGINT; raise what the work raises."""
        http = HttpServer(self.handle, max_body_bytes=MAX_UPLOAD_BYTES, max_connections=MAX_CONNECTIONS)
        try:
            await http.serve(listener)
            await self._component.run(self.work, health, when_started)
        finally:
            await http.close()

    async def work(self, connections: Connections) -> None:
        """Be Kubeflow Pipelines until cancelled; raise what fails."""
        pipelines = self._pipelines = Pipelines(connections.client, self._settings)
        try:
            await pipelines.run()
        finally:
            self._pipelines = None
            await pipelines.stop()

    async def handle(self, request: Request) -> Response:
        """Answer a request of a client or a probe."""
        if request.path == "/healthz" and request.method in ("GET", "HEAD"):
            return Response(200, {"Content-Type": "application/json"}, b'{"status":"ok"}')
        pipelines = self._pipelines
        if pipelines is None:
            leader = self._component.leader or "nobody yet"
            return make_answer(Code.UNAVAILABLE, f"this process stands by; who works is {leader}")
        if self._needs_token:
            return await pipelines.handle_with_token(request)
        return await pipelines.handle(request)
