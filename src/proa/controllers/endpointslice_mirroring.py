"""Mirror Endpoints that somebody else writes for a Service without a selector into EndpointSlices.

There is one slice for each set of ports and address family. Watches endpoints, services and slices; writes slices.
Follows upstream's pkg/controller/endpointslicemirroring.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import ApiError, NotFound
from proa.objects.resource import ENDPOINT_SLICES, ENDPOINTS, SERVICES
from proa.reconcile.pod_control import is_namespace_terminating
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch

NAME = "endpoint-slice-mirroring"
ACCOUNT = "endpointslicemirroring-controller"
MAX_ADDRESSES = 1000
"""So many addresses of a subset are mirrored, ready ones first."""
SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP_LABEL = "endpointslice.kubernetes.io/skip-mirror"
LEADER_ANNOTATION = "control-plane.alpha.kubernetes.io/leader"
NOT_MIRRORED = (
    "endpoints.kubernetes.io/last-change-trigger-time",
    "kubectl.kubernetes.io/last-applied-configuration",
)
"""Annotations that stay with the Endpoints."""


def _keys_of_slice(endpoint_slice: Object) -> Iterable[Key]:
    given = meta.labels(endpoint_slice)
    if given.get(MANAGED_BY_LABEL) == MANAGER and given.get(SERVICE_LABEL):
        yield Key(meta.namespace(endpoint_slice), given[SERVICE_LABEL])


def _selects_alike(old: Object, new: Object) -> bool:
    return bool(old["spec"].get("selector")) == bool(new["spec"].get("selector"))


WATCHES: Sequence[Watch] = (
    Watch(ENDPOINTS),
    Watch(SERVICES, ignores=_selects_alike),
    Watch(ENDPOINT_SLICES, keys_of=_keys_of_slice),
)

Kind = tuple[str, tuple[tuple[str, int, str, str], ...]]
"""An address family, and ports: name, number, protocol, application protocol."""


class Plan(NamedTuple):
    """The slices to create, to write over what is there, and to delete; what could not be mirrored."""

    create: tuple[Object, ...] = ()
    update: tuple[Object, ...] = ()
    delete: tuple[Object, ...] = ()
    invalid: int = 0
    skipped: int = 0


def is_mirrored(endpoints: Object | None, service: Object | None) -> bool:
    """Tell whether these Endpoints are somebody's own, for a Service that has no selector."""
    if endpoints is None or service is None or service["spec"].get("selector"):
        return False
    return meta.labels(endpoints).get(SKIP_LABEL) != "true" and LEADER_ANNOTATION not in meta.annotations(
        endpoints
    )


def plan(endpoints: Object, slices: Sequence[Object]) -> Plan:
    """Compare the Endpoints with the slices that mirror them."""
    wanted, ports, invalid, skipped = _read(endpoints)
    existing: dict[Kind, list[Object]] = {}
    for one in slices:
        existing.setdefault((one["addressType"], _ports_key(one.get("ports") or ())), []).append(one)
    create: list[Object] = []
    update: list[Object] = []
    delete: list[Object] = []
    for kind, addresses in wanted.items():
        found = existing.pop(kind, [])
        first = found[0] if found else None
        delete += found[1:]
        made = _make_slice(endpoints, kind[0], ports[kind[1]], list(addresses.values())[:MAX_ADDRESSES])
        if first is None:
            create.append(made)
        elif not _is_same(first, made):
            update.append(_written_over(first, made))
    delete += [one for group in existing.values() for one in group]
    for made in [*create]:  # what is not needed any more is cheaper written over than deleted
        spare = next((one for one in delete if one["addressType"] == made["addressType"]), None)
        if spare is not None:
            create.remove(made)
            delete.remove(spare)
            update.append(_written_over(spare, made))
    if meta.is_deleting(endpoints):
        create = []
    return Plan(tuple(create), tuple(update), tuple(delete), invalid, skipped)


def _read(
    endpoints: Object,
) -> tuple[dict[Kind, dict[tuple[str, str], Object]], dict[Any, list[Object]], int, int]:
    """Return the endpoints wanted of each kind, the ports by their key, and how many are invalid and skipped."""
    wanted: dict[Kind, dict[tuple[str, str], Object]] = {}
    ports: dict[Any, list[Object]] = {}
    invalid = skipped = 0
    for subset in endpoints.get("subsets") or ():
        key = _ports_key(subset.get("ports") or ())
        ports[key] = [_make_port(port) for port in subset.get("ports") or ()]
        added = 0
        for group, ready in (("addresses", True), ("notReadyAddresses", False)):
            for address in subset.get(group) or ():
                if added >= MAX_ADDRESSES:
                    skipped += 1
                    continue
                found = _make_endpoint(address, ready=ready)
                if found is None:
                    invalid += 1
                    continue
                family = "IPv6" if ":" in found["addresses"][0] else "IPv4"
                identity = (found["addresses"][0], found.get("hostname", ""))
                wanted.setdefault((family, key), {})[identity] = found
                added += 1
    return wanted, ports, invalid, skipped


