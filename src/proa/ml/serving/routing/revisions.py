"""Decide what an InferenceService of revisions needs to be reached: names that lead to the gateway, routes behind them.

Each of NAME, NAME-predictor, NAME-transformer and NAME-explainer is a host, outside and inside of the cluster; a tag
(latest, prev) has NAME's components' hosts with it in front; each revision is a host of its own outside, and inside
its own Service. Where no gateway carries HTTPRoutes out there is an Ingress, which knows no weights: most of the
traffic's revision gets all. Where the configuration names no gateway for the inside, that is so for names inside.
"""

from __future__ import annotations

from collections.abc import Iterable

from proa.ml.serving.records import Object, Share
from proa.ml.serving.routing.config import IngressConfig
from proa.ml.serving.routing.hosts import (
    additional_hosts,
    external_host,
    internal_hosts,
    is_cluster_local,
    url_path,
)
from proa.ml.serving.routing.ingresses import make_ingress
from proa.ml.serving.routing.parts import (
    Backend,
    Component,
    Routing,
    Way,
    component_name,
    entry_of,
    explainer_of,
)
from proa.ml.serving.routing.routes import Rules, make_route
from proa.ml.serving.routing.services import make_alias, make_pods_service, make_revision_service
from proa.objects import meta


def plan_routing(
    service: Object, components: tuple[Component, ...], config: IngressConfig, way: Way
) -> Routing:
    """Return all that has to be there now; of components without any share only the revisions' Services.

    Nothing leads to the InferenceService itself before each of its components has a share. Raises BadRoute.
    """
    services = [
        make_revision_service(service, component.kind, backend)
        for component in components
        for backend in component.backends
    ]
    serving = tuple(component for component in components if component.shares)
    is_whole = bool(components) and len(serving) == len(components)
    if way == "ingress":
        ingresses = [make_ingress(service, components, config)] if is_whole else []
        if is_cluster_local(service, config):
            ingresses = []
        services += _direct_names(service, serving, is_whole)
        return Routing(tuple(services), (), tuple(ingresses))
    planner = _Planner(service, config)
    routes = [route for component in serving for route in planner.component(component)]
    if is_whole:
        routes += planner.whole(components)
    services += planner.names
    return Routing(tuple(services), tuple(routes))


def _direct_names(service: Object, serving: tuple[Component, ...], is_whole: bool) -> list[Object]:
    name = meta.name(service)
    found = [make_pods_service(service, component_name(name, c.kind), c.kind, c.main) for c in serving]
    return [*found, make_pods_service(service, name, "", entry_of(serving).main)] if is_whole else found


class _Planner:
    """Makes routes, and notes the Services of the names that they are for."""

    def __init__(self, service: Object, config: IngressConfig) -> None:
        self._service = service
        self._config = config
        self._rules = Rules(service, config, has_revisions=True)
        self._is_local = is_cluster_local(service, config)
        self.names: list[Object] = []

    def component(self, component: Component) -> Iterable[Object]:
        """Return the routes of a component: its own, its tags', its revisions'."""
        name = component_name(meta.name(self._service), component.kind)
        rules = self._rules.of_component(component)
        hosts = self._hosts(name, component.kind, component.main)
        if hosts:
            yield make_route(self._service, name, component.kind, hosts, rules, self._config)
        for share in component.shares:
            if share.tag:
                tagged = f"{share.tag}-{name}"
                hosts = self._hosts(tagged, component.kind, component.backend(share.revision))
                if hosts:
                    yield self._only(component, share.revision, tagged, hosts)
        if not self._is_local:
            for backend in component.backends:
                hosts = [external_host(backend.name, self._service, self._config)]
                yield self._only(component, backend.name, backend.name, hosts)

    def whole(self, components: tuple[Component, ...]) -> Iterable[Object]:
        """Return the routes of the InferenceService itself."""
        name = meta.name(self._service)
        entry, explainer = entry_of(components), explainer_of(components)
        hosts = self._hosts(name, "", entry.main)
        if not hosts:
            return
        if not self._is_local:
            hosts += additional_hosts(hosts[0], self._config)
        rules = self._rules.of_component(entry)
        if explainer is not None:
            rules = self._rules.of_explainer(explainer) + rules
        yield make_route(self._service, name, "", hosts, rules, self._config)
        if (path := url_path(self._service, self._config)) and not self._is_local:
            below = self._rules.below_path(entry, path, explainer)
            yield make_route(self._service, f"{name}-path", "", [self._config.domain], below, self._config)

    def _only(self, component: Component, revision: str, name: str, hosts: list[str]) -> Object:
        rules = self._rules.of_component(component, [Share(revision, 100, False)])
        return make_route(self._service, name, component.kind, hosts, rules, self._config)

    def _hosts(self, name: str, kind: str, backend: Backend) -> list[str]:
        """Return the hosts of a name, the one outside first; note its Service, of `backend` if no gateway is told."""
        hosts = [] if self._is_local else [external_host(name, self._service, self._config)]
        target = self._config.local_gateway_service
        if not target:
            self.names.append(make_pods_service(self._service, name, kind, backend))
            return hosts
        self.names.append(make_alias(self._service, name, kind, target))
        return hosts + internal_hosts(name, meta.namespace(self._service))
