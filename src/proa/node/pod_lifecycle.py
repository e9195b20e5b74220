"""Say what must happen next to a pod on its node: volumes, sandbox, init containers, containers, restarts, the end.

`decide` is pure: the worker (pod_worker.py) performs the steps and asks again until there are none; then it
waits for an event or for `wake_at`. Follows pkg/kubelet/kuberuntime/kuberuntime_manager.go
(computePodActions), kuberuntime_container.go (computeInitContainerActions) and active_deadline.go.

    volumes -> sandbox -> init containers one by one (sidecars stay) -> all containers at once
    deletion, deadline or nothing left to run -> kill containers, then sidecars -> stop sandbox -> free volumes
    deletion -> forget the sandbox, delete the object
"""

from __future__ import annotations

from math import inf

from proa.client.protocol import Object
from proa.node.pod_ending import decide_end, grace_seconds, kills
from proa.node.pod_steps import (
    Decision,
    KillContainer,
    MakeSandbox,
    MountVolumes,
    RemoveContainer,
    ResizeContainer,
    ResizePod,
    StartContainer,
    Step,
)
from proa.node.pod_view import (
    Ended,
    PodView,
    has_begun,
    sidecars,
    will_restart,
    will_restart_init,
)
from proa.node.resize import find_changes, is_pod_changed
from proa.node.runtime_cache import WANTED_IMAGE_LABEL
from proa.node.runtimes.protocol import Container
from proa.objects.meta import is_deleting, parse_time
from proa.objects.pods import container_statuses, ephemeral_containers, init_containers, is_sidecar


def decide(view: PodView, now: float) -> Decision:
    """Return what must happen next to the pod."""
    if is_deleting(view.pod) or view.ended or is_finished(view):
        return decide_end(view, now)
    return _at_most(_decide_progress(view, now), deadline(view))


