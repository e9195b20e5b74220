"""Compute a pod's status from what its node knows: phase, container statuses, conditions, addresses.

Pure. Follows pkg/kubelet/kubelet_pods.go (getPhase, convertToAPIContainerStatuses, generateAPIPodStatus) and
pkg/kubelet/status/generate.go. Conditions that others own (PodScheduled, readiness gates) are left alone.
"""

from __future__ import annotations

from typing import Any

from proa.client.protocol import Object
from proa.node.pod_lifecycle import crash_loop
from proa.node.pod_view import (
    PodView,
    has_begun,
    restart_policy,
    will_restart,
    will_restart_init,
)
from proa.node.runtime_cache import IMAGE_ID_LABEL
from proa.node.runtimes.protocol import Container
from proa.objects.meta import format_time, is_deleting, name, namespace, uid
from proa.objects.pods import containers, init_containers, is_sidecar

CONTAINER_ID_SCHEME = "proa"
OWN_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")
LOST = "The container could not be located when the pod was terminated"
LOST_RUNNING = (
    "The container could not be located when the pod was deleted.  The container used to be Running"
)


def pod_status(view: PodView, now: float) -> Object:
    """Return the pod's status as this node sees it, complete but for what others own."""
    old = view.pod.get("status") or {}
    has_ended = _has_ended(view)
    init_statuses = [_container_status(view, c, True, has_ended, now) for c in init_containers(view.pod)]
    statuses = [_container_status(view, c, False, has_ended, now) for c in containers(view.pod)]
    phase = _phase(view, init_statuses, statuses, has_ended)
    status: Object = {
        "phase": phase,
        "observedGeneration": view.pod["metadata"].get("generation", 1),
        "startTime": old.get("startTime") or format_time(view.started_at or now),
        "containerStatuses": statuses,
    }
    if init_statuses:
        status["initContainerStatuses"] = init_statuses
    status |= _reason(view, old, phase) | _addresses(view, old)
    conditions = _conditions(view, phase, [*init_statuses, *statuses])
    status["conditions"] = _with_transitions(conditions, old.get("conditions") or [], view, now)
    return status


def _has_ended(view: PodView) -> bool:
    """Tell whether nothing of the pod will run again and nothing runs now."""
    is_ending = is_deleting(view.pod) or view.ended is not None
    return is_ending and not any(c.state == "Running" for c in view.containers)


def _reason(view: PodView, old: Object, phase: str) -> Object:
    if view.ended:
        return {"reason": view.ended.reason, "message": view.ended.message}
    return {key: old[key] for key in ("reason", "message") if key in old and phase in ("Failed", "Succeeded")}


def _addresses(view: PodView, old: Object) -> Object:
    """Return host and pod addresses; a pod keeps the address that it had when its sandbox is gone."""
    found: Object = {}
    if view.host_ip:
        found |= {"hostIP": view.host_ip, "hostIPs": [{"ip": view.host_ip}]}
    address = old.get("podIP", "")
    if view.sandbox is not None and view.sandbox.ip:
        address = view.host_ip if view.sandbox.config.host_network and view.host_ip else view.sandbox.ip
    if address:
        found |= {"podIP": address, "podIPs": [{"ip": address}]}
    return found


# Container statuses


def _container_status(view: PodView, container: Object, is_init: bool, has_ended: bool, now: float) -> Object:
    newest = view.newest(container["name"])
    old = _old_status(view.pod, container["name"])
    previous = view.previous(container["name"])
    last_state = _terminated(previous) if previous else dict(old.get("lastState") or {})
    if newest is None or newest.state == "Created":
        state, last_state, restarts = _absent(view, container, old, last_state, is_init, has_ended, newest)
    else:
        restarts = newest.config.attempt
        state = _running(newest) if newest.state == "Running" else _terminated(newest)
        waiting = _waiting_for_restart(view, container, newest, is_init, has_ended, now)
        if waiting:
            state, last_state = {"waiting": waiting}, state
    is_running = newest is not None and newest.state == "Running"
    started = newest is not None and view.is_started(newest)
    ready = newest is not None and view.is_ready(newest)
    if is_init and not is_sidecar(container):
        started = False if not is_running else started
        ready = newest is not None and newest.state == "Exited" and newest.exit_code == 0
    status: Object = {
        "name": container["name"],
        "image": _image(container, newest, old),
        "imageID": _image_id(newest, old),
        "state": state,
        "lastState": last_state,
        "ready": ready,
        "started": started,
        "restartCount": restarts,
    }
    container_id = _container_id(newest, old)
    if container_id:
        status["containerID"] = container_id
    resources = container.get("resources") or {}
    if is_running and resources:
        status["resources"] = resources
        if resources.get("requests"):
            status["allocatedResources"] = resources["requests"]
    mounts = [_volume_mount(m) for m in container.get("volumeMounts") or []]
    if mounts:
        status["volumeMounts"] = mounts
    return status


def _old_status(pod: Object, container_name: str) -> Object:
    status = pod.get("status") or {}
    for known in [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]:
        if known["name"] == container_name:
            found: Object = known
            return found
    return {}


