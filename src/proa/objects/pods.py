"""Answer what components ask of a Pod: where it is, what phase it is in, what it needs.

Follows pkg/api/v1/pod/util.go and component-helpers/resource/helpers.go (what a pod requests).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from proa.objects import meta
from proa.objects.quantity import add_quantities, parse_quantity, to_millis, to_units

Object = dict[str, Any]

POD_LEVEL_RESOURCES = ("cpu", "memory")
"""What spec.resources may set for the whole pod, besides hugepages-*."""


class HostPort(NamedTuple):
    """A port of the node that a container takes; `ip` "0.0.0.0" means all addresses."""

    ip: str
    protocol: str
    port: int


def node_name(pod: Object) -> str:
    """Return the node it is bound to, "" while it waits for one."""
    return (pod.get("spec") or {}).get("nodeName") or ""


def phase(pod: Object) -> str:
    """Return status.phase, "Pending" before anything has set it."""
    return (pod.get("status") or {}).get("phase") or "Pending"


def pod_ip(pod: Object) -> str:
    """Return status.podIP, "" before it has one."""
    return (pod.get("status") or {}).get("podIP") or ""


def containers(pod: Object) -> list[Object]:
    """Return spec.containers."""
    return (pod.get("spec") or {}).get("containers") or []


def init_containers(pod: Object) -> list[Object]:
    """Return spec.initContainers."""
    return (pod.get("spec") or {}).get("initContainers") or []


def ephemeral_containers(pod: Object) -> list[Object]:
    """Return spec.ephemeralContainers: those that were added to look into the running pod."""
    return (pod.get("spec") or {}).get("ephemeralContainers") or []


def container_statuses(pod: Object) -> list[Object]:
    """Return what status says of containers of every kind."""
    status = pod.get("status") or {}
    kinds = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    return [known for kind in kinds for known in status.get(kind) or ()]


def is_ready(pod: Object) -> bool:
    """Tell whether the Ready condition is True."""
    return meta.has_condition(pod, "Ready")


def is_terminated(pod: Object) -> bool:
    """Tell whether it has Succeeded or Failed: it will never run again."""
    return phase(pod) in ("Succeeded", "Failed")


def is_active(pod: Object) -> bool:
    """Tell whether it counts as a replica: neither terminated nor being deleted."""
    return not is_terminated(pod) and not meta.is_deleting(pod)


def is_sidecar(container: Object) -> bool:
    """Tell whether an init container keeps running beside the main ones."""
    return container.get("restartPolicy") == "Always"


def host_ports(pod: Object) -> list[HostPort]:
    """Return the ports of the node that its containers take (with hostNetwork: every container port)."""
    on_host = (pod.get("spec") or {}).get("hostNetwork") or False
    running = [*containers(pod), *filter(is_sidecar, init_containers(pod))]
    found = []
    for port in (port for container in running for port in container.get("ports") or ()):
        number = port.get("hostPort") or (port.get("containerPort") if on_host else 0)
        if number:
            found.append(HostPort(port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", number))  # noqa: S104
    return found


def resource_requests(pod: Object) -> dict[str, int]:
    """Return what the scheduler must find free: cpu in thousandths, all else in units.

    Containers and sidecars add up; init containers run one at a time, each beside the sidecars before it,
    so the largest moment counts; pod-level resources and overhead come on top.
    """
    total: dict[str, int] = {}
    resizing = _resizing(pod)
    for container in containers(pod):
        need = container_requests(container)
        if resizing is not None:
            need = _beside_granted(need, container, pod, only_granted=resizing)
        _add(total, need)
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in init_containers(pod):
        need = container_requests(container)
        if is_sidecar(container):
            _add(total, need)
            _add(sidecars, need)
            need = sidecars
        else:
            need = _sum((need, sidecars))
        _raise_to(peak, need)
    _raise_to(total, peak)
    spec = pod.get("spec") or {}
    for key, amount in amounts((spec.get("resources") or {}).get("requests") or {}).items():
        if key in POD_LEVEL_RESOURCES or key.startswith("hugepages-"):
            total[key] = amount
    _add(total, amounts(spec.get("overhead") or {}))
    return total


def _resizing(pod: Object) -> bool | None:
    """Return None for a pod whose resources are as its spec says, else whether its node can never grant them."""
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition["type"] in ("PodResizePending", "PodResizeInProgress"):
            return bool(condition.get("reason") == "Infeasible")
    return None


def _beside_granted(
    need: dict[str, int], container: Object, pod: Object, *, only_granted: bool
) -> dict[str, int]:
    """Return the most of what a container asks for, was granted and has (component-helpers/resource: PodRequests)."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if status["name"] != container["name"]:
            continue
        granted = amounts(status.get("allocatedResources") or {})
        _raise_to(granted, amounts((status.get("resources") or {}).get("requests") or {}))
        if only_granted:
            return {**need, **granted}
        most = dict(need)
        _raise_to(most, granted)
        return most
    return need


def total_resources(spec: Object, what: str) -> dict[str, str]:
    """Return the `requests` or `limits` of a whole pod's spec as quantities, overhead left out.

    As `resource_requests` counts, but of what is said alone, and in the words in which it is said.
    """

    def of(container: Object) -> dict[str, str]:
        return (container.get("resources") or {}).get(what) or {}

    inits = spec.get("initContainers") or ()
    total = _sum_said([of(c) for c in (*(spec.get("containers") or ()), *filter(is_sidecar, inits))])
    sidecars: list[dict[str, str]] = []
    for container in inits:
        if is_sidecar(container):
            sidecars.append(of(container))
            continue
        for name, amount in _sum_said([of(container), *sidecars]).items():
            if name not in total or parse_quantity(amount) > parse_quantity(total[name]):
                total[name] = amount
    return {**total, **((spec.get("resources") or {}).get(what) or {})}


def _sum_said(parts: Iterable[dict[str, str]]) -> dict[str, str]:
    amounts: dict[str, list[str]] = {}
    for part in parts:
        for name, amount in part.items():
            amounts.setdefault(name, []).append(amount)
    return {name: add_quantities(found) for name, found in amounts.items()}


def container_requests(container: Object) -> dict[str, int]:
    """Return a container's requests as numbers; a request falls back to the limit."""
    resources = container.get("resources") or {}
    return amounts({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def amounts(quantities: Object) -> dict[str, int]:
    """Return a ResourceList as numbers: cpu in thousandths, all else in units."""
    return {key: to_millis(text) if key == "cpu" else to_units(text) for key, text in quantities.items()}


def _add(total: dict[str, int], more: dict[str, int]) -> None:
    for key, amount in more.items():
        total[key] = total.get(key, 0) + amount


def _sum(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        _add(total, part)
    return total


def _raise_to(total: dict[str, int], least: dict[str, int]) -> None:
    for key, amount in least.items():
        total[key] = max(total.get(key, 0), amount)
