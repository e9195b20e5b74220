"""Have InferenceGraphs answered: a router's Deployment for each, its addresses, a status that tells.

Watches InferenceGraphs, what belongs to them (Deployments, pods, Services, HTTPRoutes or Ingresses, HPAs), the
InferenceServices that steps name, the configuration and the Gateway; writes what belongs to graphs, their status and
events. In default mode the autoscaler finds the router by its revision labels, and the activator with it.
Source: KServe's pkg/controller/v1alpha1/inferencegraph/controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from proa.client.protocol import Object
from proa.ml.serving.graph.definition import BadGraph, read_graph, service_names
from proa.ml.serving.graph.deployment import (
    make_deployment,
    make_graph_autoscaler,
    revision_of,
    selector_of,
)
from proa.ml.serving.graph.status import READY, Found, make_refusal, make_status, make_stopped
from proa.ml.serving.graph.targets import NotReady, resolve
from proa.ml.serving.kinds import (
    CLUSTER_SERVING_RUNTIMES,
    CONFIG_MAP,
    GRAPH_LABEL,
    INFERENCE_GRAPHS,
    INFERENCE_SERVICES,
    NAMESPACE,
    SERVING_RUNTIMES,
    STOP,
)
from proa.ml.serving.operator.children import Changes, NotOwned, carry_out, owned, plan_children
from proa.ml.serving.operator.configuration import KNATIVE, mode_of, read_configuration
from proa.ml.serving.operator.gateway import ensure_gateway
from proa.ml.serving.operator.inference_service import CONFIG_FIELDS
from proa.ml.serving.operator.world import World
from proa.ml.serving.records import Share
from proa.ml.serving.routing.addresses import routes_readiness, url_of
from proa.ml.serving.routing.config import BadConfig
from proa.ml.serving.routing.graphs import plan_graph_routing
from proa.ml.serving.routing.parts import GATEWAYS, HTTP_ROUTES, Backend, BadRoute, Component, Routing
from proa.ml.serving.settings import ServingSettings
from proa.objects import meta
from proa.objects.errors import BadRequest, Forbidden, Invalid, NotFound
from proa.objects.resource import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    INGRESSES,
    PODS,
    SERVICES,
    Resource,
)
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch

AGAIN_SECONDS = 10.0
_SCALING = ("autoscaling.knative.dev/", "proa.local/")


def make_controllers(settings: ServingSettings) -> Sequence[Any]:
    """Return what reconciles InferenceGraphs."""
    return (InferenceGraphController(settings),)


class GraphWorld(World):
    """What a reconcile of a graph sees; `isvc` is the graph."""

    def owned(self, resource: Resource) -> list[Object]:
        """Return what the graph controls, by name."""
        cache = self.context.caches(resource, "", GRAPH_LABEL)
        return sorted(cache.by_index("controller", meta.uid(self.isvc)), key=meta.name)


def _keys_of_child(child: Object) -> Iterable[Key]:
    if name := meta.labels(child).get(GRAPH_LABEL):
        yield Key(meta.namespace(child), name)


def _keys_of_service(service: Object, caches: Caches) -> Iterable[Key]:
    for graph in caches(INFERENCE_GRAPHS).by_index("namespace", meta.namespace(service)):
        if meta.name(service) in service_names(graph["spec"]):
            yield Key(meta.namespace(graph), meta.name(graph))


def _keys_of_all(_: Object, caches: Caches) -> Iterable[Key]:
    return [Key(meta.namespace(one), meta.name(one)) for one in caches(INFERENCE_GRAPHS).list()]


def _same_target(old: Object, new: Object) -> bool:
    return bool(old["spec"] == new["spec"] and _address(old) == _address(new))


def _address(service: Object) -> Any:
    return (service.get("status") or {}).get("address")


def _no_runtime_matters(old: Object, new: Object) -> bool:
    return bool(old["spec"].get("protocolVersions") == new["spec"].get("protocolVersions"))


class InferenceGraphController:
    """`reconcile.protocol.Controller`."""

    NAME = "inferencegraph"
    COMPONENT = "v1alpha1Controllers"
    ACCOUNT = "serving-operator"

    def __init__(self, settings: ServingSettings) -> None:
        self._settings = settings
        routes = HTTP_ROUTES if settings.way == "gateway" else INGRESSES
        children = (DEPLOYMENTS, PODS, SERVICES, HORIZONTAL_POD_AUTOSCALERS, routes)
        self.WATCHES: Sequence[Watch] = (
            Watch(INFERENCE_GRAPHS),
            *(Watch(kind, keys_of=_keys_of_child, label_selector=GRAPH_LABEL) for kind in children),
            Watch(INFERENCE_SERVICES, find_keys=_keys_of_service, ignores=_same_target),
            Watch(SERVING_RUNTIMES, find_keys=_keys_of_all, ignores=_no_runtime_matters),
            Watch(CLUSTER_SERVING_RUNTIMES, find_keys=_keys_of_all, ignores=_no_runtime_matters),
            Watch(CONFIG_MAPS, find_keys=_keys_of_all, field_selector=CONFIG_FIELDS),
            *([Watch(GATEWAYS, find_keys=_keys_of_all)] if settings.way == "gateway" else []),
        )

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Bring one graph closer to what it says."""
        found = context.caches(INFERENCE_GRAPHS).get(key.name, key.namespace)
        if found is None or meta.is_deleting(found):
            return DONE
        graph = {**found, "kind": INFERENCE_GRAPHS.kind}
        now = context.now()
        try:
            configuration = read_configuration(
                context.caches(CONFIG_MAPS, CONFIG_FIELDS).get(CONFIG_MAP, NAMESPACE)
            )
        except BadConfig as error:
            await _write(context, graph, make_refusal(graph, "InvalidConfiguration", str(error), "", now))
            return DONE
        world = GraphWorld(context, self._settings, graph, configuration)
        mode = mode_of(graph, configuration)
        if meta.annotations(graph).get(STOP, "").lower() == "true":
            await _have_children(world, Routing(), None, None, is_scaled=False)
            await _write(context, graph, make_stopped(graph, mode, now))
            return DONE
        try:
            status = await _run(world, mode)
        except (BadGraph, BadRoute) as error:
            status = make_refusal(graph, "InvalidSpec", str(error), mode, now)
        except NotReady as error:
            status = make_refusal(graph, "ServiceNotReady", str(error), mode, now)
        except (NotOwned, Forbidden, Invalid, BadRequest) as error:
            await _write(context, graph, make_refusal(graph, type(error).__name__, str(error), mode, now))
            return Result(AGAIN_SECONDS)
        await _write(context, graph, status)
        return DONE