def is_finished(view: PodView) -> bool:
    """Tell whether every container has ended for good, so that the pod's phase is final."""
    if (view.pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return True
    if _has_failed_init(view):
        return True
    return all(_is_done(view, c) for c in view.pod["spec"]["containers"])


def deadline(view: PodView) -> float:
    """Return when spec.activeDeadlineSeconds ends the pod (epoch seconds; inf where there is none)."""
    seconds = view.pod["spec"].get("activeDeadlineSeconds")
    if seconds is None:
        return inf
    start = (view.pod.get("status") or {}).get("startTime")
    return (parse_time(start) if start else view.started_at) + float(seconds)


def past_deadline(view: PodView, now: float) -> Ended | None:
    """Return the end of a pod that ran for too long."""
    if now < deadline(view):
        return None
    return Ended("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")


def crash_loop(view: PodView, name: str, now: float) -> float:
    """Return until when a container that exited must wait for its restart; 0 when it need not."""
    newest, backoff = view.newest(name), view.backoffs.get(name)
    if newest is None or newest.state != "Exited" or backoff is None:
        return 0.0
    until = backoff.wait_until(newest.finished_at)
    return until if until > now else 0.0


def _is_done(view: PodView, container: Object) -> bool:
    newest = view.newest(container["name"])
    if newest is None or newest.state != "Exited":
        return False
    return not will_restart(view.pod, container, newest.exit_code)


def _has_failed_init(view: PodView) -> bool:
    """Tell whether an init container failed and is not to be tried again."""
    if has_begun(view):
        return False
    for container in init_containers(view.pod):
        newest = view.newest(container["name"])
        if is_sidecar(container) or newest is None or newest.state != "Exited" or newest.exit_code == 0:
            continue
        if not will_restart_init(view.pod, container, newest.exit_code):
            return True
    return False


# Progress: what still has to be made or started


def _decide_progress(view: PodView, now: float) -> Decision:
    if not view.volumes_ready:
        if view.volumes_retry_at > now:
            return Decision(wake_at=view.volumes_retry_at)
        return Decision((MountVolumes(),))
    if not view.is_sandbox_usable:
        return _decide_sandbox(view, now)
    resizes, resize_at = _resizes(view, now)
    kills = _unhealthy(view) + resizes
    added, added_wake_at = _decide_ephemeral(view, now)
    begun = has_begun(view)
    starts, wake_at = _decide_sidecars(view, now) if begun else _decide_init(view, now)
    if begun or (not starts and _is_initialized(view)):
        more, more_wake_at = _decide_regular(view, now)
        starts, wake_at = starts + more, min(wake_at, more_wake_at)
    return Decision(added + kills + _outdated(view, starts) + starts, min(wake_at, resize_at, added_wake_at))


def _decide_sandbox(view: PodView, now: float) -> Decision:
    """Make a sandbox; what still runs in a lost one is killed first."""
    old = view.sandbox
    running = [c for c in view.containers if c.state == "Running"]
    if running:
        return Decision(kills(view, running, 0, "Pod sandbox changed, it will be killed and re-created."))
    if view.sandbox_retry_at > now:
        return Decision(wake_at=view.sandbox_retry_at)
    return Decision((MakeSandbox(old.config.attempt + 1 if old else 0),))


def _unhealthy(view: PodView) -> tuple[Step, ...]:
    """Kill what fails its probes, and what runs another image than the pod now asks for."""
    steps: list[Step] = []
    for running in view.containers:
        message = _why_restart(view, running)
        if running.state != "Running" or running.id in view.killing or not message:
            continue
        own_grace = view.health_of(running).grace_seconds
        grace = grace_seconds(view.pod) if own_grace is None else own_grace
        steps.append(KillContainer(running.id, running.config.name, grace, message))
    return tuple(steps)


def _resizes(view: PodView, now: float) -> tuple[tuple[Step, ...], float]:
    """Change what running containers have, or restart those whose policy says so; and when to try again."""
    if view.resize_pending[0]:
        return (), inf
    steps: list[Step] = []
    retry_at = inf
    for change in find_changes(view):
        if change.running.id in view.killing:
            continue
        if change.restarts:
            message = f"Container {change.name} resize requires restart"
            steps.append(KillContainer(change.running.id, change.name, grace_seconds(view.pod), message))
        elif view.resize_retry_at > now:
            retry_at = view.resize_retry_at
        else:
            steps.append(ResizeContainer(change.running.id, change.name, change.resources))
    if not steps and is_pod_changed(view):
        if view.resize_retry_at > now:
            return (), min(retry_at, view.resize_retry_at)
        steps.append(ResizePod())
    return tuple(steps), retry_at


def _why_restart(view: PodView, running: Container) -> str:
    wanted = {c["name"]: c["image"] for c in [*init_containers(view.pod), *view.pod["spec"]["containers"]]}
    image = running.config.labels.get(WANTED_IMAGE_LABEL)
    if image is not None and image != wanted.get(running.config.name, image):
        return f"Container {running.config.name} definition changed, will be restarted"
    return view.health_of(running).restart_message


def _decide_ephemeral(view: PodView, now: float) -> tuple[tuple[Step, ...], float]:
    """Start what was added to look into the pod, once each, whatever becomes of the init containers."""
    begun = {
        s["name"]
        for s in container_statuses(view.pod)
        if "waiting" not in (s.get("state") or {"waiting": {}})
    }
    steps: tuple[Step, ...] = ()
    wake_at = inf
    for container in ephemeral_containers(view.pod):
        newest = view.newest(container["name"])
        if newest.state != "Created" if newest else container["name"] in begun:
            continue
        more, more_wake_at = _start(view, container, now)
        steps, wake_at = steps + more, min(wake_at, more_wake_at)
    return steps, wake_at


def _decide_init(view: PodView, now: float) -> tuple[tuple[Step, ...], float]:
    """Return the start of the first init container that is neither done nor running."""
    for container in init_containers(view.pod):
        newest = view.newest(container["name"])
        if newest and _is_here(view, newest):
            if _is_init_done(view, container, newest):
                continue
            if newest.state == "Running":
                break
        return _start(view, container, now)
    return (), inf


def _decide_sidecars(view: PodView, now: float) -> tuple[tuple[Step, ...], float]:
    return _start_those_not_running(view, sidecars(view.pod), now)


def _decide_regular(view: PodView, now: float) -> tuple[tuple[Step, ...], float]:
    wanted = [c for c in view.pod["spec"]["containers"] if not _is_done(view, c)]
    return _start_those_not_running(view, wanted, now)


def _start_those_not_running(
    view: PodView, containers: list[Object], now: float
) -> tuple[tuple[Step, ...], float]:
    starts: tuple[Step, ...] = ()
    wake_at = inf
    for container in containers:
        newest = view.newest(container["name"])
        if newest and newest.state == "Running":
            if newest.id in view.hooks_pending:
                break
            continue
        more, more_wake_at = _start(view, container, now)
        starts, wake_at = starts + more, min(wake_at, more_wake_at)
        if more and (container.get("lifecycle") or {}).get("postStart"):
            break
    return starts, wake_at


def _start(view: PodView, container: Object, now: float) -> tuple[tuple[Step, ...], float]:
    """Return the step that starts the container, or when it may be started."""
    name = container["name"]
    if name in view.pulling:
        return (), inf
    failure = view.failures.get(name)
    wait_until = max(crash_loop(view, name, now), failure.retry_at if failure else 0.0)
    if wait_until > now:
        return (), wait_until
    newest = view.newest(name)
    if newest is None:
        return (StartContainer(name, next_attempt(view, name)),), inf
    if newest.state == "Created":
        return (RemoveContainer(newest.id), StartContainer(name, newest.config.attempt)), inf
    return (StartContainer(name, next_attempt(view, name), is_restart=_is_here(view, newest)),), inf


def next_attempt(view: PodView, name: str) -> int:
    """Return the attempt number that a start would have: also its restartCount."""
    newest = view.newest(name)
    if newest:
        return newest.config.attempt + 1
    for known in container_statuses(view.pod):
        if known["name"] == name and (
            known.get("containerID") or (known.get("lastState") or {}).get("terminated")
        ):
            return int(known.get("restartCount", 0)) + 1
    return 0


def _is_here(view: PodView, container: Container) -> bool:
    """Tell whether the container belongs to the sandbox now in use."""
    return view.sandbox is not None and container.sandbox_id == view.sandbox.id


def _is_initialized(view: PodView) -> bool:
    for container in init_containers(view.pod):
        newest = view.newest(container["name"])
        if newest is None or not _is_here(view, newest) or not _is_init_done(view, container, newest):
            return False
    return True


def _is_init_done(view: PodView, container: Object, newest: Container) -> bool:
    if is_sidecar(container):
        return view.is_started(newest)
    return newest.state == "Exited" and newest.exit_code == 0


def _outdated(view: PodView, starts: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return the removal of attempts older than the last, for containers that are about to have a new one."""
    steps: list[Step] = []
    for start in starts:
        if not isinstance(start, StartContainer):
            continue
        attempts = [c for c in view.containers if c.config.name == start.name and c.state == "Exited"]
        steps += [RemoveContainer(c.id) for c in attempts[1:]]
    return tuple(steps)


def _at_most(decision: Decision, wake_at: float) -> Decision:
    return decision if decision.wake_at <= wake_at else Decision(decision.steps, wake_at)
