"""Keep the scale of each revision as its load asks, and the activator in its path while it needs it.

Watches Deployments, Services, Pods and EndpointSlices with REVISION_LABEL; writes Deployments' scale, and the
EndpointSlice REVISION-activator. Source: Knative's pkg/reconciler/autoscaling/kpa/kpa.go; its PodAutoscaler,
ServerlessService and Metric are not objects here.

To zero: the activator's slice first; when the activator was reached by the Service's address the scale is written, the
pods drain, and proxies, which hear of slices in their order, have the activator before they lose a pod.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from proa.ml.serving.kinds import REVISION_LABEL
from proa.ml.serving.scaling.annotations import ScalingSpec, read_scaling
from proa.ml.serving.scaling.autoscaler import Autoscaler, Gate, Watched
from proa.ml.serving.scaling.backends import make_backends
from proa.ml.serving.scaling.lifecycle import Phase, Plan, Situation, begin, plan
from proa.ml.serving.scaling.load_client import LoadClient
from proa.ml.serving.scaling.path_probe import until_in_path
from proa.ml.serving.scaling.slices import is_ours, leads_to_pods, make_slice, says_the_same, slice_name
from proa.ml.serving.settings import Dial
from proa.objects import meta, pods
from proa.objects.errors import AlreadyExists, NotFound
from proa.objects.resource import DEPLOYMENTS, ENDPOINT_SLICES, PODS, SERVICES, Resource
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch

Object = dict[str, Any]


def _keys(obj: Object) -> Iterable[Key]:
    revision = meta.labels(obj).get(REVISION_LABEL)
    return (Key(meta.namespace(obj), revision),) if revision else ()


def _ignores_pod(old: Object, new: Object) -> bool:
    """Tell whether nothing has changed that matters here: many writes of a status do not."""
    return _pod_facts(old) == _pod_facts(new)


def _pod_facts(pod: Object) -> tuple[Any, ...]:
    return (meta.labels(pod), meta.is_deleting(pod), pods.phase(pod), pods.pod_ip(pod), pods.is_ready(pod))


class ScalingController:
    """One for the cluster. `address` and `port` are where the cluster's nodes and pods find the activator.

    With the address "" they find none, and nothing is scaled to zero.
    """

    NAME = "revision-scaler"
    COMPONENT = "serving-autoscaler"
    WATCHES: Sequence[Watch] = (
        Watch(DEPLOYMENTS, keys_of=_keys, label_selector=REVISION_LABEL),
        Watch(SERVICES, keys_of=_keys, label_selector=REVISION_LABEL),
        Watch(ENDPOINT_SLICES, keys_of=_keys, label_selector=REVISION_LABEL),
        Watch(PODS, keys_of=_keys, label_selector=REVISION_LABEL, ignores=_ignores_pod),
    )

    def __init__(
        self, gate: Gate, dial: Dial, address: str, port: int, loads: LoadClient | None = None
    ) -> None:
        self.autoscaler = Autoscaler(loads or LoadClient(dial), gate)
        self._gate = gate
        self._dial = dial
        self._place = (address, port)
        self._has_activator = bool(address)
        self._enqueue: Callable[[Key], None] = lambda key: None

    def wake(self, key: Key) -> None:
        """Hear that a request waits for a revision: it needs a pod."""
        self._enqueue(key)

    async def run(self, context: Context, enqueue: Callable[[Key], None]) -> None:
        """Observe and decide, a task of the manager's."""
        self._enqueue = enqueue
        await self.autoscaler.run(enqueue)

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Do for one revision what its load and its limits ask for."""
        deployment = next(iter(_find(context, DEPLOYMENTS, key)), None)
        slices = _find(context, ENDPOINT_SLICES, key)
        if deployment is None or meta.is_deleting(deployment):
            self.autoscaler.forget(key)
            self._gate.forget(key)
            await self._remove(context, slices)
            return DONE
        service = context.caches(SERVICES, "", REVISION_LABEL).get(key.name, key.namespace)
        spec = read_scaling(deployment)
        if not self._has_activator:
            spec = spec._replace(min_scale=max(1, spec.min_scale))
        running = [pod for pod in _find(context, PODS, key) if pods.is_active(pod)]
        self._gate.update(key, make_backends(spec, service, running))
        watched = self._watch(key, spec, deployment, running)
        situation = self._situation(key, deployment, watched)
        planned = plan(spec, watched.lifecycle, situation, watched.decision, self.autoscaler.clock())
        watched.lifecycle = planned.lifecycle
        await self._lead(context, key, planned, service, slices, watched)
        if planned.replicas is not None:
            await _scale(context, deployment, planned.replicas)
        return Result(requeue_after=planned.again_seconds)

    def _watch(self, key: Key, spec: ScalingSpec, deployment: Object, running: Sequence[Object]) -> Watched:
        ready = {meta.name(pod): pods.pod_ip(pod) for pod in running if pods.is_ready(pod)}
        starting = {
            meta.name(pod): pods.pod_ip(pod)
            for pod in running
            if pods.pod_ip(pod) and meta.name(pod) not in ready
        }
        watched = self.autoscaler.find(key)
        if watched is None:
            lifecycle = begin(_replicas(deployment), was_ready(deployment), self.autoscaler.clock())
            watched = self.autoscaler.watch(key, spec, lifecycle, len(ready))
        self.autoscaler.update(key, watched, spec, ready, starting)
        return watched

    def _situation(self, key: Key, deployment: Object, watched: Watched) -> Situation:
        held = self._gate.load(key)
        waiting = held.in_hand if held is not None else 0
        return Situation(_replicas(deployment), len(watched.ready), waiting, watched.is_in_path)

    async def _lead(
        self,
        context: Context,
        key: Key,
        planned: Plan,
        service: Object | None,
        slices: Sequence[Object],
        watched: Watched,
    ) -> None:
        """Have the activator in the path or not; before the last pod goes find out whether it is."""
        if (
            service is None
            or not self._has_activator
            or not (planned.needs_activator or leads_to_pods(slices))
        ):
            return
        if not planned.needs_activator:
            watched.is_in_path = False
            _cancel(watched)
            await self._remove(context, slices)
            return
        await self._ensure_slice(context, key, service, slices)
        is_waiting = planned.lifecycle.phase == Phase.INACTIVE and watched.ready and not watched.is_in_path
        if is_waiting and watched.probing is None:
            self._probe(key, service, watched)

    async def _ensure_slice(
        self, context: Context, key: Key, service: Object, slices: Sequence[Object]
    ) -> None:
        wanted = make_slice(service, key.name, *self._place)
        found = next((one for one in slices if meta.name(one) == slice_name(key.name)), None)
        if found is None:
            with suppress(AlreadyExists):
                await context.client.create(ENDPOINT_SLICES, wanted, key.namespace)
        elif not says_the_same(found, wanted):
            metadata = {**found["metadata"], "labels": wanted["metadata"]["labels"]}
            await context.client.update(ENDPOINT_SLICES, {**wanted, "metadata": metadata})

    async def _remove(self, context: Context, slices: Sequence[Object]) -> None:
        for found in slices:
            if is_ours(found) and not meta.is_deleting(found):
                with suppress(NotFound):
                    await context.client.delete(ENDPOINT_SLICES, meta.name(found), meta.namespace(found))

    def _probe(self, key: Key, service: Object, watched: Watched) -> None:
        """Ask at the Service's address in the background; a headless one has none, then only time tells."""
        spec = service.get("spec") or {}
        host, ports = spec.get("clusterIP") or "", spec.get("ports") or ()
        if host in ("", "None") or not ports:
            return

        async def ask() -> None:
            await until_in_path(self._dial, host, ports[0]["port"])
            watched.is_in_path, watched.probing = True, None
            self._enqueue(key)

        watched.probing = asyncio.create_task(ask())


def was_ready(deployment: Object) -> bool:
    """Tell whether a revision had its pods once, by its Deployment alone."""
    progress = meta.find_condition(deployment, "Progressing") or {}
    is_complete = progress.get("reason") == "NewReplicaSetAvailable"
    return is_complete or bool((deployment.get("status") or {}).get("readyReplicas"))


async def _scale(context: Context, deployment: Object, replicas: int) -> None:
    with suppress(NotFound):
        await context.client.patch(
            DEPLOYMENTS,
            meta.name(deployment),
            {"spec": {"replicas": replicas}},
            meta.namespace(deployment),
            subresource="scale",
        )


def _replicas(deployment: Object) -> int:
    replicas = (deployment.get("spec") or {}).get("replicas")
    return 1 if replicas is None else int(replicas)


def _find(context: Context, resource: Resource, key: Key) -> list[Object]:
    """Return what of a revision there is, by its label."""
    found = context.caches(resource, "", REVISION_LABEL).by_index("label", f"{REVISION_LABEL}={key.name}")
    return [one for one in found if meta.namespace(one) == key.namespace]


def _cancel(watched: Watched) -> None:
    task, watched.probing = watched.probing, None
    if task is not None:
        task.cancel()
