"""Compute a pod's status from what its node knows: phase, container statuses, conditions, addresses.

Pure. Follows pkg/kubelet/kubelet_pods.go (getPhase, convertToAPIContainerStatuses, generateAPIPodStatus) and
pkg/kubelet/status/generate.go. Conditions that others own (readiness gates) are left alone.
"""

from __future__ import annotations

from proa.client.protocol import Object
from proa.node.container_status import container_status
from proa.node.pod_conditions import pod_conditions, with_transitions
from proa.node.pod_phase import pod_phase
from proa.node.pod_view import PodView
from proa.node.resize import pod_level_status
from proa.objects.meta import format_time, is_deleting
from proa.objects.pods import containers, ephemeral_containers, init_containers


def pod_status(view: PodView, now: float) -> Object:
    """Return the pod's status as this node sees it, complete but for what others own."""
    old = view.pod.get("status") or {}
    if view.ended is not None and view.ended.rejected:
        return _rejected(view, old, now)
    has_ended = _has_ended(view)
    init_statuses = [container_status(view, c, "init", has_ended, now) for c in init_containers(view.pod)]
    statuses = [container_status(view, c, "regular", has_ended, now) for c in containers(view.pod)]
    phase = pod_phase(view, init_statuses, statuses, has_ended)
    status: Object = {
        "phase": phase,
        "observedGeneration": view.pod["metadata"].get("generation", 1),
        "startTime": old.get("startTime") or format_time(view.started_at or now),
        "containerStatuses": statuses,
    }
    if init_statuses:
        status["initContainerStatuses"] = init_statuses
    ephemeral = [
        container_status(view, c, "ephemeral", has_ended, now) for c in ephemeral_containers(view.pod)
    ]
    if ephemeral:
        status["ephemeralContainerStatuses"] = ephemeral
    status |= _reason(view, old, phase) | _addresses(view, old) | pod_level_status(view)
    conditions = pod_conditions(view, phase, [*init_statuses, *statuses])
    status["conditions"] = with_transitions(conditions, old.get("conditions") or [], view, now)
    return status


def _rejected(view: PodView, old: Object, now: float) -> Object:
    """Return the status of a pod that never ran here: it has failed, and nothing is told of its containers."""
    return {
        "phase": "Failed",
        "observedGeneration": view.pod["metadata"].get("generation", 1),
        "startTime": old.get("startTime") or format_time(now),
        **_reason(view, old, "Failed"),
    }


def _has_ended(view: PodView) -> bool:
    """Tell whether nothing of the pod will run again and nothing runs now."""
    is_ending = is_deleting(view.pod) or view.ended is not None
    return is_ending and not any(c.state == "Running" for c in view.containers)


def _reason(view: PodView, old: Object, phase: str) -> Object:
    if view.ended:
        return {"reason": view.ended.reason, "message": view.ended.message}
    return {key: old[key] for key in ("reason", "message") if key in old and phase in ("Failed", "Succeeded")}


def _addresses(view: PodView, old: Object) -> Object:
    """Return host and pod addresses; a pod keeps the addresses that it had when its sandbox is gone."""
    found: Object = {}
    if view.host_ip:
        found |= {"hostIP": view.host_ip, "hostIPs": _as_list(view.host_ip, view.host_ipv6)}
    address, every = old.get("podIP", ""), old.get("podIPs") or _as_list(old.get("podIP", ""))
    if view.sandbox is not None and view.sandbox.ip:
        is_host = view.sandbox.config.host_network and view.host_ip
        address = view.host_ip if is_host else view.sandbox.ip
        every = _as_list(address, view.host_ipv6 if is_host else view.sandbox.ipv6)
    if address:
        found |= {"podIP": address, "podIPs": every}
    return found


def _as_list(*addresses: str) -> list[Object]:
    return [{"ip": address} for address in addresses if address]
