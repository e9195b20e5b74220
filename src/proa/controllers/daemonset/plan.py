"""Decide what is missing and what is too many: one pod on every node of a DaemonSet, none on the others.

Pods that have ended are deleted, so that others take their place; while a rollout surges, a node may have an
old pod and a new one. Follows upstream's pkg/controller/daemon/daemon_controller.go (podsShouldBeOnNode).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.controllers.daemonset import nodes as placement
from proa.controllers.daemonset.bounds import allows_surge
from proa.objects import meta
from proa.objects.pods import is_ready, is_terminated, node_name, phase
from proa.reconcile.controller_revisions import POD_HASH_LABEL
from proa.reconcile.pod_control import is_available

PodsByNode = Mapping[str, Sequence[Object]]
"""A DaemonSet's pods by the node that they are on, or made for; the oldest of a node first."""
BackOff = Callable[[str], float]
"""Returns for how many seconds a node's failed pod is to stay as it is."""


class Plan(NamedTuple):
    """For which nodes to make pods, and which pods to delete; `ended` of those have done so by themselves.

    `wait_seconds` is when to look at a failed pod again; 0: never.
    """

    create: tuple[str, ...] = ()
    delete: tuple[Object, ...] = ()
    ended: tuple[Object, ...] = ()
    wait_seconds: float = 0.0


def plan(
    daemon_set: Object, nodes: Iterable[Object], pods: PodsByNode, digest: str, back_off: BackOff, now: float
) -> Plan:
    """Compare the pods with the nodes; `digest` tells those of the present template."""
    create: list[str] = []
    delete: list[Object] = []
    ended: list[Object] = []
    waits: list[float] = []
    known = set()
    for node in nodes:
        name = meta.name(node)
        known.add(name)
        here = [pod for pod in pods.get(name, ()) if not meta.is_deleting(pod)]
        if not placement.should_continue(daemon_set, node):
            delete += here
            continue
        for pod in filter(is_terminated, here):
            wait = back_off(name) if phase(pod) == "Failed" else 0.0
            if wait > 0:
                waits.append(wait)
            else:
                ended.append(pod)
        alive = [pod for pod in here if not is_terminated(pod)]
        is_free = not alive if allows_surge(daemon_set) and name in pods else name not in pods
        if is_free and placement.should_run(daemon_set, node):
            create.append(name)
        delete += _surplus(daemon_set, alive, digest, now)
    lost = (pod for name in pods.keys() - known for pod in pods[name] if not node_name(pod))
    delete += [pod for pod in lost if not meta.is_deleting(pod)]
    return Plan(tuple(create), (*ended, *delete), tuple(ended), min(waits, default=0.0))


def pods_by_node(pods: Iterable[Object]) -> dict[str, list[Object]]:
    """Sort a DaemonSet's pods by their nodes; those that have ended and are going are nobody's business."""
    found: dict[str, list[Object]] = {}
    for pod in pods:
        if is_terminated(pod) and meta.is_deleting(pod):
            continue
        if node := placement.target_node(pod):
            found.setdefault(node, []).append(pod)
    for here in found.values():
        here.sort(key=_by_age)
    return found


def is_updated(pod: Object, digest: str) -> bool:
    """Tell whether the pod was made of the revision."""
    return meta.labels(pod).get(POD_HASH_LABEL) == digest


def is_pod_available(daemon_set: Object, pod: Object, now: float) -> bool:
    """Tell whether the pod has been ready for spec.minReadySeconds."""
    return is_available(pod, int(daemon_set["spec"].get("minReadySeconds") or 0), now)


def _surplus(daemon_set: Object, alive: Sequence[Object], digest: str, now: float) -> list[Object]:
    """Return which of a node's pods, the oldest first, are too many."""
    if len(alive) <= 1:
        return []
    if not allows_surge(daemon_set):
        return [*alive[1:]]
    new = [pod for pod in alive if is_updated(pod, digest)]
    old = [pod for pod in alive if not is_updated(pod, digest)]
    too_many = [*new[1:], *old[1:]]
    if new and old and (not is_ready(old[0]) or is_pod_available(daemon_set, new[0], now)):
        too_many.append(old[0])
    return too_many


def _by_age(pod: Object) -> tuple[bool, str, str]:
    return not node_name(pod), pod["metadata"].get("creationTimestamp", ""), meta.name(pod)
