"""Decide how pods reach the proxy: a Service of kube-system with an EndpointSlice that leads to its ports. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from proa.client.protocol import Object
from proa.network.data_path import SERVICE_NAME_LABEL

NAMESPACE = "kube-system"
NAME = "proa-gateway"
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
METRICS_PORT = 9901


class Exposure(NamedTuple):
    """The two objects."""

    service: Object
    slice: Object


def plan_exposure(
    in_node: Mapping[int, tuple[str, int]], public: Mapping[int, int], metrics: tuple[str, int]
) -> Exposure:
    """Return the objects for these ports: where each is in the node, and which it has on the host (it works too)."""
    places = {METRICS_PORT: metrics}
    for port, place in in_node.items():
        places[port] = place
    for port, place in in_node.items():
        places.setdefault(public.get(port, port), place)
    names = {port: "metrics" if port == METRICS_PORT else f"port-{port}" for port in places}
    labels = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/managed-by": "proa"}
    annotations = {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(METRICS_PORT),
        "prometheus.io/path": "/metrics",
    }
    service = {
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": {
            "type": "ClusterIP",
            "ports": [
                {"name": names[port], "port": port, "targetPort": port, "protocol": "TCP"}
                for port in sorted(places)
            ],
        },
    }
    slice_ = {
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {SERVICE_NAME_LABEL: NAME, MANAGED_BY_LABEL: "gateway.proa.local"},
        },
        "addressType": "IPv6" if ":" in metrics[0] else "IPv4",
        "endpoints": [{"addresses": [metrics[0]], "conditions": {"ready": True}}],
        "ports": [
            {"name": names[port], "port": places[port][1], "protocol": "TCP"} for port in sorted(places)
        ],
    }
    return Exposure(service, slice_)
