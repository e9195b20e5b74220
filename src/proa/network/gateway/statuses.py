"""Decide what the status of each object has to be. Pure: None where it is so already.

Times of conditions change with their status only; entries of other controllers stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from proa.client.protocol import Object
from proa.network.gateway.doors import RoutePlan
from proa.network.gateway.gateways import CONTROLLER, GROUP, Condition, GatewayPlan, plan_class
from proa.network.gateway.ingress import HTTP_PORT, HTTPS_PORT
from proa.network.gateway.plan import Plan
from proa.objects import meta

HOST_PORT_TYPE = "gateway.proa.local/port-{}"
FEATURES = (
    "GRPCRoute",
    "Gateway",
    "GatewayHTTPListenerIsolation",
    "GatewayPort8080",
    "HTTPRoute",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteSchemeRedirect",
    "ReferenceGrant",
)
"""What a client may count on, by the names of Gateway API's pkg/features."""


def ingress_status(ingress: Object, addresses: Sequence[str], ports: Mapping[int, int]) -> Object | None:
    """Return the status of an Ingress of ours: where it is reached."""
    offered = [{"port": ports[port], "protocol": "TCP"} for port in (HTTP_PORT, HTTPS_PORT) if port in ports]
    status = {"loadBalancer": {"ingress": [{"ip": address, "ports": offered} for address in addresses]}}
    return None if ingress.get("status") == status else status


def class_status(gateway_class: Object, now: float) -> Object | None:
    """Return the status of a GatewayClass that names our controller."""
    old = gateway_class.get("status") or {}
    status = {
        **old,
        "conditions": _conditions(
            old.get("conditions") or (), [plan_class(gateway_class)], meta.generation(gateway_class), now
        ),
        "supportedFeatures": [{"name": name} for name in FEATURES],
    }
    return None if status == old else status


def gateway_status(
    gateway: Object,
    planned: GatewayPlan,
    plan: Plan,
    addresses: Sequence[str],
    refusal: str,
    now: float,
    ports: Mapping[int, int] = MappingProxyType({}),
    *,
    is_missing: bool = False,
) -> Object | None:
    """Return the status of a Gateway; `refusal` is why the proxy does not do as it is told ("" it does).

    `ports` says which the host has for each port of a listener. `is_missing`: there is no proxy, for that reason.
    """
    old = gateway.get("status") or {}
    generation = meta.generation(gateway)
    known = {entry["name"]: entry.get("conditions") or () for entry in old.get("listeners") or ()}
    listeners = [
        {
            "name": listener.name,
            "supportedKinds": [{"group": GROUP, "kind": kind} for kind in listener.kinds],
            "attachedRoutes": plan.attached[planned.key, listener.name],
            "conditions": _conditions(
                known.get(listener.name, ()),
                _with_refusal(listener.conditions, refusal, is_missing=is_missing),
                generation,
                now,
            ),
        }
        for listener in planned.listeners
    ]
    status = {
        **old,
        "addresses": _addresses(planned, addresses, ports),
        "conditions": _conditions(
            old.get("conditions") or (),
            _with_refusal(planned.conditions, refusal, is_missing=is_missing),
            generation,
            now,
        ),
        "listeners": listeners,
    }
    return None if status == old else status


def moved_status(
    gateway: Object, planned: GatewayPlan, addresses: Sequence[str], ports: Mapping[int, int]
) -> Object | None:
    """Return the status of a Gateway that was reached elsewhere before, with the addresses of now."""
    old = gateway.get("status") or {}
    status = {**old, "addresses": _addresses(planned, addresses, ports)}
    return status if old.get("addresses") and status != old else None


def _addresses(planned: GatewayPlan, addresses: Sequence[str], ports: Mapping[int, int]) -> list[Object]:
    return [
        *({"type": "IPAddress", "value": address} for address in addresses),
        *_other_ports(planned, addresses, ports),
    ]


def _other_ports(
    planned: GatewayPlan, addresses: Sequence[str], ports: Mapping[int, int]
) -> Iterable[Object]:
    """Return where those ports are that are not themselves on the host, as addresses of a type of our own."""
    for port in sorted({listener.door.port for listener in planned.listeners if listener.is_usable}):
        if ports.get(port, port) != port:
            for address in addresses:
                yield {"type": HOST_PORT_TYPE.format(port), "value": f"{address}:{ports[port]}"}


def route_status(route: Object, planned: RoutePlan | None, now: float) -> Object | None:
    """Return the status of a route; `planned` None where no parent of it is ours."""
    old = (route.get("status") or {}).get("parents") or []
    others = [entry for entry in old if entry.get("controllerName") != CONTROLLER]
    mine = [entry for entry in old if entry.get("controllerName") == CONTROLLER]
    parents = []
    for parent, conditions in planned.parents if planned is not None else ():
        known: Object = next((entry for entry in mine if entry.get("parentRef") == parent), {})
        parents.append(
            {
                "parentRef": parent,
                "controllerName": CONTROLLER,
                "conditions": _conditions(
                    known.get("conditions") or (), conditions, meta.generation(route), now
                ),
            }
        )
    return None if [*others, *parents] == old else {"parents": [*others, *parents]}


def _with_refusal(
    conditions: Iterable[Condition], refusal: str, *, is_missing: bool = False
) -> list[Condition]:
    if not refusal:
        return [*conditions]
    told = Condition("Programmed", False, "Pending", f"the proxy does not take its configuration: {refusal}")
    if is_missing:
        told = Condition("Programmed", False, "NoResources", refusal)
    return [
        told if condition.type == "Programmed" and condition.is_true else condition
        for condition in conditions
    ]


def _conditions(
    old: Sequence[Mapping[str, Any]], wanted: Iterable[Condition], generation: int, now: float
) -> list[Object]:
    known = {entry["type"]: entry for entry in old}
    made = []
    for condition in wanted:
        status = "True" if condition.is_true else "False"
        before = known.get(condition.type) or {}
        same = before.get("status") == status
        made.append(
            {
                "type": condition.type,
                "status": status,
                "reason": condition.reason,
                "message": condition.message,
                "observedGeneration": generation,
                "lastTransitionTime": before["lastTransitionTime"] if same else meta.format_time(now),
            }
        )
    return made
