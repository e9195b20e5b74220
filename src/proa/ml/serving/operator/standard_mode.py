"""Bring an InferenceService in Standard mode closer to its spec: a Deployment a component, HPAs, canaries, addresses.

A Deployment's template is made again only when what makes it has changed (its hash tells); its replicas are the HPA's,
but for those that nobody scales. A canary gets its traffic when it has a pod that is available, and the stable one
gives up replicas to it only then. A predictor of another name serves on until the one that takes its place is ready.
Source: pkg/controller/v1beta1/inferenceservice/reconcilers/raw of KServe; PropagateRawStatus of its
pkg/apis/serving/v1beta1/inference_service_status.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.ml.serving.kinds import COMPONENT_LABEL, PREDICTOR, SERVICE_LABEL
from proa.ml.serving.operator.access import make_files
from proa.ml.serving.operator.children import Changes, NotOwned, carry_out, owned, plan_children
from proa.ml.serving.operator.choosing import Chosen, choose, choose_for
from proa.ml.serving.operator.configuration import STANDARD
from proa.ml.serving.operator.gateway import ensure_gateway
from proa.ml.serving.operator.standard_status import Seen, make_status
from proa.ml.serving.operator.status_writing import refuse, stays_as_it_is, write_status
from proa.ml.serving.operator.world import World
from proa.ml.serving.records import Share
from proa.ml.serving.revisions.autoscalers import make_autoscaler
from proa.ml.serving.revisions.merging import merge_component
from proa.ml.serving.revisions.model_files import InvalidStorage
from proa.ml.serving.revisions.names import HASH_ANNOTATION, component_labels, standard_selector
from proa.ml.serving.revisions.sources import find_sources
from proa.ml.serving.revisions.template import TemplateSettings, fingerprint, make_template, pod_ports
from proa.ml.serving.revisions.variants import (
    BY_HPA,
    BY_NOBODY,
    Variant,
    list_variants,
    stable_min_replicas,
)
from proa.ml.serving.revisions.words import CannotMake
from proa.ml.serving.routing.addresses import are_carried_out
from proa.ml.serving.routing.parts import Backend, BadRoute, Component, Ports, Routing
from proa.ml.serving.routing.standard import plan_standard_routing
from proa.objects import meta
from proa.objects.errors import BadRequest, Forbidden, Invalid
from proa.objects.resource import DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS, SERVICES, Resource
from proa.reconcile.protocol import DONE, Result

AGAIN_SECONDS = 10.0
DEFAULT_STRATEGY: Object = {
    "type": "RollingUpdate",
    "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
}
CANARY_ANNOTATION = "serving.proa.dev/canary"
"""On a Deployment: the name of the canary that it is, "" for none."""
_SERVES = (DEPLOYMENTS, SERVICES)
"""What goes only when others serve in its place."""
_MADE_ONCE = ("template", "selector", "progressDeadlineSeconds")
"""Of a Deployment's spec: what the hash of what makes it stands for."""


class Made(NamedTuple):
    """A variant, its Deployment as it is to be, and its pods' spec; without a template what is there keeps its own."""

    variant: Variant
    deployment: Object
    pod_spec: Object


