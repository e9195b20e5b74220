"""Turn a container's requests and limits into what the kernel understands.

Follows pkg/kubelet/qos/policy.go, pkg/kubelet/cm/helpers_linux.go and pkg/apis/core/v1/helper/qos/qos.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from proa.client.protocol import Object
from proa.node.runtimes.protocol import Resources
from proa.objects.pods import containers, init_containers, resource_requests, total_resources
from proa.objects.quantity import to_millis, to_units

QosClass = Literal["Guaranteed", "Burstable", "BestEffort"]

HUGE_PAGES = "hugepages-"
MIN_CPU_SHARES = 2
MAX_CPU_SHARES = 262144
GUARANTEED_OOM_SCORE = -997
BEST_EFFORT_OOM_SCORE = 1000


def qos_class(pod: Object) -> QosClass:
    """Return the pod's quality of service: as the API server decided, else as its resources say."""
    decided: QosClass | None = (pod.get("status") or {}).get("qosClass")
    return decided or _computed_qos_class(pod)


def _computed_qos_class(pod: Object) -> QosClass:
    spec = pod["spec"]
    every = [*spec.get("containers", []), *spec.get("initContainers", [])]
    amounts = [_cpu_and_memory(c.get("resources") or {}) for c in every]
    if not any(requests or limits for requests, limits in amounts):
        return "BestEffort"
    if all(limits.keys() == {"cpu", "memory"} and requests in ({}, limits) for requests, limits in amounts):
        return "Guaranteed"
    return "Burstable"


def _cpu_and_memory(resources: dict[str, Any]) -> tuple[dict[str, int], dict[str, int]]:
    def positive(amounts: dict[str, Any] | None) -> dict[str, int]:
        found = {k: to_millis(str(v)) for k, v in (amounts or {}).items() if k in ("cpu", "memory")}
        return {k: v for k, v in found.items() if v > 0}

    return positive(resources.get("requests")), positive(resources.get("limits"))


def cpu_shares(cpu_millis: int) -> int:
    """Return cgroup v1 cpu.shares for a CPU request in thousandths of a core."""
    if cpu_millis <= 0:
        return MIN_CPU_SHARES
    return max(MIN_CPU_SHARES, min(cpu_millis * 1024 // 1000, MAX_CPU_SHARES))


def oom_score_adj(pod: Object, container: Object, memory_capacity_bytes: int) -> int:
    """Return how ready the kernel should be to kill this container: more so the less memory it asked for."""
    if pod["spec"].get("priorityClassName") == "system-node-critical":
        return GUARANTEED_OOM_SCORE
    quality = qos_class(pod)
    if quality == "Guaranteed":
        return GUARANTEED_OOM_SCORE
    if quality == "BestEffort":
        return BEST_EFFORT_OOM_SCORE
    request = _amount(container, "requests", "memory") or _amount(container, "limits", "memory")
    score = 1000 - 1000 * request // max(memory_capacity_bytes, 1)
    if score < 1000 + GUARANTEED_OOM_SCORE:
        return 1000 + GUARANTEED_OOM_SCORE
    return BEST_EFFORT_OOM_SCORE - 1 if score == BEST_EFFORT_OOM_SCORE else score


def container_resources(pod: Object, container: Object, memory_capacity_bytes: int) -> Resources:
    """Return the container's cgroup settings."""
    limit_millis = _amount(container, "limits", "cpu")
    return Resources(
        cpu_shares=cpu_shares(_amount(container, "requests", "cpu") or limit_millis),
        cpu_quota_millis=limit_millis,
        memory_limit_bytes=_amount(container, "limits", "memory"),
        oom_score_adj=oom_score_adj(pod, container, memory_capacity_bytes),
        hugepage_limits=hugepage_limits((container.get("resources") or {}).get("limits") or {}),
    )


def pod_resources(pod: Object) -> Resources:
    """Return the settings of the group that all of a pod is in (pkg/kubelet/cm/helpers_linux.go: ResourceConfigForPod).

    A limit counts where every container has one, or the pod as a whole.
    """
    spec = pod["spec"]
    requests, limits = resource_requests(pod), total_resources(spec, "limits")
    overhead = spec.get("overhead") or {}
    said = [(c.get("resources") or {}).get("limits") or {} for c in (*containers(pod), *init_containers(pod))]
    of_pod = (spec.get("resources") or {}).get("limits") or {}

    def limit(resource: str, convert: Callable[[str], int]) -> int:
        if resource not in of_pod and not all(convert(str(one.get(resource, "0"))) > 0 for one in said):
            return 0
        return convert(str(limits[resource])) + convert(str(overhead.get(resource, "0")))

    return Resources(
        cpu_shares=cpu_shares(requests.get("cpu", 0)),
        cpu_quota_millis=limit("cpu", to_millis),
        memory_limit_bytes=limit("memory", to_units),
        hugepage_limits=hugepage_limits({k: v for k, v in limits.items() if k.startswith(HUGE_PAGES)}),
    )


def most_of(one: Resources, other: Resources) -> Resources:
    """Return limits that allow what either does; 0 allows everything."""

    def most(name: str) -> int:
        both = (getattr(one, name), getattr(other, name))
        return max(both) if all(both) else 0

    return replace(
        other,
        cpu_shares=max(one.cpu_shares, other.cpu_shares),
        cpu_quota_millis=most("cpu_quota_millis"),
        memory_limit_bytes=most("memory_limit_bytes"),
    )


def hugepage_limits(limits: Mapping[str, Any]) -> dict[str, int]:
    """Return bytes by page size, in the words of control files (2MB, 1GB)."""
    found = {}
    for name, amount in limits.items():
        if name.startswith(HUGE_PAGES):
            size = to_units(name.removeprefix(HUGE_PAGES))
            unit = next(u for u in (30, 20, 10) if size >= 1 << u or u == 10)
            found[f"{size >> unit}{'KMG'[unit // 10 - 1]}B"] = to_units(str(amount))
    return found


def _amount(container: Object, kind: Literal["requests", "limits"], resource: str) -> int:
    """Return millicores of CPU or whole units of anything else; 0 where nothing is said."""
    text = ((container.get("resources") or {}).get(kind) or {}).get(resource)
    if text is None:
        return 0
    return to_millis(str(text)) if resource == "cpu" else to_units(str(text))