def _ports_key(ports: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, int, str, str], ...]:
    return tuple(
        sorted(
            (p.get("name") or "", p.get("port") or 0, p.get("protocol") or "TCP", p.get("appProtocol") or "")
            for p in ports
        )
    )


def _make_port(port: Object) -> Object:
    made = {"name": port.get("name") or "", "port": port["port"], "protocol": port.get("protocol") or "TCP"}
    return {**made, "appProtocol": port["appProtocol"]} if port.get("appProtocol") else made


def _make_endpoint(address: Object, *, ready: bool) -> Object | None:
    try:
        ip = str(ip_address(address.get("ip") or ""))
    except ValueError:
        return None
    kept = {key: address[key] for key in ("hostname", "nodeName", "targetRef") if address.get(key)}
    return {"addresses": [ip], "conditions": {"ready": ready}, **kept}


def _make_slice(
    endpoints: Object, family: str, ports: Sequence[Object], addresses: Sequence[Object]
) -> Object:
    name = meta.name(endpoints)
    kept = {k: v for k, v in meta.annotations(endpoints).items() if k not in NOT_MIRRORED}
    return {
        "apiVersion": ENDPOINT_SLICES.api_version,
        "kind": ENDPOINT_SLICES.kind,
        "metadata": {
            "generateName": f"{name}-",
            "namespace": meta.namespace(endpoints),
            "labels": {**meta.labels(endpoints), SERVICE_LABEL: name, MANAGED_BY_LABEL: MANAGER},
            "annotations": kept,
            "ownerReferences": [meta.make_owner_reference(endpoints, ENDPOINTS)],
        },
        "addressType": family,
        "endpoints": list(addresses),
        "ports": list(ports),
    }


def _is_same(existing: Object, made: Object) -> bool:
    return (
        meta.labels(existing) == meta.labels(made)
        and meta.annotations(existing) == meta.annotations(made)
        and _by_address(existing) == _by_address(made)
    )


def _by_address(endpoint_slice: Object) -> dict[tuple[str, str], Object]:
    found = endpoint_slice.get("endpoints") or ()
    return {(one["addresses"][0], one.get("hostname", "")): one for one in found}


def _written_over(existing: Object, made: Object) -> Object:
    metadata = {
        **existing["metadata"],
        **{key: made["metadata"][key] for key in ("labels", "annotations", "ownerReferences")},
    }
    return {**existing, "metadata": metadata, "endpoints": made["endpoints"], "ports": made["ports"]}


async def reconcile(context: Context, key: Key) -> Result:
    """Bring the mirrored slices to the Endpoints, or remove them where there is nothing to mirror."""
    endpoints = context.caches(ENDPOINTS).get(key.name, key.namespace)
    service = context.caches(SERVICES).get(key.name, key.namespace)
    slices = [
        found
        for found in context.caches(ENDPOINT_SLICES).by_index("label", f"{SERVICE_LABEL}={key.name}")
        if meta.namespace(found) == key.namespace and meta.labels(found).get(MANAGED_BY_LABEL) == MANAGER
    ]
    if endpoints is None or not is_mirrored(endpoints, service):
        await asyncio.gather(*(_delete(context, one) for one in slices))
        return DONE
    decided = plan(endpoints, slices)
    _tell(context, endpoints, decided)
    try:
        await asyncio.gather(
            *(context.client.create(ENDPOINT_SLICES, made, key.namespace) for made in decided.create),
            *(context.client.update(ENDPOINT_SLICES, changed) for changed in decided.update),
            *(_delete(context, one) for one in decided.delete),
        )
    except ApiError as error:
        if not is_namespace_terminating(error):
            raise
    return DONE


def _tell(context: Context, endpoints: Object, decided: Plan) -> None:
    if decided.invalid:
        message = f"Skipped {decided.invalid} invalid IP addresses when mirroring to EndpointSlices"
        context.events.event(endpoints, "Warning", "InvalidIPAddress", message)
    if decided.skipped:
        most = f"A max of {MAX_ADDRESSES} addresses can be mirrored to EndpointSlices per Endpoints subset."
        message = f"{most} {decided.skipped + decided.invalid} addresses were skipped"
        context.events.event(endpoints, "Warning", "TooManyAddressesToMirror", message)


async def _delete(context: Context, one: Object) -> None:
    if meta.is_deleting(one):
        return
    try:
        await context.client.delete(ENDPOINT_SLICES, meta.name(one), meta.namespace(one), uid=meta.uid(one))
    except NotFound:
        return
