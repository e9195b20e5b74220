"""Say how an InferenceService in default mode is, by its components' plans and the routes to them."""

from __future__ import annotations

from collections.abc import Sequence

from proa.client.protocol import Object
from proa.ml.serving.kinds import (
    PREDICTOR,
)
from proa.ml.serving.operator.choosing import Chosen
from proa.ml.serving.operator.component_plan import (
    ComponentPlan,
    component_status,
    set_conditions,
)
from proa.ml.serving.operator.conditions import (
    COMPONENT_READY,
    CONFIGURATION_READY,
    INGRESS_READY,
    LATEST_DEPLOYMENT_READY,
    ROUTE_READY,
    ROUTES_READY,
    STOPPED,
    TRUE,
    Conditions,
)
from proa.ml.serving.operator.configuration import KNATIVE
from proa.ml.serving.operator.model_status import invalid_spec, model_status
from proa.ml.serving.operator.new_revisions import Refused
from proa.ml.serving.operator.world import World
from proa.ml.serving.routing.addresses import (
    Readiness,
    address_of,
    routes_readiness,
    service_url,
    url_of,
)
from proa.ml.serving.routing.hosts import internal_url
from proa.ml.serving.routing.parts import Routing
from proa.objects import meta


def make_status(
    world: World, chosen: Chosen, plans: Sequence[ComponentPlan], routing: Routing, refused: Sequence[Refused]
) -> Object:
    """Return the status of the InferenceService."""
    isvc, config, now = world.isvc, world.configuration.ingress, world.context.now()
    before = isvc.get("status") or {}
    conditions = Conditions(before.get("conditions") or (), now)
    routes = routes_readiness(
        routing.routes, world.owned(world.route_kind), world.gateway, world.settings.way
    )
    components: Object = {}
    for plan in plans:
        set_conditions(conditions, plan, routes)
        known = (before.get("components") or {}).get(plan.kind) or {}
        is_ready = conditions.status(COMPONENT_READY[plan.kind]) == TRUE
        components[plan.kind] = component_status(
            known,
            plan,
            internal_url(plan.name, meta.namespace(isvc)),
            lambda name: url_of(isvc, name, config, world.gateway),
            is_ready=is_ready,
        )
    for one in refused:
        conditions.set(COMPONENT_READY[one.kind], "False", one.reason, one.message)
        conditions.set(CONFIGURATION_READY[one.kind], "False", one.reason, one.message)
    _clear_others(conditions, plans)
    _set_ingress(conditions, plans, routes)
    status = {
        **before,
        "observedGeneration": meta.generation(isvc),
        "deploymentMode": KNATIVE,
        "components": components,
        "modelStatus": _model_status(world, plans, refused),
        **chosen.names,
    }
    for field in chosen.absent_names:
        status.pop(field, None)
    status.pop("canaryStatuses", None)
    if conditions.status(INGRESS_READY) == TRUE:
        status |= {"url": service_url(isvc, config, world.gateway), "address": {"url": address_of(isvc)}}
    status["conditions"] = conditions.as_list()
    return status


def _set_ingress(conditions: Conditions, plans: Sequence[ComponentPlan], routes: Readiness) -> None:
    kinds = [plan.kind for plan in plans]
    conditions.set(STOPPED, "False")
    conditions.set_together(ROUTES_READY, [ROUTE_READY[kind] for kind in kinds])
    conditions.set_together(LATEST_DEPLOYMENT_READY, [CONFIGURATION_READY[kind] for kind in kinds])
    waiting = [plan for plan in plans if not plan.shares]
    if not waiting:
        conditions.set(INGRESS_READY, *routes)
        return
    kind = waiting[0].kind
    conditions.set(
        INGRESS_READY, "Unknown", f"{kind.capitalize()}NotReady", f"{kind.capitalize()} ingress not created"
    )


def _clear_others(conditions: Conditions, plans: Sequence[ComponentPlan]) -> None:
    here = {plan.kind for plan in plans}
    for types in (COMPONENT_READY, ROUTE_READY, CONFIGURATION_READY):
        conditions.clear(*(type for kind, type in types.items() if kind not in here and kind != PREDICTOR))
    conditions.clear("CanaryPredictorReady")


def _model_status(world: World, plans: Sequence[ComponentPlan], refused: Sequence[Refused]) -> Object:
    before = (world.isvc.get("status") or {}).get("modelStatus") or {}
    now = world.context.now()
    first = next((one for one in refused if one.kind == PREDICTOR), None)
    if first is not None:
        return invalid_spec(before, first.reason, first.failure or first.message, now)
    predictor = next(plan for plan in plans if plan.kind == PREDICTOR)
    created = predictor.created
    return model_status(
        before,
        created.pods if created else (),
        revision=predictor.rollout.created,
        is_loaded=created is not None and created.status == TRUE,
        trouble=created.trouble if created else None,
        now=now,
    )