async def _run(world: World, mode: str) -> Object:
    """Have the router run, and return the graph's status; raise what refuses it."""
    graph, context, configuration = world.isvc, world.context, world.configuration
    has_revisions = mode == KNATIVE
    read_graph(graph["spec"])
    spec = resolve(graph["spec"], _service_finder(world), _runtime_finder(world))
    wanted = make_deployment(
        graph, spec, configuration.router, world.settings.image, has_revisions=has_revisions
    )
    name = revision_of(graph) if has_revisions else meta.name(graph)
    selector = selector_of(graph, has_revisions=has_revisions)
    backend = Backend(name, tuple(selector.items()))
    router = Component("", (backend,), (Share(name, 100, is_latest=True),), graph["spec"].get("timeout"))
    way = world.settings.way
    routing = plan_graph_routing(graph, router, configuration.ingress, way, has_revisions=has_revisions)
    autoscaler = make_graph_autoscaler(graph, wanted, has_revisions=has_revisions)
    await ensure_gateway(world)
    is_scaled = has_revisions or autoscaler is not None
    await _have_children(world, routing, wanted, autoscaler, is_scaled=is_scaled)
    deployment = next((one for one in world.owned(DEPLOYMENTS) if meta.name(one) == meta.name(wanted)), None)
    pods = [
        pod
        for pod in context.caches(PODS, "", GRAPH_LABEL).by_index(
            "label", f"{GRAPH_LABEL}={meta.name(graph)}"
        )
        if meta.namespace(pod) == meta.namespace(graph) and not meta.is_deleting(pod)
    ]
    routes = routes_readiness(routing.routes, world.owned(world.route_kind), world.gateway, way)
    url = url_of(graph, meta.name(graph), configuration.ingress, world.gateway)
    found = Found(deployment, tuple(pods), routes)
    return make_status(graph, found, url, mode, context.now(), has_revisions=has_revisions)


