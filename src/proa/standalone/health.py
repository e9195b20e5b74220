"""Tell on a port of loopback whether a component is well, and what it counts: /healthz, /livez, /readyz, /metrics.

Nobody is asked who they are, so it never listens elsewhere. Paths and metric names are upstream's
(cmd/kube-controller-manager/app/controllermanager.go, component-base/metrics).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence

from proa.client.protocol import Request, Response
from proa.observability.metrics import Metric, exposition
from proa.observability.process import process_metrics

TEXT = {"content-type": "text/plain; charset=utf-8"}
METRICS = {"content-type": "text/plain; version=0.0.4; charset=utf-8"}
CHECKED = ("/healthz", "/livez", "/readyz")
Checks = Mapping[str, Callable[[], str]]
"""Name -> function that returns "" where all is well, else what is wrong."""


def listen(port: int) -> socket.socket:
    """Return a listening socket on loopback; 0 is any free port. Raise OSError."""
    return socket.create_server(("127.0.0.1", port))


class HealthHandler:
    """`client.protocol.Handler` for these paths."""

    def __init__(self, checks: Checks, metrics: Sequence[Metric]) -> None:
        self._checks = checks
        self._metrics = (*metrics, *process_metrics())

    async def __call__(self, request: Request) -> Response:
        """Answer a GET."""
        if request.method not in ("GET", "HEAD"):
            return Response(405, TEXT, b"only GET\n")
        if request.path == "/metrics":
            return Response(200, METRICS, exposition(self._metrics).encode())
        if request.path not in CHECKED:
            return Response(404, TEXT, b"404 page not found\n")
        failed = {name: why for name, check in self._checks.items() if (why := check())}
        if failed:
            lines = [f"[-]{name} failed: {why}\n" for name, why in failed.items()]
            return Response(500, TEXT, "".join(lines).encode())
        return Response(200, TEXT, b"ok")
