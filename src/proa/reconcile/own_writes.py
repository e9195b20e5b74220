"""Keep a controller's caches from lagging behind its own writes.

A controller that creates a pod and reads its cache a moment later must find the pod there, or it creates
another. Upstream counts what it expects to see (pkg/controller/controller_utils.go, "expectations"); here the
client itself puts what each write returned into the caches (as client-go's tools/cache/mutation_cache.go), so
that no controller has to think of it. Resource versions are compared as integers (KEP-5504).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import field

from proa.client.protocol import (
    MERGE_PATCH,
    Client,
    Object,
    ObjectList,
    PatchType,
    PropagationPolicy,
    WatchEvent,
)
from proa.objects.meta import labels
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import Resource
from proa.objects.selectors import parse_label_selector
from proa.reconcile.protocol import Cache, Caches


@dataclass(frozen=True, slots=True)
class OwnWritesClient:
    """A `Client` whose writes the caches see at once. `caches` raises KeyError for what has no informer.

    `label_selectors` names the caches of a resource that hold only what a label selector selects.
    """

    client: Client
    caches: Caches
    label_selectors: Mapping[Resource, Sequence[str]] = field(default_factory=dict)

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """Return one object, from the server."""
        return await self.client.get(resource, name, namespace)

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
        metadata_only: bool = False,
    ) -> ObjectList:
        """Return the objects that match, from the server."""
        return await self.client.list(
            resource,
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            limit=limit,
            continue_token=continue_token,
            metadata_only=metadata_only,
        )

    def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        timeout_seconds: int = 0,
        metadata_only: bool = False,
    ) -> AsyncIterator[WatchEvent]:
        """Yield changes, from the server."""
        return self.client.watch(
            resource,
            namespace,
            resource_version=resource_version,
            label_selector=label_selector,
            field_selector=field_selector,
            timeout_seconds=timeout_seconds,
            metadata_only=metadata_only,
        )

    async def create(self, resource: Resource, obj: Object, namespace: str | None = None) -> Object:
        """Create, and let the cache know."""
        return self._wrote(resource, await self.client.create(resource, obj, namespace))

    async def update(self, resource: Resource, obj: Object, subresource: str = "") -> Object:
        """Replace, and let the cache know."""
        return self._wrote(resource, await self.client.update(resource, obj, subresource))

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: object,
        namespace: str | None = None,
        *,
        patch_type: PatchType = MERGE_PATCH,
        subresource: str = "",
    ) -> Object:
        """Patch, and let the cache know."""
        return self._wrote(
            resource,
            await self.client.patch(
                resource, name, patch, namespace, patch_type=patch_type, subresource=subresource
            ),
        )

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: PropagationPolicy | None = None,
        uid: str = "",
        resource_version: str = "",
    ) -> Object:
        """Delete, and let the cache know whether the object is gone or going."""
        answer = await self.client.delete(
            resource,
            name,
            namespace,
            grace_period_seconds=grace_period_seconds,
            propagation_policy=propagation_policy,
            uid=uid,
            resource_version=resource_version,
        )
        if answer.get("kind") != "Status":
            return self._wrote(resource, answer)
        if gone := uid or (answer.get("details") or {}).get("uid", ""):
            for cache in self._find_caches(resource):
                cache.removed(name, namespace or "", gone)
        return answer

    async def create_subresource(
        self, resource: Resource, name: str, subresource: str, obj: Object, namespace: str | None = None
    ) -> Object:
        """POST to a subresource; what it answers is of another kind, so no cache takes it in."""
        return await self.client.create_subresource(resource, name, subresource, obj, namespace)

    async def request(self, method: str, path: str, body: object = None) -> Object:
        """Send any other request."""
        return await self.client.request(method, path, body)

    async def read(self, path: str, *, limit_bytes: int = 0) -> bytes:
        """Return the answer to a GET of what is not an object."""
        return await self.client.read(path, limit_bytes=limit_bytes)

    async def close(self) -> None:
        """Let go of connections."""
        await self.client.close()

    def _wrote(self, resource: Resource, answer: Object) -> Object:
        if answer.get("kind") == resource.kind:
            for cache in self._find_caches(resource, answer):
                cache.wrote(answer)
        return answer

    def _find_caches(self, resource: Resource, obj: Object | None = None) -> Iterable[Cache]:
        """Find the caches of a resource, of those with a selector only where it selects `obj`."""
        with suppress(KeyError):
            yield self.caches(resource)
        for selector in self.label_selectors.get(resource, ()):
            if obj is None or parse_label_selector(selector).matches(labels(obj)):
                yield self.caches(resource, "", selector)
