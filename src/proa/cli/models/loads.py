"""How many requests a second pods get, of the counters on their load ports, by way of the API server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

from proa.client.protocol import Client
from proa.ml.serving.kinds import LOAD_PORT
from proa.ml.serving.records import Load
from proa.objects.errors import ApiError

_LIMIT_BYTES = 4096


class Rates:
    """What pods told the last time they were asked; a rate is the difference to what they tell now."""

    def __init__(self) -> None:
        self._last: dict[str, Load] = {}

    async def ask(self, client: Client, namespace: str, pods: Iterable[str]) -> dict[str, float]:
        """Return requests a second of each pod that has told twice."""
        names = list(pods)
        told = await asyncio.gather(*(_ask(client, namespace, name) for name in names))
        now = {name: load for name, load in zip(names, told, strict=True) if load is not None}
        rates = {}
        for name, load in now.items():
            before = self._last.get(name)
            if before is not None and before.instance == load.instance and load.seconds > before.seconds:
                rates[name] = (load.requests - before.requests) / (load.seconds - before.seconds)
        self._last = now
        return rates


async def _ask(client: Client, namespace: str, pod: str) -> Load | None:
    """Return what a pod tells; None where it does not (it starts, it ends, or nothing in it counts)."""
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}:{LOAD_PORT}/proxy/"
    try:
        return Load(**json.loads(await client.read(path, limit_bytes=_LIMIT_BYTES)))
    except (ApiError, ValueError, TypeError):
        return None