def _absent(
    view: PodView,
    container: Object,
    old: Object,
    last_state: Object,
    is_init: bool,
    has_ended: bool,
    created: Container | None,
) -> tuple[Object, Object, int]:
    """Return state, lastState and restartCount of a container that the runtime does not run or remember."""
    restarts = created.config.attempt if created else int(old.get("restartCount", 0))
    old_state = old.get("state") or {}
    if "terminated" in old_state:
        if not _would_restart(view.pod, container, old_state["terminated"].get("exitCode", 0), is_init):
            return old_state, last_state, restarts
        if not has_ended:
            last_state = old_state
    elif "running" in old_state and created is None:
        lost = _lost(LOST_RUNNING, old)
        if has_ended or not _would_restart(view.pod, container, 137, is_init):
            return lost, last_state, restarts
        last_state = lost
        restarts += 1
    if has_ended:
        return _lost(LOST, old), last_state, restarts
    failure = view.failures.get(container["name"])
    if failure:
        waiting = {"reason": failure.reason, "message": failure.message}
        return {"waiting": waiting if failure.message else {"reason": failure.reason}}, last_state, restarts
    is_initializing = bool(init_containers(view.pod)) and not has_begun(view)
    reason = "PodInitializing" if is_initializing else "ContainerCreating"
    return {"waiting": {"reason": reason}}, last_state, restarts


def _would_restart(pod: Object, container: Object, exit_code: int, is_init: bool) -> bool:
    return (will_restart_init if is_init else will_restart)(pod, container, exit_code)


def _lost(message: str, old: Object) -> Object:
    terminated: Object = {
        "exitCode": 137,
        "reason": "ContainerStatusUnknown",
        "message": message,
    }
    if old.get("containerID"):
        terminated["containerID"] = old["containerID"]
    return {"terminated": terminated}


def _running(container: Container) -> Object:
    return {"running": {"startedAt": format_time(container.started_at)}}


def _terminated(container: Container) -> Object:
    default_reason = "Completed" if container.exit_code == 0 else "Error"
    terminated: Object = {
        "exitCode": container.exit_code,
        "reason": container.reason or default_reason,
        "containerID": f"{CONTAINER_ID_SCHEME}://{container.id}",
    }
    if container.started_at:
        terminated["startedAt"] = format_time(container.started_at)
    if container.finished_at:
        terminated["finishedAt"] = format_time(container.finished_at)
    if container.signal and container.exit_code < 128:
        terminated["signal"] = container.signal
    if container.message:
        terminated["message"] = container.message
    return {"terminated": terminated}


def _waiting_for_restart(
    view: PodView, container: Object, newest: Container, is_init: bool, has_ended: bool, now: float
) -> Object | None:
    """Return the waiting state of a container that exited and will be started again, once it has to wait."""
    if newest.state != "Exited" or has_ended or is_deleting(view.pod) or view.ended:
        return None
    if not _would_restart(view.pod, container, newest.exit_code, is_init):
        return None
    failure = view.failures.get(container["name"])
    if failure:
        return {"reason": failure.reason, "message": failure.message}
    if crash_loop(view, container["name"], now):
        return {"reason": "CrashLoopBackOff", "message": back_off_message(view, container["name"])}
    return None


def back_off_message(view: PodView, container_name: str) -> str:
    """Return upstream's words for a container that waits for its restart."""
    delay = _duration(view.backoffs[container_name].delay_seconds)
    return f"back-off {delay} restarting failed container={container_name} pod={pod_description(view.pod)}"


def pod_description(pod: Object) -> str:
    """Return name_namespace(uid), as the kubelet's messages call a pod."""
    return f"{name(pod)}_{namespace(pod)}({uid(pod)})"


