"""Decide which listeners a route is attached to, for each Gateway that it names. Pure.

Follows ParentReference and RouteStatus of gateway.networking.k8s.io/v1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.network.gateway.gateways import GROUP, Condition, GatewayPlan, Listener
from proa.network.gateway.model import ANY_HOST, ObjectKey, host_matches, intersect_hosts, specificity
from proa.network.gateway.world import World
from proa.objects import meta


class Attachment(NamedTuple):
    """What became of one parentRef: for each listener the hostnames that the route has there, and `accepted`."""

    parent: Mapping[str, Any]
    listeners: tuple[tuple[Listener, tuple[str, ...]], ...]
    accepted: Condition


def attach(
    route: Object, kind: str, plans: Mapping[ObjectKey, GatewayPlan], world: World
) -> tuple[Attachment, ...]:
    """Return what becomes of each parentRef that names a Gateway of ours."""
    found = []
    for parent in (route.get("spec") or {}).get("parentRefs") or ():
        if (parent.get("group", GROUP), parent.get("kind", "Gateway")) != (GROUP, "Gateway"):
            continue
        key = ObjectKey(parent.get("namespace") or meta.namespace(route), parent["name"])
        if (plan := plans.get(key)) is not None:
            found.append(_attach_to(route, kind, parent, plan, world))
    return tuple(found)


def _attach_to(
    route: Object, kind: str, parent: Mapping[str, Any], plan: GatewayPlan, world: World
) -> Attachment:
    named = [listener for listener in plan.listeners if _is_named(listener, parent)]
    if not named:
        words = "the Gateway has no listener of that name and port"
        return Attachment(parent, (), Condition("Accepted", False, "NoMatchingParent", words))
    allowing = [listener for listener in named if listener.allows(kind, meta.namespace(route), world)]
    if not allowing:
        words = f"no listener takes a {kind} of namespace {meta.namespace(route)!r}"
        return Attachment(parent, (), Condition("Accepted", False, "NotAllowedByListeners", words))
    hostnames = [host.lower() for host in (route.get("spec") or {}).get("hostnames") or ()] or [ANY_HOST]
    pairs = [(listener, _common_hosts(listener.door.hostname, hostnames)) for listener in allowing]
    pairs = [(listener, hosts) for listener, hosts in pairs if hosts]
    if not pairs:
        words = "no listener has any of the route's hostnames"
        return Attachment(parent, (), Condition("Accepted", False, "NoMatchingListenerHostname", words))
    return Attachment(parent, tuple(pairs), Condition("Accepted", True, "Accepted", "the route is attached"))


def _is_named(listener: Listener, parent: Mapping[str, Any]) -> bool:
    return parent.get("sectionName") in (None, listener.name) and parent.get("port") in (
        None,
        listener.door.port,
    )


def _common_hosts(hostname: str, wanted: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(h for w in wanted if (h := intersect_hosts(hostname, w)) is not None))


def owns(listener: Listener, hostname: str, siblings: Sequence[Listener]) -> bool:
    """Tell whether a request for `hostname` belongs to this listener: no other of its port is closer to that name."""
    own = specificity(listener.door.hostname)
    return not any(
        other.door.port == listener.door.port
        and specificity(other.door.hostname) > own
        and host_matches(other.door.hostname, hostname)
        for other in siblings
    )
