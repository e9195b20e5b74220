"""Bring an InferenceService in default mode closer to its spec: revisions, their traffic, its addresses, its status.

A reconcile makes the revision that is missing, then writes what follows from the revisions that there are: which stay,
who gets traffic (component_plan.py), Services and routes (routing/), the status. Scaling alone changes a Deployment's
replicas after it was made; of a Deployment that is there only labels and annotations are written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.ml.serving.kinds import (
    ENABLE_TAG_ROUTING,
    INFERENCE_SERVICES,
    PREDICTOR,
    REVISION_LABEL,
    ROUTING_STATE,
)
from proa.ml.serving.operator.access import make_files
from proa.ml.serving.operator.children import Changes, NotOwned, carry_out, create, owned, plan_children
from proa.ml.serving.operator.choosing import Chosen, choose
from proa.ml.serving.operator.component_plan import (
    ComponentPlan,
    component_status,
    plan_component,
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
from proa.ml.serving.operator.gateway import ensure_gateway
from proa.ml.serving.operator.model_status import invalid_spec, model_status
from proa.ml.serving.operator.revision_states import see_revisions
from proa.ml.serving.operator.status_writing import components_of, refuse, stays_as_it_is, write_status
from proa.ml.serving.operator.world import World
from proa.ml.serving.revisions.autoscalers import make_autoscaler
from proa.ml.serving.revisions.merging import Merged, merge_component
from proa.ml.serving.revisions.model_files import InvalidStorage
from proa.ml.serving.revisions.names import (
    HASH_ANNOTATION,
    READY_ANNOTATION,
    component_labels,
    component_name,
    deployment_name,
    number_of,
    revision_labels,
    revision_name,
    revision_selector,
)
from proa.ml.serving.revisions.sources import Sources, find_sources
from proa.ml.serving.revisions.template import TemplateSettings, fingerprint, make_template, pod_ports
from proa.ml.serving.revisions.words import CannotMake
from proa.ml.serving.routing.addresses import (
    Readiness,
    address_of,
    config_for,
    routes_readiness,
    service_url,
    url_of,
)
from proa.ml.serving.routing.hosts import internal_url
from proa.ml.serving.routing.parts import Backend, BadRoute, Component, Ports, Routing
from proa.ml.serving.routing.revisions import plan_routing
from proa.ml.serving.scaling.annotations import (
    CLASS,
    HPA,
    initial_replicas,
    read_scaling,
    scaling_annotations,
)
from proa.objects import meta
from proa.objects.errors import Forbidden, Invalid
from proa.objects.resource import DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS, SERVICES, Resource
from proa.reconcile.protocol import DONE, Result

AGAIN_SECONDS = 10.0
"""After what only somebody else can put right, and nothing that is watched tells of."""


class Refused(NamedTuple):
    """Why a component has no revision as its spec asks for."""

    kind: str
    reason: str
    message: str
    failure: str = ""
    """What the model's lastFailureInfo says, where it is not the same."""


class Wanted(NamedTuple):
    """What a component's revision is made of."""

    merged: Merged
    sources: Sources
    hash: str


