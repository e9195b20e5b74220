"""Have the Gateway that routes are for, from the first InferenceService on; not where an administrator makes it."""

from __future__ import annotations

from contextlib import suppress

from proa.ml.serving.operator.world import World
from proa.ml.serving.routing.addresses import make_gateway
from proa.ml.serving.routing.parts import GATEWAYS
from proa.objects import meta
from proa.objects.errors import AlreadyExists, NotFound
from proa.objects.resource import NAMESPACES


async def ensure_gateway(world: World) -> None:
    """Make the Gateway if it is to be made here and is not there; raise ApiError."""
    if world.settings.way != "gateway" or not world.settings.gateway_class or world.gateway is not None:
        return
    config = world.configuration.ingress
    wanted = make_gateway(config, world.settings.gateway_class)
    namespace = meta.namespace(wanted)
    with suppress(AlreadyExists):
        try:
            await world.client.create(GATEWAYS, wanted, namespace)
        except NotFound:
            with suppress(AlreadyExists):
                await world.client.create(NAMESPACES, {"metadata": {"name": namespace}})
            await world.client.create(GATEWAYS, wanted, namespace)
