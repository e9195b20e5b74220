"""Keep Services and IPAddress objects in step: each ClusterIP has one that names its Service, and nothing else has.

Allocating writes both (apiserver/claims.py); this mends what people, crashes and older servers leave behind. Watches
Services, IPAddresses and ServiceCIDRs; creates and deletes IPAddresses, and tells of what it cannot mend. Follows
pkg/registry/core/service/ipallocator/controller/repairip.go; what a cache does not have is asked for before it is
made anew, as a Service and its address arrive by different watches.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import AlreadyExists, NotFound
from proa.objects.ip_addresses import FAMILY, is_allocated, make_ip_address, service_of
from proa.objects.resource import IP_ADDRESSES, SERVICE_CIDRS, SERVICES, Resource
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch

NAME = "ipallocator-repair"
GRACE_SECONDS = 60.0
"""A request that makes a Service takes its address first; none takes longer than this."""
Act = Literal["create", "replace", "delete", "tell"]


def _keys_of(address: Object) -> Iterable[Key]:
    """An address concerns itself, and the Service that it names."""
    yield Key("", meta.name(address))
    if (owner := service_of(address)) is not None:
        yield Key(*owner)


def _every_service(_: Object, caches: Caches) -> Iterable[Key]:
    return [Key(meta.namespace(service), meta.name(service)) for service in caches(SERVICES).list()]


WATCHES = (
    Watch(SERVICES),
    Watch(IP_ADDRESSES, keys_of=_keys_of),
    Watch(SERVICE_CIDRS, find_keys=_every_service),
)


class Finding(NamedTuple):
    """What is wrong with one address, what to do about it, and what to tell people."""

    act: Act
    reason: str
    message: str


def addresses_of(service: Object | None) -> list[str]:
    """Return the ClusterIPs that a Service has been given."""
    spec = (service or {}).get("spec") or {}
    if spec.get("type") == "ExternalName":
        return []
    return [ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP")] if ip and ip != "None"]


def check_service(
    service: Object, ip: str, cidrs: Sequence[str], address: Object | None, holder: Object | None
) -> Finding | None:
    """Return what is wrong with one ClusterIP of a Service; `holder` is the Service that its address object names."""
    where = f"{meta.namespace(service)}/{meta.name(service)}"
    family = "IPv6" if ":" in ip else "IPv4"
    if not any(_is_in(ip, cidr) for cidr in cidrs):
        return Finding(
            "tell",
            "ClusterIPOutOfRange",
            f"Cluster IP [{family}]: {ip} is not within any configured Service CIDR; please recreate service",
        )
    if address is None:
        return Finding(
            "create", "ClusterIPNotAllocated", f"Cluster IP [{family}]: {ip} is not allocated; repairing"
        )
    if service_of(address) != (meta.namespace(service), meta.name(service)):
        if service_of(address) is not None and ip in addresses_of(holder):
            return Finding(
                "tell",
                "ClusterIPAlreadyAllocated",
                f"Cluster IP [{family}]:{ip} was assigned to multiple services; please recreate service",
            )
        return Finding(
            "replace",
            "ClusterIPNotAllocated",
            f"the ClusterIP [{family}]: {ip} for Service {where} has a wrong reference; repairing",
        )
    if not is_allocated(address) or meta.labels(address).get(FAMILY) != family:
        return Finding("replace", "", "")
    return None


def check_address(address: Object, service: Object | None) -> Finding | None:
    """Return what is wrong with an address object that the allocator has made; `service` is the one that it names."""
    name, owner = meta.name(address), service_of(address)
    if not is_allocated(address) or (owner is not None and name in addresses_of(service)):
        return None
    if owner is None:
        parent = (address.get("spec") or {}).get("parentRef")
        why = (
            f"IPAddress {name} appears to have been modified, not referencing a Service {parent}: cleaning up"
        )
        return Finding("delete", "IPAddressNotAllocated", why)
    where = "/".join(owner)
    if service is None:
        why = f"IPAddress: {name} for Service {where} appears to have leaked: cleaning up"
        return Finding("delete", "IPAddressNotAllocated", why)
    why = f"IPAddress: {name} for Service {where} has a wrong reference; cleaning up"
    return Finding("delete", "IPAddressWrongReference", why)


def _is_in(ip: str, cidr: str) -> bool:
    try:
        return ipaddress.ip_address(ip) in ipaddress.ip_network(cidr)
    except ValueError:
        return False


async def reconcile(context: Context, key: Key) -> Result:
    """Mend the addresses of the Service `key`, or the address object `key.name`."""
    if key.namespace:
        return await _mend_service(context, key)
    return await _mend_address(context, key.name)


async def _mend_service(context: Context, key: Key) -> Result:
    cidrs = [cidr for obj in context.caches(SERVICE_CIDRS).list() for cidr in obj["spec"].get("cidrs") or ()]
    service = context.caches(SERVICES).get(key.name, key.namespace)
    if not cidrs or service is None:
        return DONE  # a server begins: its own range is not there yet
    for ip in addresses_of(service):
        known = context.caches(IP_ADDRESSES).get(ip)
        if _check(context, service, ip, cidrs, known) is None:
            continue
        now = await _find(context, SERVICES, key.name, key.namespace)
        address = await _find(context, IP_ADDRESSES, ip)
        if now is None or ip not in addresses_of(now):
            return DONE
        finding = _check(context, now, ip, cidrs, address)
        if finding is not None:
            await _mend(context, now, ip, address, finding)
    return DONE


def _check(
    context: Context, service: Object, ip: str, cidrs: Sequence[str], address: Object | None
) -> Finding | None:
    owner = service_of(address) if address is not None else None
    holder = context.caches(SERVICES).get(owner[1], owner[0]) if owner is not None else None
    return check_service(service, ip, cidrs, address, holder)


async def _mend_address(context: Context, name: str) -> Result:
    known = context.caches(IP_ADDRESSES).get(name)
    owner = service_of(known) if known is not None else None
    service = context.caches(SERVICES).get(owner[1], owner[0]) if owner is not None else None
    if known is None or check_address(known, service) is None:
        return DONE
    age = context.now() - meta.parse_time(known["metadata"]["creationTimestamp"])
    if age < GRACE_SECONDS:
        return Result(requeue_after=GRACE_SECONDS - age)
    address = await _find(context, IP_ADDRESSES, name)
    service = await _find(context, SERVICES, owner[1], owner[0]) if owner is not None else None
    if address is None or meta.uid(address) != meta.uid(known):
        return DONE
    finding = check_address(address, service)
    if finding is not None:
        await _mend(context, address, name, address, finding)
    return DONE


async def _mend(context: Context, about: Object, ip: str, address: Object | None, finding: Finding) -> None:
    if finding.reason:
        context.events.event(about, "Warning", finding.reason, finding.message)
    if finding.act in ("replace", "delete") and address is not None:
        try:
            await context.client.delete(IP_ADDRESSES, ip, uid=meta.uid(address))
        except NotFound:  # another server mends it too
            return
    if finding.act in ("create", "replace"):
        try:
            await context.client.create(
                IP_ADDRESSES, make_ip_address(ip, meta.namespace(about), meta.name(about))
            )
        except AlreadyExists:
            return


async def _find(
    context: Context, resource: Resource, name: str, namespace: str | None = None
) -> Object | None:
    """Ask the server itself: a Service and its address come by different watches."""
    try:
        return await context.client.get(resource, name, namespace)
    except NotFound:
        return None