async def reconcile_standard(world: World) -> Result:
    """Bring the InferenceService one step on; raise ApiError."""
    isvc, now = world.isvc, world.context.now()
    chosen = choose(isvc, STANDARD, *world.runtimes(), world.configuration.resources)
    there = {meta.name(one): one for one in world.owned(DEPLOYMENTS)}
    try:
        if chosen.refusal is not None:
            raise chosen.refusal
        variants = list_variants(chosen.isvc)
        made = await asyncio.gather(*(_make(world, chosen, one, there.get(one.name)) for one in variants))
        ready = {name for name, one in there.items() if (one.get("status") or {}).get("availableReplicas")}
        components = _components(isvc, made, ready, _former(there, made, ready))
        routing = plan_standard_routing(isvc, components, world.configuration.ingress, world.settings.way)
        await _carry_out(world, made, ready, routing)
    except CannotMake as error:
        await write_status(world.context, isvc, refuse(isvc, error.reason, error.message, now, error.failure))
        return DONE
    except (InvalidStorage, BadRoute) as error:
        await write_status(world.context, isvc, refuse(isvc, "InvalidPredictorSpec", str(error), now))
        return DONE
    except (NotOwned, Forbidden, Invalid, BadRequest) as error:
        await write_status(world.context, isvc, refuse(isvc, type(error).__name__, str(error), now))
        return Result(AGAIN_SECONDS)
    now_there = {meta.name(one): one for one in world.owned(DEPLOYMENTS)}
    seen = [Seen(one, now_there.get(one.name), _pods_of(world, one)) for one in variants]
    await write_status(world.context, isvc, make_status(world, chosen, seen, routing))
    return DONE


async def _make(world: World, chosen: Chosen, variant: Variant, there: Object | None) -> Made:
    """Return the variant's Deployment; one that is there and made of the same stays. Raises CannotMake and the like."""
    of = choose_for(variant.isvc, *world.runtimes()) if variant.canary else chosen
    if of.refusal is not None:
        raise of.refusal
    kind = variant.kind
    runtime = of.runtime if kind == PREDICTOR else None
    merged = merge_component(of.isvc, kind, runtime, world.configuration.disallowed_annotations)
    sources = find_sources(of.isvc, kind)
    digest = fingerprint(of.isvc, kind, merged, sources)
    if there is not None and stays_as_it_is(world.isvc):
        digest = meta.annotations(there).get(HASH_ANNOTATION, "")
    selector = standard_selector(variant.name)
    metadata: Object = {
        "name": variant.name,
        "labels": {**merged.labels, **component_labels(world.isvc, kind), **selector},
        "annotations": {HASH_ANNOTATION: digest, CANARY_ANNOTATION: variant.canary},
    }
    spec: Object = {"strategy": variant.spec.get("deploymentStrategy") or DEFAULT_STRATEGY}
    if variant.scaled_by == BY_NOBODY or there is None:
        spec["replicas"] = variant.replicas
    if there is not None and meta.annotations(there).get(HASH_ANNOTATION, "") == digest:
        return Made(variant, {"metadata": metadata, "spec": spec}, there["spec"]["template"]["spec"])
    files = await make_files(
        world.client,
        world.settings,
        world.configuration,
        of.isvc,
        merged,
        sources,
        f"{variant.name}-{digest}",
        kind,
    )
    config = world.configuration
    settings = TemplateSettings(world.settings.image, config.agent_resources, config.log_url)
    template = make_template(of.isvc, kind, merged, files, settings, labels=selector, has_revisions=False)
    spec |= {"selector": {"matchLabels": selector}, "progressDeadlineSeconds": 600, "template": template}
    return Made(variant, {"metadata": metadata, "spec": spec}, template["spec"])


def _former(there: Mapping[str, Object], made: Sequence[Made], ready: set[str]) -> Backend | None:
    """Return the predictor of another name that serves until the one that is wanted is ready, None for none."""
    names = {one.variant.name for one in made}
    if made[0].variant.name in ready:
        return None
    found = [
        one
        for name, one in there.items()
        if name in ready - names
        and meta.labels(one).get(COMPONENT_LABEL) == PREDICTOR
        and not meta.annotations(one).get(CANARY_ANNOTATION)
    ]
    newest = max(found, key=lambda one: str(one["metadata"].get("creationTimestamp")), default=None)
    return None if newest is None else _backend(meta.name(newest), newest["spec"]["template"]["spec"])


