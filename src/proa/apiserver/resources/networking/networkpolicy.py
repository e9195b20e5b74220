"""A NetworkPolicy says which traffic its pods take and send.

Follows pkg/apis/networking/v1/defaults.go, pkg/apis/networking/validation and printNetworkPolicy.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition
from proa.apiserver.resources.printing import AGE, NAME, age, doc, selector_cell
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import NETWORK_POLICIES
from proa.objects.validation import (
    all_invalid,
    forbidden,
    invalid,
    not_supported,
    port_name,
    port_number,
    required,
)
from proa.objects.validation_addresses import cidr_warnings, find_cidr, legacy_cidr
from proa.objects.validation_selectors import validate_label_selector

PROTOCOLS = ("TCP", "UDP", "SCTP")
TYPES = ("Ingress", "Egress")
DIRECTIONS = (("ingress", "from"), ("egress", "to"))


def default(policy: Object) -> None:
    """Ports speak TCP; a policy is about what comes in, and about what goes out if it says so."""
    spec = policy.setdefault("spec", {})
    spec.setdefault("podSelector", {})
    for direction, _ in DIRECTIONS:
        for rule in spec.get(direction) or ():
            for port in rule.get("ports") or ():
                port.setdefault("protocol", "TCP")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def validate_policy(policy: Object, old: Object | None = None) -> list[Cause]:
    """Check selectors, ports, peers and types; CIDRs that were there before may stay as they are."""
    spec = policy["spec"]
    known = set(_cidrs(old)) if old else set()
    causes = validate_label_selector(spec.get("podSelector"), "spec.podSelector")
    for direction, peers in DIRECTIONS:
        for index, rule in enumerate(spec.get(direction) or ()):
            path = f"spec.{direction}[{index}]"
            for number, port in enumerate(rule.get("ports") or ()):
                causes += _validate_port(port, f"{path}.ports[{number}]")
            for number, peer in enumerate(rule.get(peers) or ()):
                causes += _validate_peer(peer, known, f"{path}.{peers}[{number}]")
    types = spec.get("policyTypes") or []
    if len(types) > len(TYPES):
        return [*causes, invalid("spec.policyTypes", types, "may not specify more than two policyTypes")]
    for index, kind in enumerate(types):
        if kind not in TYPES:
            causes.append(not_supported(f"spec.policyTypes[{index}]", kind, TYPES))
    return causes


def warnings(policy: Object, old: Object | None) -> list[str]:
    """Warn of networks that should be spelled otherwise."""
    said = []
    for direction, peers in DIRECTIONS:
        for index, rule in enumerate(policy["spec"].get(direction) or ()):
            for number, peer in enumerate(rule.get(peers) or ()):
                block, path = (
                    peer.get("ipBlock") or {},
                    f"spec.{direction}[{index}].{peers}[{number}].ipBlock",
                )
                said += cidr_warnings(f"{path}.cidr", block.get("cidr") or "")
                for at, exception in enumerate(block.get("except") or ()):
                    said += cidr_warnings(f"{path}.except[{at}]", exception)
    return said


def _cidrs(policy: Object) -> Iterator[str]:
    for direction, peers in DIRECTIONS:
        for rule in policy["spec"].get(direction) or ():
            for peer in rule.get(peers) or ():
                block = peer.get("ipBlock") or {}
                yield from (block.get("cidr", ""), *(block.get("except") or ()))


def _validate_port(port: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    protocol, number, end = port.get("protocol"), port.get("port"), port.get("endPort")
    if protocol is not None and protocol not in PROTOCOLS:
        causes.append(not_supported(f"{path}.protocol", protocol, PROTOCOLS))
    if number is None:
        why = "may not be specified when `port` is not specified"
        return causes if end is None else [*causes, invalid(f"{path}.endPort", end, why)]
    if isinstance(number, str):
        if end is not None:
            why = "may not be specified when `port` is non-numeric"
            causes.append(invalid(f"{path}.endPort", end, why))
        return causes + all_invalid(f"{path}.port", number, port_name(number))
    causes += all_invalid(f"{path}.port", number, port_number(number))
    if end is not None and end < number:
        causes.append(invalid(f"{path}.endPort", end, "must be greater than or equal to `port`"))
    return causes + (all_invalid(f"{path}.endPort", end, port_number(end)) if end is not None else [])


def _validate_peer(peer: Object, known: set[str], path: str) -> list[Cause]:
    given = [key for key in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(key) is not None]
    causes: list[Cause] = []
    for key in given:
        if key == "ipBlock":
            causes += _validate_block(peer[key], known, f"{path}.ipBlock")
        else:
            causes += validate_label_selector(peer[key], f"{path}.{key}")
    if not given:
        causes.append(required(path, "must specify a peer"))
    elif len(given) > 1 and "ipBlock" in given:
        causes.append(forbidden(path, "may not specify both ipBlock and another peer"))
    return causes


def _validate_block(block: Object, known: set[str], path: str) -> list[Cause]:
    cidr = block.get("cidr", "")
    if not cidr:
        return [required(f"{path}.cidr")]
    causes = [] if cidr in known else all_invalid(f"{path}.cidr", cidr, legacy_cidr(cidr))
    outer = find_cidr(cidr)
    if outer is None:
        return causes
    for index, exception in enumerate(block.get("except") or ()):
        field = f"{path}.except[{index}]"
        causes += [] if exception in known else all_invalid(field, exception, legacy_cidr(exception))
        inner = find_cidr(exception)
        if inner is not None and not _is_strict_subset(inner, outer):
            causes.append(invalid(field, exception, "must be a strict subset of `cidr`"))
    return causes


def _is_strict_subset(inner: tuple[Any, int], outer: tuple[Any, int]) -> bool:
    network = ipaddress.ip_network(outer, strict=False)
    return inner[0] in network and outer[1] < inner[1]


def cells(policy: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    return policy["metadata"]["name"], selector_cell(policy["spec"].get("podSelector")), age(policy, now)


DEFINITION = ResourceDefinition(
    resource=NETWORK_POLICIES,
    singular="networkpolicy",
    schema="io.k8s.api.networking.v1.NetworkPolicy",
    short_names=("netpol",),
    default=default,
    validate_create=validate_policy,
    validate_update=validate_policy,
    columns=(
        NAME,
        Column("Pod-Selector", description=doc("networking.v1.NetworkPolicySpec.podSelector")),
        AGE,
    ),
    cells=cells,
    warnings=warnings,
    tracks_generation=True,
)
