"""Keep one pod of a DaemonSet on every node that its template fits, and roll them over as its strategy allows.

Watches daemon sets, their pods and revisions, and nodes; writes pods, revisions and the status. Follows
upstream's pkg/controller/daemon/daemon_controller.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from proa.client.protocol import Object
from proa.controllers.daemonset import nodes as placement
from proa.controllers.daemonset.back_off import BackOff
from proa.controllers.daemonset.bounds import is_rolling
from proa.controllers.daemonset.plan import Plan, plan, pods_by_node
from proa.controllers.daemonset.rollout import plan_update
from proa.controllers.daemonset.status import status_of
from proa.objects import meta
from proa.objects.errors import ApiError, NotFound
from proa.objects.pods import phase
from proa.objects.resource import CONTROLLER_REVISIONS, DAEMON_SETS, NODES, PODS
from proa.reconcile.controller_revisions import (
    POD_HASH_LABEL,
    claim_revisions,
    delete_revisions,
    ensure_revision,
)
from proa.reconcile.ownership import (
    apply_claims,
    candidates,
    claimant_keys,
    owner_keys,
    plan_claims,
    selector_of,
)
from proa.reconcile.pod_control import (
    create_pod,
    delete_pod,
    is_namespace_terminating,
    seconds_until_available,
    slow_start,
)
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch

BURST_REPLICAS = 250
"""At most so many pods are created, and deleted, in one go."""


def _keys_of_pod(pod: Object, caches: Caches) -> Iterable[Key]:
    return claimant_keys(pod, "DaemonSet", caches(DAEMON_SETS))


def _keys_of_revision(revision: Object) -> Iterable[Key]:
    return owner_keys(revision, "DaemonSet")


def _keys_of_node(node: Object, caches: Caches) -> Iterable[Key]:
    """Name the sets that the node, as it is or was, has a place for."""
    for daemon_set in caches(DAEMON_SETS).list():
        if placement.should_continue(daemon_set, node):
            yield Key(meta.namespace(daemon_set), meta.name(daemon_set))


def _is_same_place(old: Object, new: Object) -> bool:
    """Tell whether a node's labels and taints, all that placement looks at, are as they were."""
    old_taints, new_taints = ((node.get("spec") or {}).get("taints") for node in (old, new))
    return meta.labels(old) == meta.labels(new) and (old_taints or []) == (new_taints or [])


