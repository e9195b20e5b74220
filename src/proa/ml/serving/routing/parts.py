"""The words of routing: what an InferenceService has that requests can go to, and what has to be made for them."""

from __future__ import annotations

from typing import Literal, NamedTuple

from proa.ml.serving.kinds import EXPLAINER, HTTP_PORT, PREDICTOR, TRANSFORMER
from proa.ml.serving.records import Object, Share
from proa.objects.resource import Resource

GATEWAY_GROUP = "gateway.networking.k8s.io"
HTTP_ROUTES = Resource(GATEWAY_GROUP, "v1", "httproutes", "HTTPRoute", namespaced=True)
GATEWAYS = Resource(GATEWAY_GROUP, "v1", "gateways", "Gateway", namespaced=True)

HTTP_PORT_NAME, GRPC_PORT_NAME = "http1", "h2c"
H2C = "kubernetes.io/h2c"
GRPC_SERVICE_PORT = 8081
"""Of a Service whose pods speak both: 80 is HTTP/1.1 then. A Service of gRPC alone has it at 80."""

Way = Literal["gateway", "ingress"]
"""What brings requests from outside: Gateway API's HTTPRoutes, or an Ingress where the cluster has no such thing."""


class BadRoute(Exception):
    """What was asked for gives no address; the message says which and why."""


class Ports(NamedTuple):
    """Where pods are served: HTTP/1.1, and HTTP/2 without TLS (gRPC); 0 for none of that."""

    http: int = HTTP_PORT
    grpc: int = 0


class Backend(NamedTuple):
    """Pods of one kind, as one Service of that name has them: a revision; in Standard mode a Deployment's."""

    name: str
    selector: tuple[tuple[str, str], ...]
    """The labels of its pods."""
    ports: Ports = Ports()


class Component(NamedTuple):
    """A predictor, transformer or explainer: all backends that are kept, and who gets how much of the traffic."""

    kind: str
    backends: tuple[Backend, ...]
    shares: tuple[Share, ...] = ()
    """Their `revision` is a backend's name. None at all while nothing of it has become ready yet."""
    timeout_seconds: int | None = None

    def backend(self, name: str) -> Backend:
        """Return the backend of that name; raise KeyError."""
        for backend in self.backends:
            if backend.name == name:
                return backend
        raise KeyError(name)

    @property
    def main(self) -> Backend:
        """Return the backend with the most of the traffic (of several the later one)."""
        percents: dict[str, int] = {}
        for share in self.shares:
            percents[share.revision] = percents.get(share.revision, 0) + share.percent
        return self.backend(max(percents, key=lambda name: (percents[name], name)))


class Routing(NamedTuple):
    """Everything that has to be there for an InferenceService, all owned by it."""

    services: tuple[Object, ...] = ()
    routes: tuple[Object, ...] = ()
    ingresses: tuple[Object, ...] = ()


def component_name(service_name: str, kind: str) -> str:
    """Return what a component is called, as host and Service."""
    return f"{service_name}-{kind}"


def entry_of(components: tuple[Component, ...]) -> Component:
    """Return the component that requests come to first: the transformer, else the predictor."""
    by_kind = {component.kind: component for component in components}
    return by_kind.get(TRANSFORMER) or by_kind[PREDICTOR]


def explainer_of(components: tuple[Component, ...]) -> Component | None:
    """Return the explainer, if there is one."""
    return next((component for component in components if component.kind == EXPLAINER), None)
