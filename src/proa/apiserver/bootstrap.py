"""See at every start that the objects are there that a cluster cannot be without.

Namespaces as kubeadm has them, the priority classes of system pods (pkg/registry/scheduling/rest), the Service,
Endpoints and EndpointSlice by which pods reach the API server, the default ServiceCIDR, and what flow control starts
with (pkg/controlplane/controller/kubernetesservice, systemnamespaces, defaultservicecidr). Running it twice changes
nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import time
from collections.abc import Coroutine
from typing import Any

from proa.apiserver.bootstrap_flowcontrol import ensure_flow_control
from proa.apiserver.resources.scheduling.priorityclass import SYSTEM_CLASSES
from proa.client.protocol import Client, Object
from proa.objects import meta
from proa.objects.errors import AlreadyExists, Conflict, NotFound
from proa.objects.resource import (
    ENDPOINT_SLICES,
    ENDPOINTS,
    NAMESPACES,
    PRIORITY_CLASSES,
    SERVICE_CIDRS,
    SERVICES,
    Resource,
)

SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
NAME = "kubernetes"
PORT = 443


async def ensure_system_objects(client: Client, *, service_cidr: str, address: str, port: int) -> None:
    """Create what is missing, and bring the endpoints to `address`:`port`, where the API server listens for pods."""
    endpoint_slice = make_endpoint_slice(address, port)
    await _ensure_first(client)
    await asyncio.gather(
        *_ensure_others(client, service_cidr, port),
        ensure(client, ENDPOINTS, make_endpoints(address, port), "default", ("subsets",)),
        ensure(client, ENDPOINT_SLICES, endpoint_slice, "default", ("endpoints", "ports")),
    )


async def ensure_shared_objects(client: Client, *, service_cidr: str, port: int) -> None:
    """Create what is missing but for the endpoints, which several API servers keep together (members.py)."""
    await _ensure_first(client)
    await asyncio.gather(*_ensure_others(client, service_cidr, port))


async def _ensure_first(client: Client) -> None:
    await asyncio.gather(
        ensure_namespaces(client),
        *[ensure(client, PRIORITY_CLASSES, wanted, None) for wanted in SYSTEM_CLASSES],
    )


def _ensure_others(client: Client, service_cidr: str, port: int) -> list[Coroutine[Any, Any, None]]:
    return [
        ensure(client, SERVICES, make_service(service_cidr, port), "default"),
        ensure_service_cidr(client, service_cidr),
        ensure_flow_control(client),
    ]


async def ensure_namespaces(client: Client) -> None:
    """Create the namespaces of the system that are missing."""
    await asyncio.gather(
        *[ensure(client, NAMESPACES, {"metadata": {"name": name}}, None) for name in SYSTEM_NAMESPACES]
    )


async def ensure_service_cidr(client: Client, service_cidr: str) -> None:
    """Create the ServiceCIDR `kubernetes`, and say that it is ready if it is the one that is allocated from.

    One of before that lacks the second family gets it.
    """
    cidrs = service_cidr.split(",")
    await ensure(client, SERVICE_CIDRS, {"metadata": {"name": NAME}, "spec": {"cidrs": cidrs}}, None)
    while True:
        found = await client.get(SERVICE_CIDRS, NAME)
        if len(cidrs) == 2 and found["spec"]["cidrs"] == cidrs[:1] and not meta.is_deleting(found):
            with contextlib.suppress(Conflict):
                await client.update(SERVICE_CIDRS, {**found, "spec": {"cidrs": cidrs}})
            continue
        conditions = (found.get("status") or {}).get("conditions") or []
        is_told = any(condition.get("type") == "Ready" for condition in conditions)
        if is_told or found["spec"]["cidrs"] != cidrs or meta.is_deleting(found):
            return
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "",
            "message": "Kubernetes default Service CIDR is ready",
            "lastTransitionTime": meta.format_time(time.time()),
        }
        try:
            await client.update(
                SERVICE_CIDRS, {**found, "status": {"conditions": [*conditions, ready]}}, "status"
            )
        except Conflict:
            continue
        return


def make_service(service_cidr: str, port: int) -> Object:
    """Return default/kubernetes, at the first address of the service range."""
    return {
        "metadata": {
            "name": NAME,
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": str(ipaddress.ip_network(service_cidr.split(",")[0])[1]),
            "type": "ClusterIP",
            "ports": [{"name": "https", "port": PORT, "protocol": "TCP", "targetPort": port}],
        },
    }


def make_endpoints(address: str, port: int) -> Object:
    """Return its Endpoints; the label keeps the mirroring controller away from them."""
    return {
        "metadata": {
            "name": NAME,
            "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [
            {"addresses": [{"ip": address}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}
        ],
    }


def make_endpoint_slice(address: str, port: int) -> Object:
    """Return its EndpointSlice, of the same name."""
    return {
        "metadata": {
            "name": NAME,
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": NAME},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }


async def ensure(
    client: Client, resource: Resource, wanted: Object, namespace: str | None, kept: tuple[str, ...] = ()
) -> None:
    """Create `wanted`, or bring its fields named in `kept` to what is wanted."""
    name: str = wanted["metadata"]["name"]
    while True:
        try:
            found = await client.get(resource, name, namespace)
        except NotFound:
            body = {"apiVersion": resource.api_version, "kind": resource.kind, **wanted}
            try:
                await client.create(resource, body, namespace)
            except AlreadyExists:
                continue
            return
        changed: dict[str, Any] = {
            key: wanted[key] for key in kept if not _is_within(wanted[key], found.get(key))
        }
        if not changed:
            return
        try:
            await client.update(resource, {**found, **changed})
        except Conflict:
            continue
        return


def _is_within(wanted: Any, found: Any) -> bool:
    """Tell whether all that is wanted is there; defaults may stand beside it."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(_is_within(v, found.get(k)) for k, v in wanted.items())
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(_is_within(w, f) for w, f in zip(wanted, found, strict=True))
        )
    return bool(wanted == found)
