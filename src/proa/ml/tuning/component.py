"""Build and wire the parts of tuning: what `proa up` and `proa tuning serve` both start.

Definitions are there before anybody is told that the cluster is ready. Nothing else of tuning is imported or opened
until the first Experiment, Suggestion or Trial exists.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from proa.ml.area import Opened, Part
from proa.ml.tuning.kinds import EXPERIMENTS, SUGGESTIONS, TRIALS
from proa.objects.quick_dataclass import dataclass

if TYPE_CHECKING:
    from proa.ml.grpc.channel import Dial
    from proa.ml.tuning.observations.observations import Observations

ACCOUNT = "tuning-operator"
_SPEC = Path(__file__).parent / "spec"
DEFINITIONS = tuple(sorted(_SPEC.glob("*.yaml")))


@dataclass(frozen=True, slots=True)
class TuningSettings:
    """`database` is a file's path or a `postgresql://` URL: where points of metrics are.

    `serve` begins to answer who pushes or reads them (`grpc.serving`), until the stack is closed. `image` has Proa,
    for collectors; "" is this machine's own.
    """

    database: str
    serve: Callable[[AsyncExitStack, Observations], Awaitable[None]] | None = None
    image: str = ""
    dial: Dial = asyncio.open_connection
    """Reaches the cluster's Services."""


def make_parts(settings: TuningSettings) -> list[Part]:
    """Return what there is to run."""

    async def open_operator(stack: AsyncExitStack) -> Opened:
        from proa.ml.tuning.algorithms.suggestion_worker import SuggestionWorker
        from proa.ml.tuning.observations.observations import open_observations
        from proa.ml.tuning.operator.operator import make_controllers
        from proa.ml.tuning.operator.parts import OperatorSettings, Parts

        observations = await open_observations(settings.database)
        stack.push_async_callback(observations.close)
        if settings.serve is not None:
            await settings.serve(stack, observations)
        worker = SuggestionWorker()
        stack.push_async_callback(worker.stop)
        chosen = OperatorSettings(image=settings.image) if settings.image else OperatorSettings()
        return Opened(make_controllers(Parts(worker, observations, chosen, settings.dial)))

    return [Part("tuning", DEFINITIONS, (EXPERIMENTS, SUGGESTIONS, TRIALS), open_operator)]
