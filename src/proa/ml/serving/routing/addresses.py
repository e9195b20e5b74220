"""Say where an InferenceService is reached, and whether requests get there: status.url, address, IngressReady.

A gateway of the embedded cluster tells in its status at which port of the host it is, where that is not the port itself
(`HOST_PORT_TYPE`); of others the port is the scheme's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from proa.ml.serving.kinds import PREDICTOR, TRANSFORMER
from proa.ml.serving.records import Object
from proa.ml.serving.routing.config import IngressConfig
from proa.ml.serving.routing.hosts import external_host, internal_url, is_cluster_local, url_path
from proa.ml.serving.routing.parts import GATEWAY_GROUP, Way
from proa.objects import meta

HOST_PORT_TYPE = "gateway.proa.local/port-{}"
"""The type of a Gateway's address that says `host:port` where one of its ports is to be had."""
NO_GATEWAY_REASON, NOT_FOUND_REASON = "NoResources", "GatewayNotFound"
SCHEME_PORTS = {"http": 80, "https": 443}


class Readiness(NamedTuple):
    """Whether routes are carried out: "True", "False", "Unknown"; the words are those of a condition."""

    status: str
    reason: str = ""
    message: str = ""


def make_gateway(config: IngressConfig, class_name: str) -> Object:
    """Return the Gateway that all routes name, for any namespace's."""
    namespace, name = config.gateway.split("/")
    return {
        "apiVersion": f"{GATEWAY_GROUP}/v1",
        "kind": "Gateway",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "gatewayClassName": class_name,
            "listeners": [
                {
                    "name": "http",
                    "port": 80,
                    "protocol": "HTTP",
                    "allowedRoutes": {"namespaces": {"from": "All"}},
                }
            ],
        },
    }


def config_for(config: IngressConfig, gateway: Object | None) -> IngressConfig:
    """Return the configuration with no gateway for the inside, where the Gateway says that nothing carries it out."""
    programmed = meta.find_condition(gateway or {}, "Programmed") or {}
    if programmed.get("status") == "False" and programmed.get("reason") == NO_GATEWAY_REASON:
        return config._replace(local_gateway_service="")
    return config


def url_of(service: Object, name: str, config: IngressConfig, gateway: Object | None) -> str:
    """Return where `name` (a component, a tag's, a revision) is reached: from inside, if only so. Raises BadRoute."""
    if is_cluster_local(service, config):
        return internal_url(name, meta.namespace(service))
    return f"{config.url_scheme}://{external_host(name, service, config)}{_port_of(config, gateway)}"


def service_url(service: Object, config: IngressConfig, gateway: Object | None) -> str:
    """Return status.url. Raises BadRoute."""
    if (path := url_path(service, config)) and not is_cluster_local(service, config):
        return f"{config.url_scheme}://{config.domain}{_port_of(config, gateway)}{path}"
    return url_of(service, meta.name(service), config, gateway)


def address_of(service: Object, *, is_standard: bool = False) -> str:
    """Return status.address.url: in Standard mode the Service of the transformer, else of the predictor."""
    name = meta.name(service)
    if is_standard:
        spec = service["spec"]
        named = (spec.get(PREDICTOR) or {}).get("name")
        predictor = f"{name}-{named}-{PREDICTOR}" if named else f"{name}-{PREDICTOR}"
        name = f"{name}-{TRANSFORMER}" if spec.get(TRANSFORMER) is not None else predictor
    return internal_url(name, meta.namespace(service))


def _port_of(config: IngressConfig, gateway: Object | None) -> str:
    """Return ":port" where the host offers the scheme's port at another one, else ""."""
    wanted = HOST_PORT_TYPE.format(SCHEME_PORTS.get(config.url_scheme, 0))
    for address in ((gateway or {}).get("status") or {}).get("addresses") or ():
        if address.get("type") == wanted:
            _, _, port = str(address["value"]).rpartition(":")
            return f":{port}"
    return ""


def routes_readiness(
    wanted: Iterable[Object], found: Iterable[Object], gateway: Object | None, way: Way
) -> Readiness:
    """Return whether requests get through, by what the routes' and the Gateway's statuses say.

    `found` are the HTTPRoutes that there are, of the same namespace.
    """
    if way == "ingress":
        return Readiness("True")
    if gateway is None:
        return Readiness("False", NOT_FOUND_REASON, "the Gateway that routes are for does not exist")
    if (told := _trouble(gateway, gateway, ("Accepted", "Programmed"))) is not None:
        return Readiness(told.status, told.reason, f"Gateway {meta.key_of(gateway)}: {told.message}")
    routes = {meta.name(route): route for route in found}
    for route in wanted:
        name = meta.name(route)
        if name not in routes:
            return Readiness("False", "HTTPRouteNotFound", f"HTTPRoute {name} not created")
        if _leads(routes[name]) != _leads(route):
            return Readiness("Unknown", "NotObserved", f"HTTPRoute {name}: it is being changed")
        told = _parents_trouble(routes[name], meta.key_of(gateway))
        if told is not None:
            return Readiness(told.status, told.reason, f"HTTPRoute {name}: {told.message}")
    return Readiness("True")


def are_carried_out(
    wanted: Iterable[Object], found: Iterable[Object], gateway: Object | None, way: Way
) -> bool:
    """Tell whether no request goes any more where the routes do not lead: they are followed, or nobody follows any."""
    told = routes_readiness(wanted, found, gateway, way)
    return told.status == "True" or told.reason in (NO_GATEWAY_REASON, NOT_FOUND_REASON)


def _leads(route: Object) -> list[Any]:
    """Return where a route leads which hosts: a cache may have it as it was before it was written."""
    spec = route.get("spec") or {}
    shares = [
        (number, reference["name"], reference.get("port"), reference.get("weight", 1))
        for number, rule in enumerate(spec.get("rules") or ())
        for reference in rule.get("backendRefs") or ()
    ]
    return [*(spec.get("hostnames") or ()), *shares]


def _parents_trouble(route: Object, gateway: str) -> Readiness | None:
    for parent in (route.get("status") or {}).get("parents") or ():
        reference = parent["parentRef"]
        if f"{reference.get('namespace') or meta.namespace(route)}/{reference['name']}" == gateway:
            return _trouble(parent, route, ("Accepted", "ResolvedRefs"))
    return Readiness("Unknown", "ParentStatusNotAvailable", "no gateway has taken it on yet")


def _trouble(holder: dict[str, Any], obj: Object, types: Iterable[str]) -> Readiness | None:
    """Return what is not well by the conditions of a Gateway, or of one of a route's parents."""
    conditions = {c["type"]: c for c in (holder.get("status") or holder).get("conditions") or ()}
    for kind in types:
        condition = conditions.get(kind)
        if condition is None or condition.get("observedGeneration", 0) < meta.generation(obj):
            return Readiness("Unknown", "NotObserved", f"{kind} is not told of it yet")
        if condition["status"] != "True":
            return Readiness(condition["status"], condition.get("reason", ""), condition.get("message", ""))
    return None
