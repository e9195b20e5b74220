"""Remove all that an InferenceService has made, while it is stopped. Source: the stop annotation of KServe."""

from __future__ import annotations

import asyncio

from proa.ml.serving.operator.children import carry_out, plan_children
from proa.ml.serving.operator.conditions import (
    COMPONENT_READY,
    FALSE,
    INGRESS_READY,
    STOPPED,
    TRUE,
    Conditions,
)
from proa.ml.serving.operator.configuration import mode_of
from proa.ml.serving.operator.status_writing import components_of, write_status
from proa.ml.serving.operator.world import World
from proa.objects import meta
from proa.objects.resource import DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS, SERVICES
from proa.reconcile.protocol import DONE, Result


async def stop(world: World) -> Result:
    """See that nothing of an InferenceService runs, and that its status says so."""
    kinds = (DEPLOYMENTS, SERVICES, HORIZONTAL_POD_AUTOSCALERS, world.route_kind)
    await asyncio.gather(
        *(carry_out(world.client, world.isvc, kind, plan_children((), world.owned(kind))) for kind in kinds)
    )
    before = (world.isvc.get("status") or {}).get("conditions") or ()
    wanted = [INGRESS_READY, *(COMPONENT_READY[kind] for kind in components_of(world.isvc))]
    known = [one for one in before if one["type"] in (*wanted, STOPPED, "Ready")]
    conditions = Conditions(known, world.context.now())
    for type in wanted:
        conditions.set(type, FALSE, "Stopped")
    conditions.set(STOPPED, TRUE)
    status = {
        "observedGeneration": meta.generation(world.isvc),
        "conditions": conditions.as_list(),
        "deploymentMode": mode_of(world.isvc, world.configuration),
        "modelStatus": {"transitionStatus": ""},
    }
    await write_status(world.context, world.isvc, status)
    return DONE
