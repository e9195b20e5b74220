"""Say what must happen to a pod that is to end: kills in order, then its sandbox and volumes, then the object.

Pure. Follows pkg/kubelet/kuberuntime/kuberuntime_container.go (killContainersWithSyncResult) and
kuberuntime_termination_order.go.
"""

from __future__ import annotations

from dataclasses import replace

from proa.client.protocol import Object
from proa.node.pod_steps import Decision, Finish, KillContainer, Step, StopSandbox, UnmountVolumes
from proa.node.pod_view import PodView, sidecars
from proa.node.runtimes.protocol import Container
from proa.objects.meta import is_deleting, parse_time

DEFAULT_GRACE_SECONDS = 30


def decide_end(view: PodView, now: float) -> Decision:
    """Return what must happen next to a pod of which nothing is to be left."""
    running = [c for c in view.containers if c.state == "Running"]
    if running:
        return Decision(_decide_kills(view, running, now))
    steps: list[Step] = []
    if view.sandbox is not None and view.sandbox.state == "Ready":
        steps.append(StopSandbox(view.sandbox.id))
    if view.volumes_ready:
        steps.append(UnmountVolumes())
    if is_deleting(view.pod):
        steps.append(Finish())
    return Decision(tuple(steps))


def _decide_kills(view: PodView, running: list[Container], now: float) -> tuple[Step, ...]:
    """Kill all that runs within the grace that is left."""
    grace = grace_left(view.pod, now)
    if view.ended and view.ended.grace_seconds is not None:
        grace = min(grace, view.ended.grace_seconds)
    return kills_in_order(view, running, grace)


def kills_in_order(view: PodView, running: list[Container], grace: float) -> tuple[KillContainer, ...]:
    """Kill the regular containers, then the sidecars from the last to the first; all preStop hooks run at once.

    Follows pkg/kubelet/kuberuntime/kuberuntime_termination_order.go.
    """
    keepers = [c["name"] for c in sidecars(view.pod)]
    before = [c.id for c in running if c.config.name not in keepers]
    turns = {identifier: tuple[str, ...]() for identifier in before}
    for container in sorted(
        (c for c in running if c.config.name in keepers),
        key=lambda c: keepers.index(c.config.name),
        reverse=True,
    ):
        turns[container.id] = tuple(before)
        before.append(container.id)
    return tuple(replace(step, after=turns[step.container_id]) for step in kills(view, running, grace, ""))


def kills(
    view: PodView, containers: list[Container], grace: float, message: str
) -> tuple[KillContainer, ...]:
    """Kill those of these containers that are not being killed already."""
    return tuple(
        KillContainer(c.id, c.config.name, grace, message or f"Stopping container {c.config.name}")
        for c in containers
        if c.id not in view.killing
    )


def grace_seconds(pod: Object) -> float:
    """Return how long the pod's containers may take to stop."""
    metadata, spec = pod["metadata"], pod["spec"]
    if metadata.get("deletionTimestamp") and metadata.get("deletionGracePeriodSeconds") is not None:
        return float(max(metadata["deletionGracePeriodSeconds"], 1))
    seconds = spec.get("terminationGracePeriodSeconds")
    return float(max(DEFAULT_GRACE_SECONDS if seconds is None else seconds, 1))


def grace_left(pod: Object, now: float) -> float:
    """Return the grace that is left of a deletion that may have begun before this kubelet did."""
    grace = grace_seconds(pod)
    asked_until = pod["metadata"].get("deletionTimestamp")
    if not asked_until:
        return grace
    left = parse_time(asked_until) - now
    return grace if left > grace - 2 else max(left, 1.0)
