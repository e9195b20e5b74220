"""Create and delete the pods of a controller: from its template, in slow-start batches, with an Event each.

A batch that fails stops the rest, so that a template the server refuses costs one request and not hundreds.
Follows upstream's pkg/controller/controller_utils.go (RealPodControl, ActivePodsWithRanks) and
pkg/controller/replicaset/replica_set.go (slowStartBatch).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import ApiError, Forbidden, NotFound
from proa.objects.meta import (
    find_condition,
    make_owner_reference,
    name,
    namespace,
    parse_time,
    uid,
)
from proa.objects.pods import init_containers, is_active, is_ready, is_sidecar, node_name, phase
from proa.objects.resource import PODS, Resource
from proa.reconcile.protocol import Context

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
MAX_BATCH = 16
"""Enough for writes to become durable together; of hundreds at once each would wait for all, and so would everybody."""
_PHASE_ORDER = {"Pending": 0, "Unknown": 1, "Running": 2}


async def slow_start(count: int, act: Callable[[int], Awaitable[None]]) -> tuple[int, ApiError | None]:
    """Call `act(index)` `count` times in concurrent batches of 1, 2, 4, up to MAX_BATCH; stop after one with an error.

    Returns how many calls succeeded and the first refusal. Anything but an ApiError is raised.
    """
    done, batch = 0, 1
    while done < count:
        indexes = range(done, min(done + batch, count))
        outcomes = await asyncio.gather(*(act(index) for index in indexes), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, ApiError):
                raise outcome
        errors = [outcome for outcome in outcomes if isinstance(outcome, ApiError)]
        done += len(indexes) - len(errors)
        if errors:
            return done, errors[0]
        batch = min(batch * 2, MAX_BATCH)
    return done, None


def pod_from_template(template: Object, owner: Object, owner_resource: Resource) -> Object:
    """Return the pod that `template` describes, owned by `owner`; the server completes its name."""
    metadata: dict[str, Any] = {
        "generateName": f"{name(owner)}-",
        "namespace": namespace(owner),
        "ownerReferences": [make_owner_reference(owner, owner_resource)],
    }
    given = template.get("metadata") or {}
    for field in ("labels", "annotations", "finalizers"):
        if given.get(field):
            metadata[field] = given[field]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template.get("spec") or {}}


async def create_pod(context: Context, owner: Object, pod: Object) -> Object:
    """Create one pod and tell of it in an Event on `owner`."""
    try:
        created = await context.client.create(PODS, pod, namespace(owner))
    except ApiError as error:
        if not is_namespace_terminating(error):
            context.events.event(owner, "Warning", "FailedCreate", f"Error creating: {error.message}")
        raise
    context.events.event(owner, "Normal", "SuccessfulCreate", f"Created pod: {name(created)}")
    return created


async def delete_pod(context: Context, owner: Object, pod: Object) -> None:
    """Delete one pod (that very one, by uid) and tell of it in an Event on `owner`; gone already is fine."""
    try:
        await context.client.delete(PODS, name(pod), namespace(pod), uid=uid(pod))
    except NotFound:
        return
    except ApiError as error:
        context.events.event(owner, "Warning", "FailedDelete", f"Error deleting: {error.message}")
        raise
    context.events.event(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {name(pod)}")


def is_namespace_terminating(error: ApiError) -> bool:
    """Return whether a create was refused because the namespace is going: not worth an Event or a retry."""
    causes = error.details.get("causes") or []
    return isinstance(error, Forbidden) and (
        any(cause.get("reason") == "NamespaceTerminating" for cause in causes)
        or "because it is being terminated" in error.message
    )


def ready_since(pod: Object) -> float | None:
    """Return when the pod last became ready (epoch seconds), None while it is not."""
    condition = find_condition(pod, "Ready")
    if condition is None or condition.get("status") != "True":
        return None
    since = condition.get("lastTransitionTime")
    return parse_time(since) if since else 0.0


def is_available(pod: Object, min_ready_seconds: int, now: float) -> bool:
    """Return whether the pod has been ready for `min_ready_seconds`."""
    if min_ready_seconds == 0:
        return is_ready(pod)
    since = ready_since(pod)
    return since is not None and since + min_ready_seconds <= now


def seconds_until_available(pods: Iterable[Object], min_ready_seconds: int, now: float) -> float:
    """Return when the next ready pod will have been so for `min_ready_seconds`; 0 when none waits."""
    if not min_ready_seconds:
        return 0.0
    since = (ready_since(pod) for pod in pods if is_active(pod))
    waits = [moment + min_ready_seconds - now for moment in since if moment is not None]
    return min((wait for wait in waits if wait > 0), default=0.0)


def rank_for_deletion(pods: Sequence[Object], pods_on_node: Mapping[str, int], now: float) -> list[Object]:
    """Return active pods, the first to delete first.

    Unassigned, then pending, then not ready, then cheap (annotation pod-deletion-cost), then doubled up on a
    node (`pods_on_node`: how many related pods each node has), then ready for a shorter time, then often
    restarted, then newer. Ages are compared by their power of two, so that one old pod is not always the victim.
    """

    def order(pod: Object) -> tuple[Any, ...]:
        since = ready_since(pod)
        return (
            bool(node_name(pod)),
            _PHASE_ORDER.get(phase(pod), 2),
            is_ready(pod),
            deletion_cost(pod),
            -pods_on_node.get(node_name(pod), 0),
            _age_rank(now - since) if since is not None else -1,
            *(-count for count in _restarts(pod)),
            _age_rank(now - parse_time(pod["metadata"]["creationTimestamp"])),
            uid(pod),
        )

    return sorted(pods, key=order)


def deletion_cost(pod: Object) -> int:
    """Return the pod's deletion cost; what is not a 32-bit number counts as 0."""
    try:
        cost = int(meta.annotations(pod).get(DELETION_COST, "0"))
    except ValueError:
        return 0
    return cost if -(2**31) <= cost < 2**31 else 0


def _age_rank(seconds: float) -> int:
    return int(math.log2(seconds * 1e9)) if seconds > 0 else -1


def _restarts(pod: Object) -> tuple[int, int]:
    """Return how often the container and the sidecar that did so most often have restarted."""
    status = pod.get("status") or {}
    sidecars = {container["name"] for container in init_containers(pod) if is_sidecar(container)}
    main = (one.get("restartCount", 0) for one in status.get("containerStatuses") or ())
    beside = (
        one.get("restartCount", 0)
        for one in status.get("initContainerStatuses") or ()
        if one.get("name") in sidecars
    )
    return max(main, default=0), max(beside, default=0)
