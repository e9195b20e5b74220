"""Let a ServiceCIDR be allocated from once it is known, and go only when no address of it is left.

Watches ServiceCIDRs and IPAddresses; writes the finalizer and the condition Ready of ServiceCIDRs. Follows
pkg/controller/servicecidrs/servicecidrs_controller.go. An address that another range has too does not hold the one that
goes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.resource import IP_ADDRESSES, SERVICE_CIDRS
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch

NAME = "service-cidrs-controller"
FINALIZER = "networking.k8s.io/service-cidr-finalizer"
GRACE_SECONDS = 10.0
"""A server that has not heard yet that the range goes may still give out an address of it."""
READY = ("True", "", "Kubernetes Service CIDR is ready")
IN_USE = (
    "False",
    "Terminating",
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
)


def _every_range(_: Object, caches: Caches) -> Iterable[Key]:
    return [Key("", meta.name(service_cidr)) for service_cidr in caches(SERVICE_CIDRS).list()]


def _ranges_that_go(_: Object, caches: Caches) -> Iterable[Key]:
    return [Key("", meta.name(obj)) for obj in caches(SERVICE_CIDRS).list() if meta.is_deleting(obj)]


WATCHES = (Watch(SERVICE_CIDRS, find_keys=_every_range), Watch(IP_ADDRESSES, find_keys=_ranges_that_go))


class Plan(NamedTuple):
    """The finalizers to have, the condition to say (status, reason, message), and when to look again."""

    finalizers: tuple[str, ...]
    ready: tuple[str, str, str] | None = None
    wait_seconds: float = 0.0


def plan(service_cidr: Object, others: Sequence[Object], addresses: Iterable[str], now: float) -> Plan:
    """Decide about one range; `others` are the other ServiceCIDRs, `addresses` all that are allocated."""
    had = tuple(meta.finalizers(service_cidr))
    if not meta.is_deleting(service_cidr):
        return Plan(had if FINALIZER in had else (*had, FINALIZER), READY)
    if FINALIZER not in had:
        return Plan(had)
    remaining = [cidr for other in others if not meta.is_deleting(other) for cidr in _networks(other)]
    mine = _networks(service_cidr)
    if any(_is_held(ipaddress.ip_address(address), mine, remaining) for address in addresses):
        return Plan(had, IN_USE)
    age = now - meta.parse_time(service_cidr["metadata"]["deletionTimestamp"])
    if age < GRACE_SECONDS:
        return Plan(had, wait_seconds=GRACE_SECONDS - age)
    return Plan(tuple(finalizer for finalizer in had if finalizer != FINALIZER))


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(service_cidr: Object) -> list[Network]:
    return [ipaddress.ip_network(cidr) for cidr in service_cidr["spec"].get("cidrs") or ()]


def _is_held(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, mine: list[Network], others: list[Network]
) -> bool:
    return any(address in network for network in mine) and not any(address in network for network in others)


async def reconcile(context: Context, key: Key) -> Result:
    """Bring one ServiceCIDR's finalizer and condition to the plan."""
    ranges = context.caches(SERVICE_CIDRS)
    service_cidr = ranges.get(key.name)
    if service_cidr is None:
        return DONE
    others = [other for other in ranges.list() if meta.name(other) != key.name]
    addresses = map(meta.name, context.caches(IP_ADDRESSES).list())
    decided = plan(service_cidr, others, addresses, context.now())
    if decided.finalizers != tuple(meta.finalizers(service_cidr)):
        metadata = {**service_cidr["metadata"], "finalizers": list(decided.finalizers)}
        service_cidr = await context.client.update(SERVICE_CIDRS, {**service_cidr, "metadata": metadata})
    if decided.ready is not None and not _says(service_cidr, decided.ready):
        conditions = (service_cidr.get("status") or {}).get("conditions") or ()
        said = meta.with_condition(conditions, "Ready", *decided.ready, context.now())
        for condition in said:
            condition.setdefault("reason", "")
        status = {**(service_cidr.get("status") or {}), "conditions": said}
        await context.client.update(SERVICE_CIDRS, {**service_cidr, "status": status}, "status")
    return Result(requeue_after=decided.wait_seconds)


def _says(service_cidr: Object, ready: tuple[str, str, str]) -> bool:
    """Tell whether the condition is there; the range that a server begins with says so in words of its own."""
    condition = meta.find_condition(service_cidr, "Ready") or {}
    return (condition.get("status"), condition.get("reason", "")) == ready[:2]
