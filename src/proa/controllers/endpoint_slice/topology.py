"""Give each zone its share of a Service's endpoints, by how much CPU its nodes have. Pure.

Asked for by the annotation `service.kubernetes.io/topology-mode: Auto`. Each endpoint is first meant for its own zone;
zones with more than their share then give some to those with less. Where that cannot be done without a zone's endpoints
taking a fifth more than their share, none has hints. Follows upstream's staging/src/k8s.io/endpointslice/topologycache.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from proa.client.protocol import Object
from proa.controllers.endpoint_slice.hints import apply_hints, is_ready, with_hints
from proa.controllers.endpoint_slice.offers import ZONE_LABEL
from proa.controllers.endpoint_slice.packing import Changes
from proa.objects import meta
from proa.objects.quantity import to_millis

OVERLOAD = 0.2
ENABLED = "Topology Aware Hints has been enabled"
DISABLED = "Topology Aware Hints has been disabled"
_FEW_NODES = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
_FEW_ENDPOINTS = "Insufficient number of endpoints"
_OVERLOADED = (
    "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
)
_NO_ZONE = "One or more endpoints do not have a zone specified"
_NO_HINTS = "No hints allocated for zones"
_EXCLUDED = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")

Shares = Mapping[str, float]
"""Each zone's part of all CPU, together 1; empty where it cannot be told."""


class Outcome(NamedTuple):
    """How many endpoints are meant for each zone, or why there are no hints."""

    counts: Mapping[str, int] | None = None
    failure: str = ""


class _Allocation(NamedTuple):
    desired: float
    maximum: int


def shares_of(nodes: Iterable[Object]) -> Shares:
    """Return each zone's share of the CPU of all Ready nodes; {} where a node has no zone, or there is but one zone."""
    millis: dict[str, int] = {}
    for node in nodes:
        if any(label in meta.labels(node) for label in _EXCLUDED) or not meta.has_condition(node, "Ready"):
            continue
        zone = meta.labels(node).get(ZONE_LABEL)
        cpu = to_millis(((node.get("status") or {}).get("allocatable") or {}).get("cpu") or 0)
        if not zone or not cpu:
            return {}
        millis[zone] = millis.get(zone, 0) + cpu
    total = sum(millis.values())
    return {zone: cpu / total for zone, cpu in millis.items()} if len(millis) > 1 else {}


def is_overloaded(counts: Mapping[str, int], shares: Shares) -> bool:
    """Tell whether a Service has too few endpoints for some zone, now that zones have these shares."""
    if not counts:
        return False
    if not shares:
        return True
    total = sum(counts.values())
    return any(
        counts.get(zone, 0) < math.ceil(total * share / (1 + OVERLOAD)) for zone, share in shares.items()
    )


def set_shares(changes: Changes, shares: Shares) -> Outcome:
    """Give the endpoints hints by zone, or take them all away where that cannot be done."""
    outcome = _try_to_share(changes, shares)
    if outcome.counts is None:
        apply_hints(changes, lambda endpoint: None)
    return outcome


def _try_to_share(changes: Changes, shares: Shares) -> Outcome:
    everything = [*changes.create, *changes.update, *changes.unchanged]
    total = sum(is_ready(endpoint) for found in everything for endpoint in found.get("endpoints") or ())
    allocations, failure = _allocate(total, shares)
    if failure:
        return Outcome(failure=failure)
    counts = _count_unchanged(changes, allocations)
    changing = [*changes.create, *changes.update]
    for found in changing:
        endpoints = found["endpoints"]
        if any(is_ready(endpoint) and not endpoint.get("zone") for endpoint in endpoints):
            return Outcome(failure=_NO_ZONE)
        found["endpoints"] = [_meant_for_own_zone(endpoint) for endpoint in endpoints]
        for endpoint in filter(is_ready, endpoints):
            counts[endpoint["zone"]] = counts.get(endpoint["zone"], 0) + 1
    _redistribute(changing, *_find_exchange(allocations, counts), counts)
    return Outcome(counts) if counts else Outcome(failure=_NO_HINTS)


