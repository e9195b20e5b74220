"""Decide what each Gateway's listeners are, and what is wrong with them. Pure.

All Gateways share one proxy and its addresses: listeners of the same port and hostname are one door, and what they ask
of a port must fit together. Follows the conditions of gateway.networking.k8s.io/v1 (Gateway, Listener).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from proa.client.protocol import Object
from proa.network.gateway.ingress import check_certificate
from proa.network.gateway.model import HTTP, HTTPS, DoorKey, ObjectKey
from proa.network.gateway.world import World
from proa.objects import meta
from proa.objects.errors import BadRequest
from proa.objects.selectors import NOTHING, LabelSelector, selector_from_dict

GROUP = "gateway.networking.k8s.io"
CONTROLLER = "proa.local/gateway"
CLASS_NAME = "proa"
ROUTE_KINDS = ("HTTPRoute", "GRPCRoute")


class Condition(NamedTuple):
    """One condition, without times."""

    type: str
    is_true: bool
    reason: str
    message: str = ""


class Listener(NamedTuple):
    """One listener: who may attach to it, and its conditions. One that is not `is_usable` gets no traffic."""

    gateway: ObjectKey
    name: str
    door: DoorKey
    certificates: tuple[ObjectKey, ...]
    kinds: tuple[str, ...]
    namespaces: Literal["All", "Same", "Selector"]
    selector: LabelSelector
    conditions: tuple[Condition, ...]

    @property
    def is_usable(self) -> bool:
        """Tell whether routes of it can carry traffic."""
        return all(c.is_true for c in self.conditions if c.type in ("Accepted", "Programmed"))

    def allows(self, kind: str, namespace: str, world: World) -> bool:
        """Tell whether a route of that kind and namespace may attach."""
        if kind not in self.kinds:
            return False
        if self.namespaces == "Same":
            return namespace == self.gateway.namespace
        if self.namespaces == "All":
            return True
        found = world.namespace(namespace)
        return found is not None and self.selector.matches(meta.labels(found))


class GatewayPlan(NamedTuple):
    """One Gateway of ours."""

    key: ObjectKey
    listeners: tuple[Listener, ...]
    conditions: tuple[Condition, ...]


def make_gateway_class() -> Object:
    """Return the class of Gateways that are ours."""
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "GatewayClass",
        "metadata": {"name": CLASS_NAME},
        "spec": {"controllerName": CONTROLLER},
    }


def plan_class(gateway_class: Object) -> Condition:
    """Return whether a GatewayClass that names our controller can be carried out."""
    if (gateway_class.get("spec") or {}).get("parametersRef"):
        return Condition("Accepted", False, "InvalidParameters", "parametersRef is not supported")
    return Condition("Accepted", True, "Accepted", "carried out by Envoy on this machine")


def plan_gateways(
    gateways: Iterable[Object],
    world: World,
    addresses: Sequence[str] = (),
    ports: Mapping[int, str] | None = None,
) -> dict[ObjectKey, GatewayPlan]:
    """Return the plans of all Gateways of ours: where two do not fit together, the older one stays.

    `addresses` are those that the proxy has, `ports` what it has for others already: protocols by port.
    """
    taken: dict[int, str] = dict(ports or {})
    names: dict[DoorKey, tuple[ObjectKey, ...]] = {}
    plans = {}
    for gateway in sorted(gateways, key=_age):
        key = ObjectKey(meta.namespace(gateway), meta.name(gateway))
        entries = (gateway.get("spec") or {}).get("listeners") or ()
        listeners = tuple(_plan_listener(gateway, entry, entries, world) for entry in entries)
        listeners = tuple(_fit(listener, taken, names) for listener in listeners)
        plans[key] = GatewayPlan(key, listeners, _conditions_of(gateway, listeners, addresses))
    return plans


def _age(gateway: Object) -> tuple[str, str, str]:
    return (
        gateway["metadata"].get("creationTimestamp") or "",
        meta.namespace(gateway),
        meta.name(gateway),
    )


def _plan_listener(
    gateway: Object, entry: Mapping[str, Any], siblings: Sequence[Mapping[str, Any]], world: World
) -> Listener:
    key = ObjectKey(meta.namespace(gateway), meta.name(gateway))
    allowed = entry.get("allowedRoutes") or {}
    spaces = allowed.get("namespaces") or {}
    kinds, kinds_problem = _kinds(allowed.get("kinds") or ())
    certificates, certificate_problem = _certificates(gateway, entry, world)
    accepted = _accepted(gateway, entry)
    conflict = _conflict(entry, siblings)
    resolved = (
        kinds_problem
        or certificate_problem
        or Condition("ResolvedRefs", True, "ResolvedRefs", "all references are resolved")
    )
    return Listener(
        gateway=key,
        name=entry["name"],
        door=DoorKey(entry["port"], entry["protocol"], (entry.get("hostname") or "").lower()),
        certificates=certificates,
        kinds=kinds,
        namespaces=spaces.get("from") or "Same",
        selector=_read_selector(spaces.get("selector")),
        conditions=_listener_conditions(accepted, conflict, resolved, has_certificates=bool(certificates)),
    )


def _read_selector(selector: Mapping[str, Any] | None) -> LabelSelector:
    """Return a selector of namespaces; one that nobody understands picks none."""
    try:
        return selector_from_dict(selector)
    except BadRequest:
        return NOTHING


def _listener_conditions(
    accepted: Condition, conflict: Condition, resolved: Condition, *, has_certificates: bool
) -> tuple[Condition, ...]:
    if conflict.is_true:
        accepted = Condition("Accepted", False, conflict.reason, conflict.message)
    lacks = resolved.reason in ("InvalidCertificateRef", "RefNotPermitted") and not has_certificates
    if accepted.is_true and not lacks:
        programmed = Condition("Programmed", True, "Programmed", "the proxy has it")
    else:
        why = resolved if lacks else accepted
        programmed = Condition("Programmed", False, "Invalid", why.message)
    return (accepted, programmed, resolved, conflict)


def _accepted(gateway: Object, entry: Mapping[str, Any]) -> Condition:
    protocol = entry["protocol"]
    if protocol not in (HTTP, HTTPS):
        words = f"protocol {protocol} is not supported: HTTP and HTTPS are"
        return Condition("Accepted", False, "UnsupportedProtocol", words)
    tls = entry.get("tls") or {}
    if protocol == HTTPS and (tls.get("mode") or "Terminate") != "Terminate":
        words = "mode Passthrough is not supported: TLS is terminated"
        return Condition("Accepted", False, "UnsupportedValue", words)
    frontend = ((gateway.get("spec") or {}).get("tls") or {}).get("frontend")
    if protocol == HTTPS and frontend:
        words = "spec.tls.frontend (clients' certificates) is not supported, and nobody is let in without"
        return Condition("Accepted", False, "UnsupportedValue", words)
    return Condition("Accepted", True, "Accepted", "the listener is valid")


def _conflict(entry: Mapping[str, Any], siblings: Sequence[Mapping[str, Any]]) -> Condition:
    for other in siblings:
        if other is entry or other["port"] != entry["port"]:
            continue
        if other["protocol"] != entry["protocol"]:
            words = f"listener {other['name']!r} has port {entry['port']} for {other['protocol']}"
            return Condition("Conflicted", True, "ProtocolConflict", words)
        if (other.get("hostname") or "") == (entry.get("hostname") or ""):
            words = f"listener {other['name']!r} has the same port and hostname"
            return Condition("Conflicted", True, "HostnameConflict", words)
    return Condition("Conflicted", False, "NoConflicts")


def _kinds(entries: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], Condition | None]:
    if not entries:
        return ROUTE_KINDS, None
    known = [e for e in entries if e.get("group", GROUP) == GROUP and e["kind"] in ROUTE_KINDS]
    problem = None
    if len(known) < len(entries):
        words = f"only {' and '.join(ROUTE_KINDS)} can be attached"
        problem = Condition("ResolvedRefs", False, "InvalidRouteKinds", words)
    return tuple(dict.fromkeys(e["kind"] for e in known)), problem


def _certificates(
    gateway: Object, entry: Mapping[str, Any], world: World
) -> tuple[tuple[ObjectKey, ...], Condition | None]:
    """Return the Secrets that can be used, and what is wrong with the others."""
    if entry["protocol"] != HTTPS:
        return (), None
    found: list[ObjectKey] = []
    problem = None
    references = (entry.get("tls") or {}).get("certificateRefs") or ()
    if not references:
        problem = Condition("ResolvedRefs", False, "InvalidCertificateRef", "tls.certificateRefs is empty")
    for reference in references:
        wrong = _check_reference(gateway, reference, world)
        if wrong is None:
            found.append(ObjectKey(reference.get("namespace") or meta.namespace(gateway), reference["name"]))
        problem = problem or wrong
    return tuple(found), problem


def _check_reference(gateway: Object, reference: Mapping[str, Any], world: World) -> Condition | None:
    group, kind = reference.get("group") or "", reference.get("kind") or "Secret"
    key = ObjectKey(reference.get("namespace") or meta.namespace(gateway), reference["name"])
    if (group, kind) != ("", "Secret"):
        words = f"a certificate is in a Secret, not in {kind}.{group}"
        return Condition("ResolvedRefs", False, "InvalidCertificateRef", words)
    if not is_granted(world, "Gateway", meta.namespace(gateway), "Secret", key):
        words = f'no ReferenceGrant lets this Gateway use Secret "{key}"'
        return Condition("ResolvedRefs", False, "RefNotPermitted", words)
    if problem := check_certificate(world.secret(key), key):
        return Condition("ResolvedRefs", False, "InvalidCertificateRef", problem.message)
    return None


def is_granted(world: World, kind: str, namespace: str, to_kind: str, to: ObjectKey) -> bool:
    """Tell whether an object of Gateway API's `kind` in `namespace` may refer to a core object."""
    if namespace == to.namespace:
        return True
    for grant in world.grants(to.namespace):
        spec = grant.get("spec") or {}
        source = any(
            e.get("group") == GROUP and e.get("kind") == kind and e.get("namespace") == namespace
            for e in spec.get("from") or ()
        )
        target = any(
            (e.get("group") or "") == "" and e.get("kind") == to_kind and e.get("name") in (None, "", to.name)
            for e in spec.get("to") or ()
        )
        if source and target:
            return True
    return False


