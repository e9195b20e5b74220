"""Show webhook configurations in `kubectl get`: pkg/printers/internalversion/printers.go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column
from proa.apiserver.resources.printing import AGE, NAME, age
from proa.client.protocol import Object

COLUMNS = (
    NAME,
    Column(
        "Webhooks",
        "integer",
        description="Webhooks indicates the number of webhooks registered in this configuration",
    ),
    AGE,
)


def cells(configuration: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    name = configuration["metadata"]["name"]
    return name, len(configuration.get("webhooks") or ()), age(configuration, now)