def _meant_for_own_zone(endpoint: Object) -> Object:
    return (
        with_hints(endpoint, {"forZones": [{"name": endpoint["zone"]}]}) if is_ready(endpoint) else endpoint
    )


def _allocate(total: int, shares: Shares) -> tuple[dict[str, _Allocation], str]:
    """Return what each zone is to have of so many endpoints, or why that cannot be."""
    if not shares:
        return {}, _FEW_NODES
    numbers = f"({total} endpoints, {len(shares)} zones)"
    if len(shares) > total:
        return {}, f"{_FEW_ENDPOINTS} {numbers}"
    minima = {zone: math.ceil(share * total / (1 + OVERLOAD)) for zone, share in shares.items()}
    spare = total - sum(minima.values())
    if spare < 0:
        return {}, f"{_OVERLOADED} {numbers}"
    return {
        zone: _Allocation(max(share * total, float(minima[zone])), minima[zone] + spare)
        for zone, share in shares.items()
    }, ""


def _count_unchanged(changes: Changes, allocations: Mapping[str, _Allocation]) -> dict[str, int]:
    """Count the hints in slices that may stay as they are; others are to change."""
    counts: dict[str, int] = {}
    stay = []
    for found in changes.unchanged:
        here = _count_hints(found, allocations)
        if here is not None and all(
            counts.get(zone, 0) + count <= allocations[zone].maximum for zone, count in here.items()
        ):
            stay.append(found)
            for zone, count in here.items():
                counts[zone] = counts.get(zone, 0) + count
        else:
            changes.update.append({**found, "endpoints": list(found.get("endpoints") or ())})
    changes.unchanged = stay
    return counts


def _count_hints(found: Object, allocations: Mapping[str, _Allocation]) -> dict[str, int] | None:
    """Return how many endpoints are meant for each zone, None where a hint is missing or for a zone that is none."""
    counts: dict[str, int] = {}
    for endpoint in filter(is_ready, found.get("endpoints") or ()):
        zones = [entry["name"] for entry in (endpoint.get("hints") or {}).get("forZones") or ()]
        if not zones or any(zone not in allocations for zone in zones):
            return None
        for zone in zones:
            counts[zone] = counts.get(zone, 0) + 1
    return counts


def _find_exchange(
    allocations: Mapping[str, _Allocation], counts: Mapping[str, int]
) -> tuple[dict[str, int], dict[str, int]]:
    """Return how many endpoints each zone is to give, and to receive."""
    surplus = {zone: counts.get(zone, 0) - allocation.desired for zone, allocation in allocations.items()}
    giving: dict[str, int] = {}
    receiving: dict[str, int] = {}
    while True:
        giver = max(surplus, key=lambda zone: surplus[zone])
        receiver = min(surplus, key=lambda zone: surplus[zone])
        give, receive = surplus[giver], -surplus[receiver]
        if (give < 1 and receive < 1) or give < 0.5 or receive < 0.5:
            return giving, receiving
        giving[giver] = giving.get(giver, 0) + 1
        receiving[receiver] = receiving.get(receiver, 0) + 1
        surplus[giver] -= 1
        surplus[receiver] += 1


def _redistribute(
    slices: Iterable[Object], giving: dict[str, int], receiving: dict[str, int], counts: dict[str, int]
) -> None:
    """Mean some endpoints of zones that give for zones that receive."""
    for found in slices:
        for index, endpoint in enumerate(found["endpoints"]):
            zone = endpoint.get("zone", "")
            receiver = next((name for name, number in receiving.items() if number), None)
            if receiver is None:
                return
            if is_ready(endpoint) and giving.get(zone):
                found["endpoints"][index] = with_hints(endpoint, {"forZones": [{"name": receiver}]})
                giving[zone] -= 1
                receiving[receiver] -= 1
                counts[zone] -= 1
                counts[receiver] = counts.get(receiver, 0) + 1