def _fit(
    listener: Listener, taken: dict[int, str], certificates: dict[DoorKey, tuple[ObjectKey, ...]]
) -> Listener:
    """Take a listener in, unless an older Gateway has its port for another protocol, or its name with other keys."""
    if not listener.is_usable:
        return listener
    door = listener.door
    if taken.setdefault(door.port, door.protocol) != door.protocol:
        words = f"port {door.port} is taken for {taken[door.port]}, and all Gateways and Ingresses share one proxy"
        return _conflicted(listener, "ProtocolConflict", words)
    if certificates.setdefault(door, listener.certificates) != listener.certificates:
        words = "an older Gateway has this port and hostname with other certificates, and all share one proxy"
        return _conflicted(listener, "HostnameConflict", words)
    return listener


def _conflicted(listener: Listener, reason: str, message: str) -> Listener:
    resolved = next(c for c in listener.conditions if c.type == "ResolvedRefs")
    accepted = Condition("Accepted", True, "Accepted")
    conflict = Condition("Conflicted", True, reason, message)
    return listener._replace(
        conditions=_listener_conditions(accepted, conflict, resolved, has_certificates=True)
    )


def _conditions_of(
    gateway: Object, listeners: Sequence[Listener], addresses: Sequence[str]
) -> tuple[Condition, ...]:
    broken = [listener.name for listener in listeners if not listener.is_usable]
    accepted = Condition("Accepted", True, "Accepted", "the Gateway is valid")
    if broken:
        words = f"not valid: {', '.join(broken)}"
        accepted = Condition("Accepted", len(broken) < len(listeners), "ListenersNotValid", words)
    wanted = (gateway.get("spec") or {}).get("addresses") or ()
    if any((address.get("type") or "IPAddress") != "IPAddress" for address in wanted):
        words = "only addresses of type IPAddress can be asked for"
        accepted = Condition("Accepted", False, "UnsupportedAddress", words)
    foreign = [a["value"] for a in wanted if a.get("value") and a["value"] not in addresses]
    programmed = Condition("Programmed", True, "Programmed", "the proxy has it")
    if foreign and addresses:
        words = f"the proxy has not {', '.join(foreign)} but {', '.join(addresses)}"
        programmed = Condition("Programmed", False, "AddressNotUsable", words)
    if not accepted.is_true:
        programmed = Condition("Programmed", False, "Invalid", accepted.message)
    return (accepted, programmed)
