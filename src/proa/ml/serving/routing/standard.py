"""Decide what an InferenceService in Standard mode needs to be reached: a Service a Deployment, and routes to these.

Inside of the cluster its Services are its addresses. Follows KServe's httproute_reconciler.go and
service_reconciler.go: canaries (spec.canary) are further backends of the predictor, with their part of its weight.
"""

from __future__ import annotations

from proa.ml.serving.records import Object
from proa.ml.serving.routing.config import IngressConfig
from proa.ml.serving.routing.hosts import additional_hosts, external_host, is_cluster_local, url_path
from proa.ml.serving.routing.ingresses import make_ingress
from proa.ml.serving.routing.parts import (
    Component,
    Routing,
    Way,
    component_name,
    entry_of,
    explainer_of,
)
from proa.ml.serving.routing.routes import Rules, make_route
from proa.ml.serving.routing.services import make_pods_service
from proa.objects import meta


def plan_standard_routing(
    service: Object, components: tuple[Component, ...], config: IngressConfig, way: Way
) -> Routing:
    """Return all that has to be there now; routes only once each component has a share. Raises BadRoute."""
    services = tuple(
        make_pods_service(service, backend.name, component.kind, backend)
        for component in components
        for backend in component.backends
    )
    is_whole = bool(components) and all(component.shares for component in components)
    if not is_whole or is_cluster_local(service, config):
        return Routing(services)
    if way == "ingress":
        return Routing(services, (), (make_ingress(service, components, config),))
    return Routing(services, tuple(_make_routes(service, components, config)))


def _make_routes(service: Object, components: tuple[Component, ...], config: IngressConfig) -> list[Object]:
    rules = Rules(service, config, has_revisions=False)
    name = meta.name(service)
    routes = []
    for component in components:
        host_name = component_name(name, component.kind)
        hosts = [external_host(host_name, service, config)]
        routes.append(
            make_route(service, host_name, component.kind, hosts, rules.of_component(component), config)
        )
    entry, explainer = entry_of(components), explainer_of(components)
    host = external_host(name, service, config)
    asked = rules.of_component(entry)
    if explainer is not None:
        asked = rules.of_explainer(explainer) + asked
    routes.append(make_route(service, name, "", [host, *additional_hosts(host, config)], asked, config))
    if path := url_path(service, config):
        below = rules.below_path(entry, path, explainer)
        routes.append(make_route(service, f"{name}-path", "", [config.domain], below, config))
    return routes
