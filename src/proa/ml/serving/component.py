"""Build and wire the parts of serving: what `proa up` and `proa serving serve` both start.

Definitions are there before anybody is told that the cluster is ready. Nothing else of serving is imported or opened
until the first InferenceService, TrainedModel or InferenceGraph exists.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from proa.client.protocol import Client
from proa.ml.area import Opened, Part
from proa.ml.serving.kinds import INFERENCE_GRAPHS, INFERENCE_SERVICES, TRAINED_MODELS
from proa.ml.serving.settings import ServingSettings
from proa.objects.errors import NotFound
from proa.reconcile.protocol import Controller

ACCOUNT = "serving-operator"
DEFINITIONS = tuple(sorted((Path(__file__).parent / "spec").glob("*.yaml")))


def make_parts(client: Client, settings: ServingSettings) -> list[Part]:
    """Return what there is to run; `client` acts as the area's account."""

    async def open_serving(stack: AsyncExitStack) -> Opened:
        from proa.ml.serving.graph.controller import make_controllers as make_graph_controllers
        from proa.ml.serving.operator.operator import make_controllers

        await settings.prepare()
        chosen = replace(settings, way=await find_way(client)) if settings.finds_way else settings
        graphs = make_graph_controllers(chosen)
        return Opened([*make_controllers(chosen), *graphs, await open_activator(stack, chosen)])

    begins_with = (INFERENCE_SERVICES, TRAINED_MODELS, INFERENCE_GRAPHS)
    return [Part("serving", DEFINITIONS, begins_with, open_serving)]


async def open_activator(stack: AsyncExitStack, settings: ServingSettings) -> Controller:
    """Have requests that find no pod held, and return what gives revisions as many pods as their load asks for."""
    from proa.ml.serving.activator.activator import Activator
    from proa.ml.serving.scaling.controller import ScalingController

    activator = Activator(settings.dial)
    scaling = ScalingController(activator, settings.dial, settings.activator_address, settings.activator_port)
    activator.on_held = scaling.wake
    settings.door.open(activator)
    stack.push_async_callback(settings.door.shut)
    return scaling


async def find_way(client: Client) -> Literal["gateway", "ingress"]:
    """Return what brings requests from outside in this cluster: Gateway API, where it has that. Raises ApiError."""
    from proa.ml.serving.routing.parts import HTTP_ROUTES

    try:
        await client.list(HTTP_ROUTES, limit=1, metadata_only=True)
    except NotFound:
        return "ingress"
    return "gateway"


async def install(client: Client, settings: ServingSettings) -> None:
    """See that the cluster has the runtimes and the configuration that are shipped; raise ApiError."""
    from proa.ml.serving.runtimes import installation

    await installation.install(client, settings.image, make_ingress_section(settings))


def make_ingress_section(settings: ServingSettings) -> dict[str, Any]:
    """Return how addresses are made at first: where the cluster is not Proa's, its administrator has to say more."""
    from proa.ml.serving.routing.config import make_default_config

    section = make_default_config()
    if settings.gateway_class:
        return section
    return section | {"localGatewayService": "", "ingressClassName": "", "ingressDomain": "example.com"}
