"""Run the reconcilers of tuning, of training, or of serving, in a process of their own while it leads.

Definitions are made, and renewed, each time that it begins to lead; those that are somebody else's stay as they are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from proa.client.protocol import Client
from proa.ml.area import Area, Part
from proa.standalone.leading import Connections

TUNING = "proa-tuning-operator"
TRAINING = "proa-training-operator"
SERVING = "proa-serving-operator"
"""Of the leases, too."""


class AreaProcess:
    """What a process does while it leads. `install` makes what a cluster has for the area from the start."""

    def __init__(
        self,
        make_parts: Callable[[Client], Sequence[Part]],
        install: Callable[[Client], Awaitable[None]] | None = None,
    ) -> None:
        self._make_parts = make_parts
        self._install = install
        self._area: Area | None = None

    async def work(self, connections: Connections) -> None:
        """Work until cancelled; raise what a part fails with."""
        client, install = connections.client, self._install
        area = self._area = Area(
            client,
            self._make_parts(client),
            None if install is None else lambda: install(client),
        )
        await area.ensure_definitions()
        await area.run()

    def queue_depths(self) -> Mapping[str, float]:
        """Return how many keys wait, for each controller."""
        return self._area.queue_depths() if self._area is not None else {}
