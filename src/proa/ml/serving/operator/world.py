"""What a reconcile of an InferenceService sees: itself, what it owns, the runtimes it may use, how it is all set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from proa.client.protocol import Client, Object
from proa.ml.serving.kinds import CLUSTER_SERVING_RUNTIMES, SERVICE_LABEL, SERVING_RUNTIMES
from proa.ml.serving.operator.configuration import Configuration
from proa.ml.serving.routing.parts import GATEWAYS, HTTP_ROUTES
from proa.ml.serving.settings import ServingSettings
from proa.objects import meta
from proa.objects.resource import INGRESSES, PODS, Resource
from proa.reconcile.protocol import Context


class World:
    """Reads caches by index: it costs what one InferenceService has."""

    def __init__(
        self, context: Context, settings: ServingSettings, isvc: Object, configuration: Configuration
    ) -> None:
        self.context = context
        self.settings = settings
        self.isvc = isvc
        self.configuration = configuration

    @property
    def client(self) -> Client:
        """Return what writes."""
        return self.context.client

    def owned(self, resource: Resource) -> list[Object]:
        """Return what the InferenceService controls, by name."""
        cache = self.context.caches(resource, "", SERVICE_LABEL)
        return sorted(cache.by_index("controller", meta.uid(self.isvc)), key=meta.name)

    @cached_property
    def pods(self) -> Sequence[Object]:
        """Return the pods of all its components."""
        found = self.context.caches(PODS, "", SERVICE_LABEL).by_index(
            "label", f"{SERVICE_LABEL}={meta.name(self.isvc)}"
        )
        return [pod for pod in found if meta.namespace(pod) == meta.namespace(self.isvc)]

    @property
    def gateway(self) -> Object | None:
        """Return the Gateway that its routes are for; None where there is none."""
        if self.settings.way != "gateway":
            return None
        namespace, _, name = self.configuration.ingress.gateway.partition("/")
        return self.context.caches(GATEWAYS).get(name, namespace)

    @property
    def route_kind(self) -> Resource:
        """Return the kind of what leads requests to it from outside."""
        return HTTP_ROUTES if self.settings.way == "gateway" else INGRESSES

    def runtimes(self) -> tuple[Sequence[Object], Sequence[Object]]:
        """Return the runtimes of its namespace, and those of the cluster."""
        namespace = meta.namespace(self.isvc)
        return (
            self.context.caches(SERVING_RUNTIMES).by_index("namespace", namespace),
            self.context.caches(CLUSTER_SERVING_RUNTIMES).list(),
        )
