"""Read a NetworkPolicy as rules over groups of pods, blocks of addresses, and ports. Pure.

A group is named by what selects it, so that policies share groups. Follows the comments of
k8s.io/api/networking/v1/types.go, and what test/e2e/network/netpol makes of them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.selectors import LabelSelector, selector_from_dict

INGRESS, EGRESS = "Ingress", "Egress"
MAX_PORT = 65535

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Pods(NamedTuple):
    """Pods of one namespace, or (where `namespaces` says which) of several."""

    namespace: str
    namespaces: LabelSelector | None
    pods: LabelSelector


class NamedPort(NamedTuple):
    """A port by the name that pods' containers give it: a different number for each pod, and none for some."""

    pods: Pods
    protocol: str
    name: str


Group = Pods | NamedPort
"""Pods has elements (address), NamedPort (address, protocol, port)."""


class Block(NamedTuple):
    """A network less some of its parts."""

    network: Network
    excluded: tuple[Network, ...]


class Ports(NamedTuple):
    """Ports from first to last."""

    protocol: str
    first: int
    last: int


class Rule(NamedTuple):
    """One `from` with its ports, or one `to` with its ports: any peer on any port, each None for all.

    `named` are ports at the destination by name: for a way in of the pods that the policy selects, for a way out of
    the peers.
    """

    peers: tuple[Pods | Block, ...] | None
    ports: tuple[Ports, ...] | None
    named: tuple[NamedPort, ...]


class Policy(NamedTuple):
    """What a NetworkPolicy says of the pods that it selects; None for a direction that it says nothing of."""

    pods: Pods
    ingress: tuple[Rule, ...] | None
    egress: tuple[Rule, ...] | None


EVERYBODY = Pods("", LabelSelector(), LabelSelector())


def compile_policy(policy: Object) -> Policy:
    """Return what an object says. The API server has validated it."""
    spec = policy.get("spec") or {}
    namespace = meta.namespace(policy)
    selected = Pods(namespace, None, selector_from_dict(spec.get("podSelector") or {}))
    types = spec.get("policyTypes") or [INGRESS, *([EGRESS] if spec.get("egress") else [])]
    return Policy(
        selected,
        tuple(_ingress_rules(spec, namespace, selected)) if INGRESS in types else None,
        tuple(_egress_rules(spec, namespace)) if EGRESS in types else None,
    )


def _ingress_rules(spec: Mapping[str, Any], namespace: str, selected: Pods) -> Iterator[Rule]:
    for rule in spec.get("ingress") or ():
        ports, names = _read_ports(rule.get("ports"))
        named = tuple(NamedPort(selected, protocol, name) for protocol, name in names)
        yield Rule(_read_peers(rule.get("from"), namespace), ports, named)


def _egress_rules(spec: Mapping[str, Any], namespace: str) -> Iterator[Rule]:
    for rule in spec.get("egress") or ():
        peers = _read_peers(rule.get("to"), namespace)
        ports, names = _read_ports(rule.get("ports"))
        groups = dict.fromkeys(p if isinstance(p, Pods) else EVERYBODY for p in peers or (EVERYBODY,))
        named = tuple(NamedPort(group, protocol, name) for group in groups for protocol, name in names)
        yield Rule(peers, ports, named)


def _read_peers(peers: list[dict[str, Any]] | None, namespace: str) -> tuple[Pods | Block, ...] | None:
    if not peers:
        return None
    return tuple(dict.fromkeys(_read_peer(peer, namespace) for peer in peers))


def _read_peer(peer: Mapping[str, Any], namespace: str) -> Pods | Block:
    if block := peer.get("ipBlock"):
        excluded = (ipaddress.ip_network(cidr, strict=False) for cidr in block.get("except") or ())
        return Block(ipaddress.ip_network(block["cidr"], strict=False), tuple(excluded))
    pods = selector_from_dict(peer.get("podSelector") or {})
    if (namespaces := peer.get("namespaceSelector")) is not None:
        return Pods("", selector_from_dict(namespaces), pods)
    return Pods(namespace, None, pods)


def _read_ports(
    ports: list[dict[str, Any]] | None,
) -> tuple[tuple[Ports, ...] | None, list[tuple[str, str]]]:
    """Return the ports by number (None: all ports) and those by name."""
    if not ports:
        return None, []
    numbers: list[Ports] = []
    names: list[tuple[str, str]] = []
    for entry in ports:
        protocol, port = entry.get("protocol") or "TCP", entry.get("port")
        if isinstance(port, str) and not port.isdecimal():
            names.append((protocol, port))
        elif port is None:
            numbers.append(Ports(protocol, 0, MAX_PORT))
        else:
            numbers.append(Ports(protocol, int(port), int(entry.get("endPort") or port)))
    return tuple(dict.fromkeys(numbers)), list(dict.fromkeys(names))