def _duration(seconds: float) -> str:
    """Return Go's time.Duration text for whole seconds: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _image(container: Object, newest: Container | None, old: Object) -> str:
    return newest.config.image if newest else str(old.get("image") or container["image"])


def _image_id(newest: Container | None, old: Object) -> str:
    if newest is None:
        return str(old.get("imageID") or "")
    return newest.config.labels.get(IMAGE_ID_LABEL, "") or newest.config.image


def _container_id(newest: Container | None, old: Object) -> str:
    if newest is not None and newest.state != "Created":
        return f"{CONTAINER_ID_SCHEME}://{newest.id}"
    return str(old.get("containerID") or "")


def _volume_mount(mount: Object) -> Object:
    status = {"name": mount["name"], "mountPath": mount["mountPath"]}
    if mount.get("readOnly"):
        status |= {"readOnly": True, "recursiveReadOnly": "Disabled"}
    return status


# Phase


def _phase(view: PodView, init_statuses: list[Object], statuses: list[Object], has_ended: bool) -> str:
    old = (view.pod.get("status") or {}).get("phase", "Pending")
    if old in ("Succeeded", "Failed"):
        return str(old)
    if view.ended:
        return "Failed" if has_ended else str(old)
    policy = restart_policy(view.pod)
    pending_init, failed_init = _count_init(view, init_statuses)
    if failed_init and policy == "Never":
        return "Failed" if not any(c.state == "Running" for c in view.containers) else "Pending"
    counts = [_kind_of(s) for s in statuses]
    if has_ended:
        done = all("terminated" in s["state"] and s["state"]["terminated"]["exitCode"] == 0 for s in statuses)
        return "Succeeded" if done and not pending_init and not failed_init else "Failed"
    if (pending_init or failed_init) and not has_begun(view):
        return "Pending"
    if "waiting" in counts:
        return "Pending"
    if "running" in counts:
        return "Running"
    specs = containers(view.pod)
    exits = [_exit_of(s) for s in statuses]
    if any(will_restart(view.pod, c, code) for c, code in zip(specs, exits, strict=True)):
        return "Running"
    if any("running" in s["state"] for s in init_statuses):
        return "Running"
    return "Failed" if any(exits) else "Succeeded"


def _count_init(view: PodView, init_statuses: list[Object]) -> tuple[int, int]:
    """Return how many init containers have yet to finish (sidecars: to start), and how many failed."""
    pending = failed = 0
    for container, status in zip(init_containers(view.pod), init_statuses, strict=True):
        state = status["state"]
        if is_sidecar(container):
            pending += not status["started"] and "terminated" not in state
        elif "terminated" in state:
            failed += state["terminated"]["exitCode"] != 0
        elif "waiting" in state and "terminated" in status["lastState"]:
            failed += status["lastState"]["terminated"]["exitCode"] != 0
        else:
            pending += 1
    return pending, failed


def _kind_of(status: Object) -> str:
    state = status["state"]
    if "running" in state:
        return "running"
    if "terminated" in state or "terminated" in status["lastState"]:
        return "stopped"
    return "waiting"


def _exit_of(status: Object) -> int:
    state = status["state"] if "terminated" in status["state"] else status["lastState"]
    return int(state["terminated"]["exitCode"])


# Conditions


def _conditions(view: PodView, phase: str, statuses: list[Object]) -> list[Object]:
    ready_containers = _containers_ready(view, phase, statuses)
    return [
        _condition("PodReadyToStartContainers", view.is_sandbox_usable),
        _initialized(view, phase, statuses),
        _ready(view, ready_containers),
        {"type": "ContainersReady", **ready_containers},
    ]


def _condition(type: str, holds: bool, reason: str = "", message: str = "") -> Object:
    found = {"type": type, "status": "True" if holds else "False", "reason": reason, "message": message}
    return {key: value for key, value in found.items() if value}


def _initialized(view: PodView, phase: str, statuses: list[Object]) -> Object:
    if phase == "Succeeded":
        return _condition("Initialized", True, "PodCompleted")
    if has_begun(view):
        return _condition("Initialized", True)
    by_name = {s["name"]: s for s in statuses}
    incomplete = [
        c["name"]
        for c in init_containers(view.pod)
        if not by_name[c["name"]]["started" if is_sidecar(c) else "ready"]
    ]
    if not incomplete:
        return _condition("Initialized", True)
    message = f"containers with incomplete status: [{' '.join(incomplete)}]"
    return _condition("Initialized", False, "ContainersNotInitialized", message)


def _containers_ready(view: PodView, phase: str, statuses: list[Object]) -> Object:
    if phase == "Succeeded":
        return {"status": "False", "reason": "PodCompleted"}
    if phase == "Failed":
        return {"status": "False", "reason": "PodFailed"}
    by_name = {s["name"]: s for s in statuses}
    concerned = [c for c in init_containers(view.pod) if is_sidecar(c)] + containers(view.pod)
    unready = [c["name"] for c in concerned if not by_name[c["name"]]["ready"]]
    if not unready:
        return {"status": "True"}
    message = f"containers with unready status: [{' '.join(unready)}]"
    return {"status": "False", "reason": "ContainersNotReady", "message": message}


def _ready(view: PodView, ready_containers: Object) -> Object:
    if ready_containers["status"] != "True":
        return {"type": "Ready", **ready_containers}
    present = {c["type"]: c for c in (view.pod.get("status") or {}).get("conditions") or []}
    missing: list[str] = []
    for gate in view.pod["spec"].get("readinessGates") or []:
        wanted = gate["conditionType"]
        if wanted not in present:
            missing.append(f'corresponding condition of pod readiness gate "{wanted}" does not exist.')
        elif present[wanted]["status"] != "True":
            status = present[wanted]["status"]
            missing.append(f'the status of pod readiness gate "{wanted}" is not "True", but {status}')
    if missing:
        return _condition("Ready", False, "ReadinessGatesNotReady", ", ".join(missing))
    return _condition("Ready", True)


def _with_transitions(new: list[Object], old: list[Object], view: PodView, now: float) -> list[Object]:
    """Return the conditions with their times: a transition is a change of status."""
    before = {c["type"]: c for c in old}
    generation = view.pod["metadata"].get("generation", 1)
    result = []
    for condition in new:
        known = before.get(condition["type"])
        is_same = known is not None and known.get("status") == condition["status"]
        since = known["lastTransitionTime"] if known and is_same else format_time(now)
        stamped: dict[str, Any] = {
            **condition,
            "observedGeneration": generation,
            "lastTransitionTime": since,
        }
        result.append(stamped)
    return result
