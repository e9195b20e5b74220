"""Follow the runs of Trials, of whatever kinds they are: each kind is watched from the first Trial of it on.

Only what has a trial's label is watched. A kind that the server does not have, or that the operator may not watch, is
said so to who asks. Source: pkg/controller.v1beta1/trial/trial_controller.go of kubeflow/katib (its watches are of the
kinds in katib-config; here no list is needed).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from proa.client.protocol import Client, Object
from proa.ml.tuning.kinds import TRIAL_LABEL
from proa.objects import meta
from proa.objects.errors import Forbidden, NotFound
from proa.objects.resource import Resource
from proa.reconcile.informer import Informer, InformerFactory
from proa.reconcile.kinds import Kinds
from proa.reconcile.protocol import Key

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class Runs:
    """The caches of runs. `enqueue` is told the Trial of a run that changed."""

    def __init__(self, client: Client, enqueue: Callable[[Key], None], now: Callable[[], float]) -> None:
        self._client = client
        self._enqueue = enqueue
        self._kinds = Kinds(now)
        self._informers = InformerFactory(client)
        self._informers.start()
        self._following: dict[Resource, asyncio.Task[Informer]] = {}

    async def find_resource(self, run: Object) -> Resource:
        """Return the resource of a run's kind; raise reconcile.kinds.UnknownKind."""
        api_version, kind = str(run.get("apiVersion") or ""), str(run.get("kind") or "")
        return (await self._kinds.find(self._client, api_version, kind)).resource

    async def follow(self, resource: Resource) -> Informer:
        """Return the cache of a kind, once it holds what there is; raise ApiError where it cannot be watched."""
        task = self._following.get(resource)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = asyncio.create_task(self._begin(resource), name=f"watch of trials' {resource.plural}")
            self._following[resource] = task
        return await asyncio.shield(task)

    async def stop(self) -> None:
        """Follow nothing any more."""
        tasks = [*self._following.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._informers.stop()

    async def _begin(self, resource: Resource) -> Informer:
        await self._client.list(resource, label_selector=TRIAL_LABEL, limit=1)
        await self._see_that_it_may(resource, "watch")
        informer = self._informers.informer(resource, label_selector=TRIAL_LABEL)
        await informer.wait_synced()
        informer.listen(self._changed)
        return informer

    async def _see_that_it_may(self, resource: Resource, verb: str) -> None:
        """Raise Forbidden where this process may not do that with a kind: an informer would try for ever."""
        asked = {"group": resource.group, "resource": resource.plural, "verb": verb}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked},
        }
        try:
            answer = await self._client.request("POST", REVIEWS, body)
        except NotFound:  # a server that authorizes nobody
            return
        if not (answer.get("status") or {}).get("allowed"):
            raise Forbidden(
                f"{resource.qualified_name} is forbidden: this operator cannot {verb} it in all namespaces"
            )

    def _changed(self, old: Object | None, new: Object | None) -> None:
        run = new or old or {}
        if trial := meta.labels(run).get(TRIAL_LABEL):
            self._enqueue(Key(meta.namespace(run), trial))
