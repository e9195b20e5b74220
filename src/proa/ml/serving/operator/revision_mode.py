"""Bring an InferenceService in default mode closer to its spec: revisions, their traffic, its addresses, its status.

A reconcile makes the revision that is missing, then writes what follows from the revisions that there are: which stay,
who gets traffic (component_plan.py), Services and routes (routing/), the status. Scaling alone changes a Deployment's
replicas after it was made; of a Deployment that is there only labels and annotations are written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from proa.client.protocol import Object
from proa.ml.serving.kinds import (
    ENABLE_TAG_ROUTING,
    PREDICTOR,
)
from proa.ml.serving.operator.children import Changes, NotOwned, carry_out, owned, plan_children
from proa.ml.serving.operator.choosing import Chosen, choose
from proa.ml.serving.operator.component_plan import (
    ComponentPlan,
    plan_component,
)
from proa.ml.serving.operator.configuration import KNATIVE
from proa.ml.serving.operator.gateway import ensure_gateway
from proa.ml.serving.operator.new_revisions import Refused, ensure_revision, is_revision_of
from proa.ml.serving.operator.revision_scaling import make_autoscalers, tell_scaling
from proa.ml.serving.operator.revision_states import see_revisions
from proa.ml.serving.operator.revision_status import make_status
from proa.ml.serving.operator.status_writing import components_of, refuse, write_status
from proa.ml.serving.operator.world import World
from proa.ml.serving.revisions.names import (
    component_name,
    revision_selector,
)
from proa.ml.serving.revisions.template import pod_ports
from proa.ml.serving.routing.addresses import (
    are_carried_out,
    config_for,
)
from proa.ml.serving.routing.parts import Backend, BadRoute, Component, Ports, Routing
from proa.ml.serving.routing.revisions import plan_routing
from proa.objects import meta
from proa.objects.errors import BadRequest, Forbidden, Invalid
from proa.objects.resource import DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS, SERVICES, Resource
from proa.reconcile.protocol import DONE, Result

AGAIN_SECONDS = 10.0
"""After what only somebody else can put right, and nothing that is watched tells of."""


async def reconcile_revisions(world: World) -> Result:
    """Bring the InferenceService one step on; raise ApiError."""
    isvc = world.isvc
    chosen = choose(isvc, KNATIVE, *world.runtimes(), world.configuration.resources)
    deployments = world.owned(DEPLOYMENTS)
    outcomes = await asyncio.gather(
        *(ensure_revision(world, chosen, kind, deployments) for kind in components_of(chosen.isvc))
    )
    refused = [one for one in outcomes if isinstance(one, Refused)]
    deployments += [one for one in outcomes if isinstance(one, dict)]
    plans = [_plan(world, chosen, kind, deployments) for kind in components_of(chosen.isvc)]
    try:
        config = config_for(world.configuration.ingress, world.gateway)
        routing = plan_routing(isvc, _components(isvc, plans), config, world.settings.way)
    except BadRoute as error:
        await write_status(
            world.context, isvc, refuse(isvc, "InvalidAddress", str(error), world.context.now())
        )
        return DONE
    try:
        await _carry_out(world, chosen, plans, routing, deployments)
    except (NotOwned, Forbidden, Invalid, BadRequest) as error:
        status = refuse(isvc, type(error).__name__, str(error), world.context.now())
        await write_status(world.context, isvc, status)
        return Result(AGAIN_SECONDS)
    await write_status(world.context, isvc, make_status(world, chosen, plans, routing, refused))
    return Result(AGAIN_SECONDS) if any(one.reason == "NotMade" for one in refused) else DONE


def _plan(world: World, chosen: Chosen, kind: str, deployments: Sequence[Object]) -> ComponentPlan:
    isvc = world.isvc
    before = ((isvc.get("status") or {}).get("components") or {}).get(kind) or {}
    states = see_revisions((one for one in deployments if is_revision_of(one, kind)), world.pods)
    percent = chosen.isvc["spec"][kind].get("canaryTrafficPercent")
    has_tags = meta.annotations(isvc).get(ENABLE_TAG_ROUTING) == "true"
    return plan_component(kind, component_name(isvc, kind), before, states, percent, has_tags=has_tags)


def _components(isvc: Object, plans: Sequence[ComponentPlan]) -> tuple[Component, ...]:
    """Return what requests may go to: of a service that is reached already, no component that was never ready."""
    is_reached = bool((isvc.get("status") or {}).get("url"))
    return tuple(
        Component(
            plan.kind,
            tuple(_backend(state.name, state.deployment) for state in plan.kept),
            plan.routed,
            isvc["spec"][plan.kind].get("timeout"),
        )
        for plan in plans
        if plan.shares or plan.kind == PREDICTOR or not is_reached
    )


def _backend(revision: str, deployment: Object) -> Backend:
    ports = pod_ports(deployment["spec"]["template"]["spec"])
    return Backend(revision, tuple(revision_selector(revision).items()), Ports(ports.http, ports.grpc))


async def _carry_out(
    world: World,
    chosen: Chosen,
    plans: Sequence[ComponentPlan],
    routing: Routing,
    deployments: Sequence[Object],
) -> None:
    """Write Services, routes and what scaling reads; then, once the routes lead elsewhere, remove what is over."""
    isvc, client = world.isvc, world.client
    routes = routing.routes if world.settings.way == "gateway" else routing.ingresses
    gone = [state.deployment for plan in plans for state in plan.gone]
    if plans and all(plan.shares for plan in plans):
        kept = {meta.name(state.deployment) for plan in plans for state in plan.kept}
        gone = [one for one in deployments if meta.name(one) not in kept]
    services = _changes(world, SERVICES, routing.services)
    autoscalers = _changes(world, HORIZONTAL_POD_AUTOSCALERS, make_autoscalers(chosen, plans))
    await asyncio.gather(
        ensure_gateway(world),
        carry_out(client, isvc, SERVICES, services.without_deletes()),
        carry_out(client, isvc, HORIZONTAL_POD_AUTOSCALERS, autoscalers),
        carry_out(client, isvc, world.route_kind, _changes(world, world.route_kind, routes)),
        *(tell_scaling(world, chosen, plan) for plan in plans),
    )
    if (gone or services.delete) and _are_carried_out(world, routing):
        await carry_out(client, isvc, DEPLOYMENTS, plan_children((), gone))
        await carry_out(client, isvc, SERVICES, plan_children((), services.delete))


def _changes(world: World, kind: Resource, wanted: Sequence[Object]) -> Changes:
    return plan_children(
        [owned(world.isvc, one) for one in wanted],
        world.owned(kind),
        is_checked=kind != HORIZONTAL_POD_AUTOSCALERS,
    )


def _are_carried_out(world: World, routing: Routing) -> bool:
    """Tell whether no request goes where routes led before."""
    found = world.owned(world.route_kind)
    return are_carried_out(routing.routes, found, world.gateway, world.settings.way)
