"""Answer planners from the informers' caches, and note what they asked: a change of that has all planned again."""

from __future__ import annotations

from proa.client.protocol import Object
from proa.network.data_path import SERVICE_NAME_LABEL
from proa.network.gateway.model import ObjectKey
from proa.network.gateway.plan import Objects
from proa.network.gateway.resources import (
    GATEWAY_CLASSES,
    GATEWAYS,
    REFERENCE_GRANTS,
    ROUTES,
)
from proa.objects import meta
from proa.objects.resource import (
    ENDPOINT_SLICES,
    INGRESS_CLASSES,
    INGRESSES,
    NAMESPACES,
    SECRETS,
    SERVICES,
    Resource,
)
from proa.reconcile.informer import Informer, InformerFactory

CORE = (INGRESSES, INGRESS_CLASSES, SERVICES, ENDPOINT_SLICES, SECRETS, NAMESPACES)


class Caches:
    """The informers, those of Gateway API's resources only while the server has these. A `World`."""

    def __init__(self, informers: InformerFactory) -> None:
        self._informers = {resource.plural: informers.informer(resource) for resource in CORE}
        self.services: set[ObjectKey] = set()
        self.secrets: set[ObjectKey] = set()
        self.namespaces: set[str] = set()

    def find(self, resource: Resource) -> Informer | None:
        """Return the informer of a resource, whatever its version."""
        return self._informers.get(resource.plural)

    def add(self, resource: Resource, informer: Informer) -> None:
        """Have a further resource."""
        self._informers[resource.plural] = informer

    def remove(self, resource: Resource) -> Informer | None:
        """Have a resource no more; return its informer."""
        return self._informers.pop(resource.plural, None)

    async def wait_synced(self) -> None:
        """Return when all of them have their first list."""
        for informer in [*self._informers.values()]:
            await informer.wait_synced()

    def objects(self) -> Objects:
        """Return what may concern the gateway, and forget what was asked."""
        self.services, self.secrets, self.namespaces = set(), set(), set()
        return Objects(
            ingress_classes=self._list(INGRESS_CLASSES),
            ingresses=self._list(INGRESSES),
            gateway_classes=self._list(GATEWAY_CLASSES),
            gateways=self._list(GATEWAYS),
            routes={resource.kind: self._list(resource) for resource in ROUTES},
        )

    def _list(self, resource: Resource) -> list[Object]:
        informer = self._informers.get(resource.plural)
        return [*informer.list()] if informer is not None else []

    def service(self, key: ObjectKey) -> Object | None:
        """See `World`."""
        self.services.add(key)
        return self._informers[SERVICES.plural].get(key.name, key.namespace)

    def secret(self, key: ObjectKey) -> Object | None:
        """See `World`."""
        self.secrets.add(key)
        return self._informers[SECRETS.plural].get(key.name, key.namespace)

    def namespace(self, name: str) -> Object | None:
        """See `World`."""
        self.namespaces.add(name)
        return self._informers[NAMESPACES.plural].get(name)

    def grants(self, namespace: str) -> list[Object]:
        """See `World`."""
        informer = self._informers.get(REFERENCE_GRANTS.plural)
        return [*informer.list(namespace)] if informer is not None else []

    def slices(self, key: ObjectKey) -> list[Object]:
        """Return a Service's EndpointSlices."""
        labelled = self._informers[ENDPOINT_SLICES.plural].by_index(
            "label", f"{SERVICE_NAME_LABEL}={key.name}"
        )
        return [slice_ for slice_ in labelled if meta.namespace(slice_) == key.namespace]
