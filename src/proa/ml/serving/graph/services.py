"""Ask the services that a graph's steps lead to: connections kept, headers passed on, bounded in time and size.

Source: callService in KServe's cmd/router/main.go; which headers are Go's net/http's own is not passed on.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping, Sequence
from urllib.parse import SplitResult, urlsplit

from proa.ml.serving.graph.walk import GraphError, Outcome
from proa.ml.serving.wire.http1_asking import AskError, ask
from proa.ml.serving.wire.http1_pool import Pool

IDLE_SECONDS = 30.0
_OWN = frozenset(
    (
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "expect",
    )
)
_log = logging.getLogger(__name__)


class HeaderPatterns:
    """Which headers of a request go on to every step: names that any of the expressions (RE2) is found in."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._expressions = []
        for pattern in patterns:
            import re2

            try:
                self._expressions.append(re2.compile(pattern))
            except re2.error as error:
                _log.error("header pattern %r is left out: %s", pattern, error)
        self._known: dict[str, bool] = {}

    def select(self, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        """Return what goes on; a body without type is JSON."""
        chosen = [
            (name, value) for name, value in headers.items() if self._expressions and self._is_meant(name)
        ]
        if not any(name == "content-type" for name, _ in chosen):
            chosen.append(("content-type", "application/json"))
        return chosen

    def _is_meant(self, name: str) -> bool:
        known = self._known.get(name)
        if known is None:
            canonical = "-".join(part.capitalize() for part in name.split("-"))
            known = name not in _OWN and any(one.search(canonical) for one in self._expressions)
            if len(self._known) < 1000:
                self._known[name] = known
        return known


class Services:
    """All services of one router, each with its connections."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._pools: dict[tuple[str, str], Pool] = {}
        self._urls: dict[str, SplitResult] = {}

    async def call(self, url: str, body: bytes, headers: Sequence[tuple[str, str]]) -> Outcome:
        """POST a body; raise GraphError where there is no answer."""
        parts = self._urls.get(url)
        if parts is None:
            parts = self._urls[url] = urlsplit(url)
        try:
            pool = self._pool(parts)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            host = parts.netloc.rpartition("@")[2]
            answer = await ask(pool, "POST", target, headers, body, host=host, seconds=self._seconds)
        except (AskError, ValueError) as error:
            raise GraphError(500, f'Post "{url}": {error}') from None
        return Outcome(answer.status, answer.body)

    def _pool(self, parts: SplitResult) -> Pool:
        pool = self._pools.get((parts.scheme, parts.netloc))
        if pool is None:
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise ValueError(
                    "unsupported protocol scheme or no host: must be http://HOST or https://HOST"
                )
            is_tls = parts.scheme == "https"
            context = ssl.create_default_context() if is_tls else None
            pool = Pool(parts.hostname, parts.port or (443 if is_tls else 80), context, IDLE_SECONDS)
            self._pools[parts.scheme, parts.netloc] = pool
        return pool

    def close(self) -> None:
        """Close the connections that are kept."""
        for pool in self._pools.values():
            pool.close()
