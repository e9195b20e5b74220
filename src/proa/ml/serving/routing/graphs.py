"""Decide what an InferenceGraph needs to be reached: its router's Service, its name, and a route there. Pure.

In default mode its name leads to the gateway, as an InferenceService's does; in Standard mode it is the router's pods.
"""

from __future__ import annotations

from proa.ml.serving.records import Object
from proa.ml.serving.routing.config import IngressConfig
from proa.ml.serving.routing.hosts import additional_hosts, external_host, internal_hosts, is_cluster_local
from proa.ml.serving.routing.ingresses import make_graph_ingress
from proa.ml.serving.routing.parts import Component, Routing, Way
from proa.ml.serving.routing.routes import Rules, make_route
from proa.ml.serving.routing.services import make_alias, make_pods_service, make_revision_service
from proa.objects import meta


def plan_graph_routing(
    graph: Object, router: Component, config: IngressConfig, way: Way, *, has_revisions: bool
) -> Routing:
    """Return all that has to be there; `graph` has its kind. Raises BadRoute."""
    name = meta.name(graph)
    backend = router.main
    is_local = is_cluster_local(graph, config)
    services = [make_revision_service(graph, "", backend)] if has_revisions else []
    has_alias = has_revisions and way == "gateway" and bool(config.local_gateway_service)
    if has_alias:
        services.append(make_alias(graph, name, "", config.local_gateway_service))
    else:
        services.append(make_pods_service(graph, name, "", backend))
    if way == "ingress":
        ingresses = () if is_local else (make_graph_ingress(graph, router, config),)
        return Routing(tuple(services), (), ingresses)
    hosts = []
    if not is_local:
        host = external_host(name, graph, config)
        hosts = [host, *additional_hosts(host, config)]
    if has_alias:
        hosts += internal_hosts(name, meta.namespace(graph))
    if not hosts:
        return Routing(tuple(services))
    rules = Rules(graph, config, has_revisions=has_revisions).of_component(router)
    return Routing(tuple(services), (make_route(graph, name, "", hosts, rules, config),))