class DaemonSetController:
    """A controller that remembers which nodes' pods fail again and again."""

    NAME = "daemonset"
    ACCOUNT = "daemon-set-controller"
    WATCHES = (
        Watch(DAEMON_SETS),
        Watch(PODS, find_keys=_keys_of_pod),
        Watch(CONTROLLER_REVISIONS, keys_of=_keys_of_revision),
        Watch(NODES, find_keys=_keys_of_node, ignores=_is_same_place),
    )

    def __init__(self) -> None:
        self._failures = BackOff()

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Claim pods and revisions, take the next step, write the status, forget old revisions."""
        daemon_set = context.caches(DAEMON_SETS).get(key.name, key.namespace)
        if daemon_set is None or meta.is_deleting(daemon_set):
            return DONE
        if selector_of(daemon_set).is_everything:
            message = "This daemon set is selecting all pods. A non-empty selector is required."
            context.events.event(daemon_set, "Warning", "SelectingAll", message)
            return DONE
        history = await claim_revisions(context, daemon_set, DAEMON_SETS)
        revision, collisions = await ensure_revision(
            context.client, daemon_set, DAEMON_SETS, history, POD_HASH_LABEL
        )
        digest = _digest(revision)
        nodes = context.caches(NODES).list()
        pods = await _claim_pods(context, daemon_set)
        now = context.now()  # one moment: what is not available yet must be looked at again
        decided = self._plan(daemon_set, nodes, pods, digest, now)
        error = await _apply(context, daemon_set, decided, digest)
        if decided != Plan():
            pods = [*context.caches(PODS).by_index("controller", meta.uid(daemon_set))]
        status = status_of(daemon_set, nodes, pods_by_node(pods), digest, collisions, now)
        await _write_status(context, daemon_set, status)
        if error is not None and not is_namespace_terminating(error):
            raise error
        await _forget(context, daemon_set, pods, history, revision)
        if max(len(decided.create), len(decided.delete)) > BURST_REPLICAS:
            return Result(requeue_after=0.001)
        minimum = int(daemon_set["spec"].get("minReadySeconds") or 0)
        waits = (decided.wait_seconds, seconds_until_available(pods, minimum, now))
        return Result(requeue_after=min((wait for wait in waits if wait > 0), default=0.0))

    def _plan(
        self,
        daemon_set: Object,
        nodes: Sequence[Object],
        pods: Sequence[Object],
        digest: str,
        now: float,
    ) -> Plan:
        """Return what is missing or too many or, where nothing is, the next step of a rollout."""
        here = pods_by_node(pods)
        generation = (daemon_set.get("status") or {}).get("observedGeneration")

        def key(node: str) -> tuple[object, ...]:
            return meta.uid(daemon_set), generation, node

        def back_off(node: str) -> float:
            return self._failures.wait_seconds(key(node), now)

        decided = plan(daemon_set, nodes, here, digest, back_off, now)
        for pod in decided.ended:
            if phase(pod) == "Failed":
                self._failures.failed(key(placement.target_node(pod)), now)
        if decided._replace(wait_seconds=0.0) == Plan() and is_rolling(daemon_set):
            step = plan_update(daemon_set, nodes, here, digest, now)
            return step._replace(wait_seconds=decided.wait_seconds)
        return decided


def _digest(revision: Object) -> str:
    return meta.labels(revision).get(POD_HASH_LABEL) or meta.name(revision)


async def _claim_pods(context: Context, daemon_set: Object) -> list[Object]:
    selector = selector_of(daemon_set)
    claims = plan_claims(daemon_set, selector, candidates(context.caches(PODS), daemon_set, selector))
    return await apply_claims(context.client, daemon_set, DAEMON_SETS, PODS, claims)


async def _apply(context: Context, daemon_set: Object, decided: Plan, digest: str) -> ApiError | None:
    """Make and delete pods; return the first refusal."""
    for pod in decided.ended:
        _tell_ended(context, daemon_set, pod)

    async def create(index: int) -> None:
        pod = placement.make_pod(daemon_set, digest, decided.create[index])
        await create_pod(context, daemon_set, pod)

    _, error = await slow_start(min(len(decided.create), BURST_REPLICAS), create)
    outcomes = await asyncio.gather(
        *(delete_pod(context, daemon_set, pod) for pod in decided.delete[:BURST_REPLICAS]),
        return_exceptions=True,
    )
    for outcome in outcomes:
        if isinstance(outcome, ApiError):
            error = error or outcome
        elif outcome is not None:
            raise outcome
    return error


def _tell_ended(context: Context, daemon_set: Object, pod: Object) -> None:
    what = f"daemon pod {meta.key_of(pod)} on node {placement.target_node(pod)}, will try to"
    if phase(pod) == "Failed":
        context.events.event(daemon_set, "Warning", "FailedDaemonPod", f"Found failed {what} kill it")
    else:
        context.events.event(daemon_set, "Normal", "SucceededDaemonPod", f"Found succeeded {what} delete it")


async def _write_status(context: Context, daemon_set: Object, status: Object) -> None:
    if status == (daemon_set.get("status") or {}):
        return
    try:
        await context.client.update(DAEMON_SETS, {**daemon_set, "status": status}, subresource="status")
    except NotFound:
        return


async def _forget(
    context: Context,
    daemon_set: Object,
    pods: Sequence[Object],
    history: Sequence[Object],
    revision: Object,
) -> None:
    """Delete the oldest revisions beyond revisionHistoryLimit of which no pod is left."""
    limit = daemon_set["spec"].get("revisionHistoryLimit")
    if limit is None:
        return
    old = [one for one in history if meta.name(one) != meta.name(revision)]
    live = {meta.labels(pod).get(POD_HASH_LABEL) for pod in pods}
    useless = [one for one in old if _digest(one) not in live]
    await delete_revisions(context.client, useless[: max(0, len(old) - limit)])