async def reconcile_revisions(world: World) -> Result:
    """Bring the InferenceService one step on; raise ApiError."""
    isvc = world.isvc
    chosen = choose(isvc, KNATIVE, *world.runtimes(), world.configuration.resources)
    deployments = world.owned(DEPLOYMENTS)
    outcomes = await asyncio.gather(
        *(_ensure_revision(world, chosen, kind, deployments) for kind in components_of(chosen.isvc))
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
    except (NotOwned, Forbidden, Invalid) as error:
        status = refuse(isvc, type(error).__name__, str(error), world.context.now())
        await write_status(world.context, isvc, status)
        return Result(AGAIN_SECONDS)
    await write_status(world.context, isvc, _status(world, chosen, plans, routing, refused))
    return Result(AGAIN_SECONDS) if any(one.reason == "NotMade" for one in refused) else DONE


async def _ensure_revision(
    world: World, chosen: Chosen, kind: str, deployments: Sequence[Object]
) -> Object | Refused | None:
    """Return the Deployment of a new revision, None where the latest is as the spec says."""
    if chosen.refusal is not None:
        if kind != PREDICTOR:
            return None
        return Refused(kind, chosen.refusal.reason, chosen.refusal.message, chosen.refusal.failure)
    own = [one for one in deployments if _is_of(one, world.isvc, kind)]
    latest = max(own, key=lambda one: number_of(meta.labels(one)[REVISION_LABEL]), default=None)
    if latest is not None and stays_as_it_is(world.isvc):
        return None
    try:
        wanted = _wanted(world, chosen, kind)
        if latest is not None and meta.annotations(latest).get(HASH_ANNOTATION) == wanted.hash:
            return None
        return await _make_revision(world, chosen, kind, wanted, _next_number(world.isvc, kind, latest))
    except CannotMake as error:
        return Refused(kind, error.reason, error.message, error.failure)
    except InvalidStorage as error:
        return Refused(kind, "InvalidPredictorSpec", str(error))
    except NotOwned as error:
        return Refused(kind, "NotMade", str(error))
    except (Invalid, Forbidden) as error:
        return Refused(kind, "NotMade", f"the revision's Deployment is refused: {error.message}")


def _wanted(world: World, chosen: Chosen, kind: str) -> Wanted:
    runtime = chosen.runtime if kind == PREDICTOR else None
    merged = merge_component(chosen.isvc, kind, runtime, world.configuration.disallowed_annotations)
    sources = find_sources(chosen.isvc, kind)
    return Wanted(merged, sources, fingerprint(chosen.isvc, kind, merged, sources))


async def _make_revision(world: World, chosen: Chosen, kind: str, wanted: Wanted, number: int) -> Object:
    isvc, configuration = chosen.isvc, world.configuration
    name = component_name(isvc, kind)
    revision = revision_name(name, number)
    files = await make_files(
        world.client,
        world.settings,
        configuration,
        isvc,
        wanted.merged,
        wanted.sources,
        f"{revision}-{wanted.hash}",
        kind,
    )
    labels = revision_labels(name, number)
    settings = TemplateSettings(world.settings.image, configuration.agent_resources, configuration.log_url)
    template = make_template(isvc, kind, wanted.merged, files, settings, labels=labels, has_revisions=True)
    deployment: Object = {
        "apiVersion": DEPLOYMENTS.api_version,
        "kind": DEPLOYMENTS.kind,
        "metadata": {
            "name": deployment_name(revision),
            "namespace": meta.namespace(isvc),
            "labels": {**component_labels(isvc, kind), **labels, ROUTING_STATE: "active"},
            "annotations": {HASH_ANNOTATION: wanted.hash, **_scaling(isvc, kind)},
            "ownerReferences": [meta.make_owner_reference(isvc, INFERENCE_SERVICES)],
        },
    }
    deployment["spec"] = {
        "replicas": initial_replicas(read_scaling(deployment)),
        "selector": {"matchLabels": revision_selector(revision)},
        "progressDeadlineSeconds": 600,
        "template": template,
    }
    return await create(world.client, world.isvc, DEPLOYMENTS, deployment, meta.namespace(isvc))


def _plan(world: World, chosen: Chosen, kind: str, deployments: Sequence[Object]) -> ComponentPlan:
    isvc = world.isvc
    before = ((isvc.get("status") or {}).get("components") or {}).get(kind) or {}
    states = see_revisions((one for one in deployments if _is_of(one, isvc, kind)), world.pods)
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
    autoscalers = _changes(world, HORIZONTAL_POD_AUTOSCALERS, _make_autoscalers(chosen, plans))
    await asyncio.gather(
        ensure_gateway(world),
        carry_out(client, isvc, SERVICES, services.without_deletes()),
        carry_out(client, isvc, HORIZONTAL_POD_AUTOSCALERS, autoscalers),
        carry_out(client, isvc, world.route_kind, _changes(world, world.route_kind, routes)),
        *(_tell_scaling(world, chosen, plan) for plan in plans),
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
    return routes_readiness(routing.routes, found, world.gateway, world.settings.way).status == TRUE


def _make_autoscalers(chosen: Chosen, plans: Sequence[ComponentPlan]) -> list[Object]:
    """Return the HPAs of revisions that requests go to, where these are scaled by what pods use."""
    return [
        {**made, "metadata": {**made["metadata"], "labels": component_labels(chosen.isvc, plan.kind)}}
        for plan in plans
        if _scaling(chosen.isvc, plan.kind).get(CLASS) == HPA
        for revision in dict.fromkeys(share.revision for share in plan.routed)
        for made in [make_autoscaler(revision, deployment_name(revision), chosen.isvc["spec"][plan.kind])]
    ]


async def _tell_scaling(world: World, chosen: Chosen, plan: ComponentPlan) -> None:
    """Note on each revision's Deployment what scaling goes by, and when it was ready first."""
    scaling = _scaling(chosen.isvc, plan.kind)
    routed = {share.revision for share in plan.routed}
    for state in plan.kept:
        annotations: dict[str, str | None] = dict(scaling)
        before = meta.annotations(state.deployment)
        annotations |= {key: None for key in before if key not in scaling and _is_of_scaling(key)}
        if state.is_first_ready:
            annotations[READY_ANNOTATION] = meta.format_time(world.context.now())
        is_active = state.name in routed or (
            state.name == plan.rollout.created and state.name != plan.rollout.ready
        )
        labels = {ROUTING_STATE: "active" if is_active else "reserve"}
        changed = {key: value for key, value in annotations.items() if before.get(key) != value}
        if changed or any(meta.labels(state.deployment).get(key) != value for key, value in labels.items()):
            patch = {"metadata": {"labels": labels, "annotations": changed}}
            name, namespace = meta.name(state.deployment), meta.namespace(state.deployment)
            await world.client.patch(DEPLOYMENTS, name, patch, namespace)


def _status(
    world: World, chosen: Chosen, plans: Sequence[ComponentPlan], routing: Routing, refused: Sequence[Refused]
) -> Object:
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
        "modelStatus": _model_status(world, plans, refused, conditions),
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


def _model_status(
    world: World, plans: Sequence[ComponentPlan], refused: Sequence[Refused], conditions: Conditions
) -> Object:
    before = (world.isvc.get("status") or {}).get("modelStatus") or {}
    now = world.context.now()
    if refused:
        first = refused[0]
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


def _scaling(isvc: Object, kind: str) -> dict[str, str]:
    said = isvc["spec"][kind]
    annotations = {**meta.annotations(isvc), **(said.get("annotations") or {})}
    return scaling_annotations(said, annotations)


def _is_of_scaling(key: str) -> bool:
    return key.startswith(("autoscaling.knative.dev/", "proa.local/"))


def _next_number(isvc: Object, kind: str, latest: Object | None) -> int:
    told = ((isvc.get("status") or {}).get("components") or {}).get(kind) or {}
    numbers = [number_of(told.get("latestCreatedRevision") or "")]
    if latest is not None:
        numbers.append(number_of(meta.labels(latest)[REVISION_LABEL]))
    return max(numbers) + 1


def _is_of(deployment: Object, isvc: Object, kind: str) -> bool:
    """Tell whether a Deployment is a revision's of the component."""
    labels = meta.labels(deployment)
    return REVISION_LABEL in labels and labels.get("component") == kind and not meta.is_deleting(deployment)
