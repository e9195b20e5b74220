"""Compute a pod's phase from its containers' statuses.

Pure. Follows pkg/kubelet/kubelet_pods.go (getPhase).
"""

from __future__ import annotations

from proa.client.protocol import Object
from proa.node.pod_view import PodView, has_begun, will_restart, will_restart_init
from proa.objects.pods import containers, init_containers, is_sidecar


def pod_phase(view: PodView, init_statuses: list[Object], statuses: list[Object], has_ended: bool) -> str:
    old = (view.pod.get("status") or {}).get("phase", "Pending")
    if old in ("Succeeded", "Failed"):
        return str(old)
    if view.ended:
        return "Failed" if has_ended else str(old)
    pending_init, failed_init, is_hopeless = _count_init(view, init_statuses)
    if is_hopeless:
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


def _count_init(view: PodView, init_statuses: list[Object]) -> tuple[int, int, bool]:
    """Return how many init containers have yet to finish (sidecars: to start), how many failed, and one for good."""
    pending = failed = 0
    is_hopeless = False
    for container, status in zip(init_containers(view.pod), init_statuses, strict=True):
        state = status["state"]
        if is_sidecar(container):
            pending += not status["started"] and "terminated" not in state
            continue
        if "terminated" not in state and not ("waiting" in state and "terminated" in status["lastState"]):
            pending += 1
            continue
        code = _exit_of(status)
        failed += code != 0
        is_hopeless = is_hopeless or (code != 0 and not will_restart_init(view.pod, container, code))
    return pending, failed, is_hopeless


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
