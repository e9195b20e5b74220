"""Compute one container's status: its state, its last one, how often it was restarted, whether it is ready.

Pure. Follows pkg/kubelet/kubelet_pods.go (convertToAPIContainerStatuses).
"""

from __future__ import annotations

from typing import Literal

from proa.client.protocol import Object
from proa.node.pod_lifecycle import crash_loop
from proa.node.pod_view import PodView, has_begun, will_restart, will_restart_init
from proa.node.resize import given_resources
from proa.node.runtime_cache import IMAGE_ID_LABEL
from proa.node.runtimes.protocol import Container
from proa.objects.meta import format_time, is_deleting, name, namespace, uid
from proa.objects.pods import container_statuses, init_containers, is_sidecar

Role = Literal["init", "regular", "ephemeral"]
"""In which of the pod's lists a container is."""

CONTAINER_ID_SCHEME = "proa"
LOST = "The container could not be located when the pod was terminated"
LOST_RUNNING = (
    "The container could not be located when the pod was deleted.  The container used to be Running"
)


def container_status(view: PodView, container: Object, role: Role, has_ended: bool, now: float) -> Object:
    """Return the status of one container of the pod's spec; `has_ended`: nothing of the pod runs or will run again."""
    newest = view.newest(container["name"])
    old = _old_status(view.pod, container["name"])
    previous = view.previous(container["name"])
    last_state = _terminated(previous) if previous else dict(old.get("lastState") or {})
    if newest is None or newest.state == "Created":
        state, last_state, restarts = _absent(view, container, old, last_state, role, has_ended, newest)
    else:
        restarts = newest.config.attempt
        state = _running(newest) if newest.state == "Running" else _terminated(newest)
        waiting = _waiting_for_restart(view, container, newest, role, has_ended, now)
        if waiting:
            state, last_state = {"waiting": waiting}, state
    is_running = newest is not None and newest.state == "Running"
    started = newest is not None and view.is_started(newest)
    ready = newest is not None and view.is_ready(newest)
    if role == "init" and not is_sidecar(container):
        started = False if not is_running else started
        ready = newest is not None and newest.state == "Exited" and newest.exit_code == 0
    status: Object = {
        "name": container["name"],
        "image": _image(container, newest, old),
        "imageID": _image_id(newest, old),
        "state": state,
        "lastState": last_state,
        "ready": ready and role != "ephemeral",
        "started": started,
        "restartCount": restarts,
    }
    if role == "ephemeral":
        del status["started"]
    container_id = _container_id(newest, old)
    if container_id:
        status["containerID"] = container_id
    wanted = container.get("resources") or {}
    given = given_resources(newest)
    resources = wanted if given is None else given
    if newest is not None and newest.state != "Created" and role != "ephemeral":
        status["resources"] = resources if is_running else wanted
    if is_running:
        allocated = view.held_back.get(container["name"], wanted)
        if allocated.get("requests"):
            status["allocatedResources"] = allocated["requests"]
    if newest is not None and newest.user is not None:
        uid_, gid, groups = newest.user
        status["user"] = {"linux": {"uid": uid_, "gid": gid, "supplementalGroups": [*groups]}}
    stop_signal = (container.get("lifecycle") or {}).get("stopSignal")
    if stop_signal:
        status["stopSignal"] = stop_signal
    mounts = [_volume_mount(m) for m in container.get("volumeMounts") or []]
    if mounts:
        status["volumeMounts"] = mounts
    return status


def _old_status(pod: Object, container_name: str) -> Object:
    return next((known for known in container_statuses(pod) if known["name"] == container_name), {})


def _absent(
    view: PodView,
    container: Object,
    old: Object,
    last_state: Object,
    role: Role,
    has_ended: bool,
    created: Container | None,
) -> tuple[Object, Object, int]:
    """Return state, lastState and restartCount of a container that the runtime does not run or remember."""
    restarts = created.config.attempt if created else int(old.get("restartCount", 0))
    old_state = old.get("state") or {}
    if "terminated" in old_state:
        if not _would_restart(view.pod, container, old_state["terminated"].get("exitCode", 0), role):
            return old_state, last_state, restarts
        if not has_ended:
            last_state = old_state
    elif "running" in old_state and created is None:
        lost = _lost(LOST_RUNNING, old)
        if has_ended or not _would_restart(view.pod, container, 137, role):
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


def _would_restart(pod: Object, container: Object, exit_code: int, role: Role) -> bool:
    if role == "ephemeral":
        return False
    return (will_restart_init if role == "init" else will_restart)(pod, container, exit_code)


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
        "startedAt": format_time(container.started_at or 0.0),  # 1970 for what never ran, as upstream has it
    }
    if container.finished_at:
        terminated["finishedAt"] = format_time(container.finished_at)
    if container.signal and container.exit_code < 128:
        terminated["signal"] = container.signal
    if container.message:
        terminated["message"] = container.message
    return {"terminated": terminated}


def _waiting_for_restart(
    view: PodView, container: Object, newest: Container, role: Role, has_ended: bool, now: float
) -> Object | None:
    """Return the waiting state of a container that exited and will be started again, once it has to wait."""
    if newest.state != "Exited" or has_ended or is_deleting(view.pod) or view.ended:
        return None
    if not _would_restart(view.pod, container, newest.exit_code, role):
        return None
    if crash_loop(view, container["name"], now):
        return {"reason": "CrashLoopBackOff", "message": back_off_message(view, container["name"])}
    failure = view.failures.get(container["name"])
    return {"reason": failure.reason, "message": failure.message} if failure else None


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
