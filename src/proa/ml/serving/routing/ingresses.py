"""Make an Ingress for clusters without Gateway API: a host each for the InferenceService and its components.

Follows KServe's kube_ingress_reconciler.go, but for a host of the transformer, which leads to the transformer.
"""

from __future__ import annotations

from typing import Any

from proa.ml.serving.kinds import SERVICE_PORT
from proa.ml.serving.records import Object
from proa.ml.serving.routing.config import IngressConfig
from proa.ml.serving.routing.hosts import external_host
from proa.ml.serving.routing.parts import Component, component_name, entry_of
from proa.ml.serving.routing.services import make_metadata
from proa.objects import meta

KEPT_BACK = (
    "autoscaling.knative.dev/min-scale",
    "autoscaling.knative.dev/max-scale",
    "internal.serving.kserve.io/storage-initializer-sourceuri",
    "kubectl.kubernetes.io/last-applied-configuration",
)
"""Annotations of an InferenceService that an Ingress does not get."""


def make_ingress(service: Object, components: tuple[Component, ...], config: IngressConfig) -> Object:
    """Return the Ingress: all of a component's requests go to its main backend. Raises BadRoute."""
    name = meta.name(service)
    rules = [_rule(external_host(name, service, config), entry_of(components))]
    rules += [
        _rule(external_host(component_name(name, c.kind), service, config), c)
        for c in sorted(components, key=lambda c: c.kind)
    ]
    return _make_ingress(service, rules, config)


def make_graph_ingress(graph: Object, backend: Component, config: IngressConfig) -> Object:
    """Return the Ingress of an InferenceGraph, which has one host. Raises BadRoute."""
    return _make_ingress(graph, [_rule(external_host(meta.name(graph), graph, config), backend)], config)


def _make_ingress(service: Object, rules: list[dict[str, Any]], config: IngressConfig) -> Object:
    annotations = {key: value for key, value in meta.annotations(service).items() if key not in KEPT_BACK}
    spec: dict[str, Any] = {"rules": rules}
    if config.ingress_class:
        spec["ingressClassName"] = config.ingress_class
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": make_metadata(service, meta.name(service), {}) | {"annotations": annotations},
        "spec": spec,
    }


def _rule(host: str, component: Component) -> dict[str, Any]:
    backend = {"service": {"name": component.main.name, "port": {"number": SERVICE_PORT}}}
    return {
        "host": host,
        "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
    }
