"""Read the objects that pods refer to, and notice when those that their volumes show change.

Each followed ConfigMap or Secret has one watch, however many pods show it, and none once no pod does. Follows
pkg/kubelet/util/manager/watch_based_manager.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import field

from proa.client.protocol import Client, Object
from proa.node.volumes.payloads import ObjectKey
from proa.objects.meta import resource_version
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import Resource
from proa.reconcile.informer import Informer
from proa.reconcile.reflector import Scope


@dataclass(slots=True)
class _Followed:
    task: asyncio.Task[None]
    pods: set[str] = field(default_factory=set)


class ObjectSources:
    """One node's view of ConfigMaps, Secrets and other objects. `on_change` is told the uid of each pod concerned."""

    def __init__(self, client: Client, on_change: Callable[[str], None]) -> None:
        self._client = client
        self._on_change = on_change
        self._followed: dict[ObjectKey, _Followed] = {}
        self._seen: dict[ObjectKey, str] = {}

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """Return the object as it is now; raise NotFound."""
        found = await self._client.get(resource, name, namespace or None)
        key = (resource, namespace, name)
        if key in self._followed:
            self._seen[key] = resource_version(found)
        return found

    def follow(self, pod_uid: str, keys: set[ObjectKey]) -> None:
        """Have `on_change` called when one of these objects changes; replaces what the pod followed before."""
        for key in keys:
            if key not in self._followed:
                self._followed[key] = _Followed(asyncio.create_task(self._run(key), name=f"follow {key[2]}"))
            self._followed[key].pods.add(pod_uid)
        for key, followed in [*self._followed.items()]:
            if pod_uid in followed.pods and key not in keys:
                followed.pods.discard(pod_uid)
                if not followed.pods:
                    followed.task.cancel()
                    del self._followed[key]
                    self._seen.pop(key, None)

    def unfollow(self, pod_uid: str) -> None:
        """Forget a pod."""
        self.follow(pod_uid, set())

    async def stop(self) -> None:
        """End every watch."""
        tasks = [followed.task for followed in self._followed.values()]
        self._followed.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, key: ObjectKey) -> None:
        resource, namespace, name = key
        informer = Informer(self._client, Scope(resource, namespace, "", f"metadata.name={name}"))
        informer.listen(lambda old, new: self._changed(key, new))
        await informer.run()

    def _changed(self, key: ObjectKey, new: Object | None) -> None:
        followed = self._followed.get(key)
        if followed is None or (new is not None and self._seen.get(key) == resource_version(new)):
            return
        for pod_uid in [*followed.pods]:
            self._on_change(pod_uid)