def _components(
    isvc: Object, made: Sequence[Made], ready: set[str], former: Backend | None
) -> tuple[Component, ...]:
    """Return where requests may go: a canary once it is ready; a component that was added once it was ready."""
    status = isvc.get("status") or {}
    told = status.get("components") or {}
    kinds = dict.fromkeys(one.variant.kind for one in made)
    found = (
        _component(
            [one for one in made if one.variant.kind == kind], ready, former if kind == PREDICTOR else None
        )
        for kind in kinds
    )
    return tuple(
        one
        for one in found
        if one.kind == PREDICTOR
        or not status.get("url")
        or (told.get(one.kind) or {}).get("url")
        or one.backends[0].name in ready
    )


def _component(made: Sequence[Made], ready: set[str], former: Backend | None) -> Component:
    """Return the component of these variants, the first of which is no canary; `former` serves in its place."""
    stable = made[0].variant
    canaries = [one.variant for one in made[1:] if one.variant.name in ready and one.variant.percent]
    rest = 100 - sum(one.percent for one in canaries)
    main = Share(former.name, rest, False) if former else Share(stable.name, rest, True)
    shares = (main, *(Share(one.name, one.percent, False) for one in canaries))
    backends = (*(_backend(one.variant.name, one.pod_spec) for one in made), *([former] if former else ()))
    return Component(stable.kind, backends, shares, stable.spec.get("timeout"))


def _backend(name: str, pod_spec: Object) -> Backend:
    ports = pod_ports(pod_spec)
    return Backend(name, tuple(standard_selector(name).items()), Ports(ports.http, ports.grpc))


async def _carry_out(world: World, made: Sequence[Made], ready: set[str], routing: Routing) -> None:
    isvc, client = world.isvc, world.client
    canaries = [one.variant for one in made if one.variant.canary]
    deployments, autoscalers = [], []
    for one in made:
        child = {
            "apiVersion": DEPLOYMENTS.api_version,
            "kind": DEPLOYMENTS.kind,
            **one.deployment,
        }
        deployments.append(child)
        if one.variant.scaled_by == BY_HPA:
            least = stable_min_replicas(one.variant, canaries, ready)
            autoscalers.append(
                _labelled(one, make_autoscaler(one.variant.name, one.variant.name, one.variant.spec, least))
            )
    routes = routing.routes if world.settings.way == "gateway" else routing.ingresses
    wanted = {
        DEPLOYMENTS: deployments,
        SERVICES: routing.services,
        HORIZONTAL_POD_AUTOSCALERS: autoscalers,
        world.route_kind: routes,
    }
    changes = {kind: _changes(world, kind, objects) for kind, objects in wanted.items()}
    await asyncio.gather(
        ensure_gateway(world),
        *(
            carry_out(client, isvc, kind, found.without_deletes() if kind in _SERVES else found)
            for kind, found in changes.items()
        ),
    )
    is_replaced = {one.variant.name for one in made if not one.variant.canary} <= ready
    if is_replaced and _are_carried_out(world, routing):
        for kind in _SERVES:
            await carry_out(client, isvc, kind, plan_children((), changes[kind].delete))


def _changes(world: World, kind: Resource, wanted: Sequence[Object]) -> Changes:
    return plan_children(
        [owned(world.isvc, one, unhashed=_MADE_ONCE) for one in wanted],
        world.owned(kind),
        kept_fields=("replicas", *_MADE_ONCE) if kind == DEPLOYMENTS else (),
        is_checked=kind not in (DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS),
    )


def _are_carried_out(world: World, routing: Routing) -> bool:
    found = world.owned(world.route_kind)
    return are_carried_out(routing.routes, found, world.gateway, world.settings.way)


def _labelled(made: Made, child: Object) -> Object:
    labels = {SERVICE_LABEL: made.variant.isvc["metadata"]["name"]}
    return {**child, "metadata": {**child["metadata"], "labels": labels}}


def _pods_of(world: World, variant: Variant) -> list[Object]:
    selector = standard_selector(variant.name)
    return [
        pod
        for pod in world.pods
        if selector.items() <= meta.labels(pod).items() and not meta.is_deleting(pod)
    ]
