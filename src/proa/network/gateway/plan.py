"""Decide everything at once: which doors there are, and what is to be said of each object. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.network.gateway import doors, gateways, ingress
from proa.network.gateway.doors import RoutePlan
from proa.network.gateway.gateways import GatewayPlan
from proa.network.gateway.ingress import IngressPlan
from proa.network.gateway.model import HTTP, HTTPS, BackendKey, Door, ObjectKey
from proa.network.gateway.starter import CONTROLLER
from proa.network.gateway.world import World
from proa.objects import meta


class Objects(NamedTuple):
    """All objects that may concern the gateway, of whatever class. Routes are by kind."""

    ingress_classes: Sequence[Object] = ()
    ingresses: Sequence[Object] = ()
    gateway_classes: Sequence[Object] = ()
    gateways: Sequence[Object] = ()
    routes: Mapping[str, Sequence[Object]] = {}


class Plan(NamedTuple):
    """What the proxy has to do, and what became of the objects that are ours."""

    doors: tuple[Door, ...]
    ingresses: dict[ObjectKey, IngressPlan]
    gateways: dict[ObjectKey, GatewayPlan]
    routes: dict[tuple[str, ObjectKey], RoutePlan]
    attached: Counter[tuple[ObjectKey, str]]
    """How many routes each Gateway's listener has."""

    @property
    def backends(self) -> set[BackendKey]:
        """Return all backends that requests may be sent to."""
        return {
            backend
            for door in self.doors
            for routes in door.sites.values()
            for route in routes
            for backend in route.backends
        }

    @property
    def certificates(self) -> set[ObjectKey]:
        """Return the Secrets of all certificates, ours among them."""
        return {key for door in self.doors for key in door.certificates}


def plan_all(objects: Objects, world: World, addresses: Sequence[str] = ()) -> Plan:
    """Return the plan for all objects. `addresses` are those that the proxy has."""
    plans = {_key(i): ingress.plan_ingress(i, world) for i in our_ingresses(objects)}
    found = ingress.make_doors(list(plans.values()))
    ports = {ingress.HTTP_PORT: HTTP, ingress.HTTPS_PORT: HTTPS} if plans else {}
    ours = our_gateways(objects)
    gateway_plans = gateways.plan_gateways(ours, world, addresses, ports)
    routes = {}
    sites = []
    for kind, items in objects.routes.items():
        for route in items:
            if (planned := doors.plan_route(route, kind, gateway_plans, world)) is not None:
                routes[kind, _key(route)] = planned[0]
                sites += planned[1]
    found += doors.make_doors(gateway_plans.values(), sites)
    attached = Counter(place for planned in routes.values() for place in planned.attached)
    return Plan(tuple(doors.merge(found)), plans, gateway_plans, routes, attached)


def our_ingresses(objects: Objects) -> list[Object]:
    """Return the Ingresses whose class names our controller."""
    ours = {meta.name(c) for c in objects.ingress_classes if c["spec"].get("controller") == CONTROLLER}
    return [i for i in objects.ingresses if not meta.is_deleting(i) and ingress.class_name_of(i) in ours]


def our_classes(objects: Objects) -> list[Object]:
    """Return the GatewayClasses that name our controller."""
    return [c for c in objects.gateway_classes if c["spec"].get("controllerName") == gateways.CONTROLLER]


def our_gateways(objects: Objects) -> list[Object]:
    """Return the Gateways of our classes."""
    ours = {meta.name(c) for c in our_classes(objects) if gateways.plan_class(c).is_true}
    return [
        g
        for g in objects.gateways
        if not meta.is_deleting(g) and (g.get("spec") or {}).get("gatewayClassName") in ours
    ]


def _key(obj: Object) -> ObjectKey:
    return ObjectKey(meta.namespace(obj), meta.name(obj))
