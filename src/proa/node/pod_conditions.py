"""Compute the conditions of a pod that its node owns: ready to start, initialized, containers ready, ready, scheduled.

Pure. Follows pkg/kubelet/status/generate.go.
"""

from __future__ import annotations

from typing import Any

from proa.client.protocol import Object
from proa.node.pod_view import PodView, has_begun
from proa.node.resize import find_changes, is_pod_changed
from proa.objects.meta import format_time
from proa.objects.pods import containers, init_containers, is_sidecar


def pod_conditions(view: PodView, phase: str, statuses: list[Object]) -> list[Object]:
    ready_containers = _containers_ready(view, phase, statuses)
    return [
        _condition("PodReadyToStartContainers", view.is_sandbox_usable),
        _initialized(view, phase, statuses),
        _ready(view, ready_containers),
        {"type": "ContainersReady", **ready_containers},
        _condition("PodScheduled", True),
        *_resize(view),
        *_disruption(view),
    ]


def _disruption(view: PodView) -> list[Object]:
    """Return the word that the kubelet has ended the pod for others' sake (KEP-3329)."""
    if view.ended is None or not view.ended.disrupted:
        return []
    return [_condition("DisruptionTarget", True, "TerminationByKubelet", view.ended.message)]


def _resize(view: PodView) -> list[Object]:
    """Return what is said of a change of resources that is not done yet (KEP-1287)."""
    reason, message = view.resize_pending
    if reason:
        return [_condition("PodResizePending", True, reason, message)]
    if view.resize_error:
        return [_condition("PodResizeInProgress", True, "Error", view.resize_error)]
    return [_condition("PodResizeInProgress", True)] if find_changes(view) or is_pod_changed(view) else []


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


def with_transitions(new: list[Object], old: list[Object], view: PodView, now: float) -> list[Object]:
    """Return the conditions with their times: a transition is a change of status."""
    before = {c["type"]: c for c in old}
    generation = view.pod["metadata"].get("generation", 1)
    result = []
    for condition in new:
        known = before.get(condition["type"])
        is_same = known is not None and known.get("status") == condition["status"]
        since = known.get("lastTransitionTime") if known and is_same else None
        stamped: dict[str, Any] = {
            **condition,
            "observedGeneration": generation,
            "lastTransitionTime": since or format_time(now),
        }
        result.append(stamped)
    return result