def _service_finder(world: World) -> Any:
    cache, namespace = world.context.caches(INFERENCE_SERVICES), meta.namespace(world.isvc)
    return lambda name: cache.get(name, namespace)


def _runtime_finder(world: World) -> Any:
    caches, namespace = world.context.caches, meta.namespace(world.isvc)
    return lambda name: (
        caches(SERVING_RUNTIMES).get(name, namespace) or caches(CLUSTER_SERVING_RUNTIMES).get(name)
    )


async def _have_children(
    world: World, routing: Routing, deployment: Object | None, autoscaler: Object | None, *, is_scaled: bool
) -> None:
    """See that what belongs to the graph is as wanted, and nothing else; raise NotOwned, ApiError.

    Where it `is_scaled` the replicas are somebody else's once there is a Deployment.
    """
    graph = world.isvc
    wanted: Sequence[tuple[Resource, Sequence[Object]]] = (
        (SERVICES, routing.services),
        (DEPLOYMENTS, [deployment] if deployment else []),
        (HORIZONTAL_POD_AUTOSCALERS, [autoscaler] if autoscaler else []),
        (world.route_kind, routing.routes or routing.ingresses),
    )
    for kind, children in wanted:
        unhashed = ("replicas",) if kind == DEPLOYMENTS and is_scaled else ()
        made = [owned(graph, one, unhashed=unhashed, kind=INFERENCE_GRAPHS) for one in children]
        there = world.owned(kind)
        if kind == DEPLOYMENTS and is_scaled:
            made = [_with_scale(one, there) for one in made]
        changes = plan_children(made, there, is_checked=kind not in (DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS))
        await carry_out(world.client, graph, kind, _without_old_scaling(changes, made))


def _with_scale(wanted: Object, there: Sequence[Object]) -> Object:
    """Return a Deployment with the replicas that somebody else has set since it was made."""
    known = next((one for one in there if meta.name(one) == meta.name(wanted)), None)
    if known is None:
        return wanted
    return {**wanted, "spec": {**wanted["spec"], "replicas": known["spec"].get("replicas", 1)}}


def _without_old_scaling(changes: Changes, made: Sequence[Object]) -> Changes:
    """Forget annotations about scaling that are no longer wanted: an update adds to those that are there."""
    wanted = {meta.name(one): meta.annotations(one) for one in made}
    updates = []
    for one in changes.update:
        annotations = {
            key: value
            for key, value in meta.annotations(one).items()
            if not key.startswith(_SCALING) or key in wanted.get(meta.name(one), {})
        }
        updates.append({**one, "metadata": {**one["metadata"], "annotations": annotations}})
    return changes._replace(update=tuple(updates))


async def _write(context: Context, graph: Object, status: Object) -> None:
    """Write the status where it has changed, and tell when the graph becomes Ready, or is no more."""
    if status == (graph.get("status") or {}):
        return
    was_ready = meta.has_condition(graph, READY)
    try:
        written = await context.client.update(INFERENCE_GRAPHS, {**graph, "status": status}, "status")
    except NotFound:
        return
    is_ready, name = meta.has_condition(written, READY), meta.name(graph)
    if is_ready and not was_ready:
        context.events.event(graph, "Normal", "InferenceGraphReady", f"InferenceGraph [{name}] is Ready")
    elif was_ready and not is_ready:
        message = f"InferenceGraph [{name}] is no longer Ready"
        context.events.event(graph, "Warning", "InferenceGraphNotReady", message)
