"""Build and wire the parts of serving: what `proa up` and `proa serving serve` both start.

Definitions are there before anybody is told that the cluster is ready. Nothing else of serving is imported or opened
until the first InferenceService, TrainedModel or InferenceGraph exists.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from proa.client.protocol import Client
from proa.ml.area import Opened, Part
from proa.ml.serving.kinds import INFERENCE_GRAPHS, INFERENCE_SERVICES, TRAINED_MODELS
from proa.ml.serving.settings import ServingSettings

ACCOUNT = "serving-operator"
DEFINITIONS = tuple(sorted((Path(__file__).parent / "spec").glob("*.yaml")))


def make_parts(client: Client, settings: ServingSettings) -> list[Part]:
    """Return what there is to run; `client` acts as the area's account."""

    async def open_serving(stack: AsyncExitStack) -> Opened:
        from proa.ml.serving.operator.operator import make_controllers

        await settings.prepare()
        return Opened(make_controllers(settings))

    begins_with = (INFERENCE_SERVICES, TRAINED_MODELS, INFERENCE_GRAPHS)
    return [Part("serving", DEFINITIONS, begins_with, open_serving)]
