"""Make the EndpointSlice that leads a revision's requests to the activator. Pure.

It stands beside the slices that the cluster makes of the revision's Service and its pods. Whatever carries Services out
(kube-proxy, Envoy) takes all slices of a Service together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from proa.ml.serving.kinds import REVISION_LABEL
from proa.objects import meta
from proa.objects.resource import ENDPOINT_SLICES, SERVICES

Object = dict[str, Any]

SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
MANAGER = "activator.serving.proa.local"


def slice_name(revision: str) -> str:
    """Return the name of a revision's slice."""
    return f"{revision}-activator"


def make_slice(service: Object, revision: str, address: str, port: int) -> Object:
    """Return the slice of the revision's Service: each port of it is the activator's."""
    labels = {REVISION_LABEL: revision, SERVICE_LABEL: meta.name(service), MANAGED_BY_LABEL: MANAGER}
    ports = (service.get("spec") or {}).get("ports") or ()
    return {
        "apiVersion": ENDPOINT_SLICES.api_version,
        "kind": ENDPOINT_SLICES.kind,
        "metadata": {
            "name": slice_name(revision),
            "namespace": meta.namespace(service),
            "labels": labels,
            "ownerReferences": [meta.make_owner_reference(service, SERVICES)],
        },
        "addressType": "IPv6" if ":" in address else "IPv4",
        "endpoints": [
            {"addresses": [address], "conditions": {"ready": True, "serving": True, "terminating": False}}
        ],
        "ports": [_make_port(one, port) for one in ports],
    }


def is_ours(found: Object) -> bool:
    """Tell whether a slice leads to the activator."""
    return meta.labels(found).get(MANAGED_BY_LABEL) == MANAGER


def says_the_same(found: Object, wanted: Object) -> bool:
    """Tell whether a slice leads where it should."""
    if meta.labels(found) != meta.labels(wanted):
        return False
    if any(found.get(key) != wanted[key] for key in ("addressType", "ports")):
        return False
    return [e.get("addresses") for e in found.get("endpoints") or ()] == [
        e["addresses"] for e in wanted["endpoints"]
    ]


def leads_to_pods(slices: Iterable[Object]) -> bool:
    """Tell whether the cluster's own slices of the Service have a ready endpoint."""
    return any(
        (endpoint.get("conditions") or {}).get("ready") is not False
        for one in slices
        if not is_ours(one)
        for endpoint in one.get("endpoints") or ()
    )


def _make_port(port: Object, number: int) -> Object:
    made = {"name": port.get("name") or "", "port": number, "protocol": port.get("protocol") or "TCP"}
    return made | ({"appProtocol": port["appProtocol"]} if port.get("appProtocol") else {})
