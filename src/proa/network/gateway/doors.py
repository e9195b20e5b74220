"""Put together what Ingresses, Gateways and routes ask for: one set of doors, and what became of each route. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.network.gateway import grpc_routes, http_routes
from proa.network.gateway.attachments import Attachment, attach, owns
from proa.network.gateway.gateways import Condition, GatewayPlan, Listener
from proa.network.gateway.http_routes import RulesPlan
from proa.network.gateway.model import ANY_HOST, HTTPS, Door, DoorKey, ObjectKey, Route
from proa.network.gateway.world import World

PLANNERS = {http_routes.KIND: http_routes.plan_rules, grpc_routes.KIND: grpc_routes.plan_rules}


class RoutePlan(NamedTuple):
    """What became of a route: for each of its parents that is ours, the conditions; and where it is attached."""

    parents: tuple[tuple[Mapping[str, object], tuple[Condition, ...]], ...]
    attached: frozenset[tuple[ObjectKey, str]]


class Site(NamedTuple):
    """Routes that a listener has for one hostname."""

    listener: Listener
    hostname: str
    routes: tuple[Route, ...]


def plan_route(
    route: Object, kind: str, gateways: Mapping[ObjectKey, GatewayPlan], world: World
) -> tuple[RoutePlan, list[Site]] | None:
    """Return what becomes of a route, and what it brings to which listeners; None where no parent is ours."""
    attachments = attach(route, kind, gateways, world)
    if not attachments:
        return None
    rules = PLANNERS[kind](route, world)
    parents = tuple((a.parent, _conditions(a, rules)) for a in attachments)
    sites = [
        Site(listener, host, rules.routes)
        for attachment in attachments
        for listener, hosts in attachment.listeners
        for host in hosts
        if not rules.unsupported
    ]
    attached = frozenset((site.listener.gateway, site.listener.name) for site in sites)
    return RoutePlan(parents, attached), sites


def _conditions(attachment: Attachment, rules: RulesPlan) -> tuple[Condition, ...]:
    accepted = attachment.accepted
    if accepted.is_true and rules.unsupported:
        accepted = Condition("Accepted", False, "UnsupportedValue", rules.unsupported)
    return (accepted, rules.resolved)


def make_doors(gateways: Iterable[GatewayPlan], sites: Iterable[Site]) -> list[Door]:
    """Return the doors of all usable listeners: requests go to the listener closest to their hostname."""
    usable = [listener for plan in gateways for listener in plan.listeners if listener.is_usable]
    by_port: dict[int, list[Listener]] = {}
    found: dict[DoorKey, dict[str, list[Route]]] = {}
    for listener in usable:
        by_port.setdefault(listener.door.port, []).append(listener)
        hosts = found.setdefault(listener.door, {})
        if listener.door.hostname:
            hosts.setdefault(listener.door.hostname, [])  # it answers, if only with 404
    for site in sites:
        door = site.listener.door
        if door in found and owns(site.listener, site.hostname, by_port[door.port]):
            found[door].setdefault(site.hostname, []).extend(site.routes)
    certificates = {listener.door: listener.certificates for listener in usable}
    return [
        Door(key, {host: _in_order(routes) for host, routes in hosts.items()}, certificates[key])
        for key, hosts in found.items()
    ]


def merge(doors: Iterable[Door]) -> list[Door]:
    """Return one door for each key, with all that is behind those of that key; the first one's certificates stay.

    A plain port is one door: there is nothing but the hostname to tell its sites apart.
    """
    merged: dict[DoorKey, Door] = {}
    for given in doors:
        key = given.key if given.key.protocol == HTTPS else given.key._replace(hostname=ANY_HOST)
        door = Door(key, given.sites, given.certificates)
        known = merged.get(key)
        if known is None:
            merged[key] = door
            continue
        sites = {host: list(routes) for host, routes in known.sites.items()}
        for host, routes in door.sites.items():
            sites.setdefault(host, []).extend(routes)
        joined = {host: _in_order(routes) for host, routes in sites.items()}
        merged[door.key] = Door(door.key, joined, known.certificates or door.certificates)
    return list(merged.values())


def _in_order(routes: Sequence[Route]) -> tuple[Route, ...]:
    return tuple(sorted(dict.fromkeys(routes), key=lambda route: route.order))


def sites_by_port(doors: Iterable[Door]) -> list[Door]:
    """Return one door for each port, with all that is behind the port's doors: where hostnames are looked up.

    Which certificate it was entered by makes no difference.
    """
    return merge(Door(door.key._replace(hostname=ANY_HOST), door.sites) for door in doors)
