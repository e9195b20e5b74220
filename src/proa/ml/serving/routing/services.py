"""Make the Services of an InferenceService: one for each backend's pods, and the names that lead to the gateway."""

from __future__ import annotations

from typing import Any

from proa.ml.serving.kinds import (
    COMPONENT_LABEL,
    GRAPH_LABEL,
    INFERENCE_GRAPHS,
    INFERENCE_SERVICES,
    REVISION_LABEL,
    SERVICE_LABEL,
    SERVICE_PORT,
)
from proa.ml.serving.records import Object
from proa.ml.serving.routing.parts import (
    GRPC_PORT_NAME,
    GRPC_SERVICE_PORT,
    H2C,
    HTTP_PORT_NAME,
    Backend,
    Ports,
)
from proa.objects import meta


def make_metadata(service: Object, name: str, labels: dict[str, str]) -> dict[str, Any]:
    """Return the metadata of what belongs to an InferenceService, or to an InferenceGraph."""
    is_graph = service.get("kind") == INFERENCE_GRAPHS.kind
    label, owner = (GRAPH_LABEL, INFERENCE_GRAPHS) if is_graph else (SERVICE_LABEL, INFERENCE_SERVICES)
    return {
        "name": name,
        "namespace": meta.namespace(service),
        "labels": {label: meta.name(service), **labels},
        "ownerReferences": [meta.make_owner_reference(service, owner)],
    }


def make_revision_service(service: Object, kind: str, backend: Backend) -> Object:
    """Return the Service of a revision's pods. Its EndpointSlices are of these, and the activator's."""
    return make_pods_service(service, backend.name, kind, backend, {REVISION_LABEL: backend.name})


def make_pods_service(
    service: Object, name: str, kind: str, backend: Backend, labels: dict[str, str] | None = None
) -> Object:
    """Return a Service by which a name is a backend's pods; `kind` is the component's, "" of the whole."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": make_metadata(service, name, _of_component(kind) | (labels or {})),
        "spec": {"type": "ClusterIP", "selector": dict(backend.selector), "ports": make_ports(backend.ports)},
    }


def make_ports(ports: Ports) -> list[dict[str, Any]]:
    """Return a Service's ports: the first is at 80, whichever protocol that is."""
    http = {"name": HTTP_PORT_NAME, "targetPort": ports.http, "protocol": "TCP"}
    grpc = {"name": GRPC_PORT_NAME, "targetPort": ports.grpc, "protocol": "TCP", "appProtocol": H2C}
    if not ports.grpc:
        return [http | {"port": SERVICE_PORT}]
    if not ports.http:
        return [grpc | {"port": SERVICE_PORT}]
    return [http | {"port": SERVICE_PORT}, grpc | {"port": GRPC_SERVICE_PORT}]


def make_alias(service: Object, name: str, kind: str, target: str) -> Object:
    """Return the Service by which a name inside of the cluster is the gateway's (`target`, its DNS name)."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": make_metadata(service, name, _of_component(kind)),
        "spec": {"type": "ExternalName", "externalName": target, "sessionAffinity": "None"},
    }


def _of_component(kind: str) -> dict[str, str]:
    return {COMPONENT_LABEL: kind} if kind else {}
