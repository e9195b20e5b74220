"""Tell whether the container behind the agent is ready, by its own readiness probe or by whether it listens.

Until it was ready once it is asked each 25 ms, so that a pod is ready as soon as its container is; from then on when
somebody asks. Source: Knative Serving's pkg/queue/readiness/probe.go.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

from proa.ml.serving.wire.http1_asking import AskError, ask
from proa.ml.serving.wire.http1_pool import Pool

EAGER_SECONDS = 0.025
HOLD_SECONDS = 4.0
"""A probe is answered once the container is ready, or after so long that it is not."""


class Readiness:
    """Asks the container on 127.0.0.1."""

    def __init__(self, port: int, probe: Mapping[str, Any] | None) -> None:
        probe = probe or {}
        self._http: Mapping[str, Any] | None = probe.get("httpGet")
        action = self._http or probe.get("tcpSocket") or {}
        named = action.get("port")
        self._port = named if isinstance(named, int) else port
        self._timeout = float(probe.get("timeoutSeconds") or 1)
        is_tls = str((self._http or {}).get("scheme") or "").upper() == "HTTPS"
        self._pool = Pool("127.0.0.1", self._port, _make_tls_context() if is_tls else None)
        self._first: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Ask until it is ready for the first time."""
        self._first = asyncio.get_running_loop().create_task(self._until_ready(), name="readiness")

    async def close(self) -> None:
        """Ask no more."""
        if self._first is not None:
            self._first.cancel()
            await asyncio.gather(self._first, return_exceptions=True)
        self._pool.close()

    async def is_ready(self) -> bool:
        """Return whether it is; before the first time that it is, wait a while for that."""
        if self._first is None or self._first.done():
            return await self._ask()
        await asyncio.wait({self._first}, timeout=HOLD_SECONDS)
        return self._first.done()

    async def _until_ready(self) -> None:
        while True:
            if await self._ask():
                return
            await asyncio.sleep(EAGER_SECONDS)

    async def _ask(self) -> bool:
        try:
            if self._http is None:
                (await self._pool.connect(self._timeout)).close()
                return True
            headers = {one["name"]: str(one.get("value", "")) for one in self._http.get("httpHeaders") or ()}
            answer = await ask(
                self._pool, "GET", self._http.get("path") or "/", headers, seconds=self._timeout
            )
            return 200 <= answer.status < 400
        except (OSError, AskError):
            return False


def _make_tls_context() -> ssl.SSLContext:
    """Return a context that, as kubelets do, takes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
