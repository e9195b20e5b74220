"""Say what a running pod's containers must be given, or give back, when what it asks for has changed (KEP-1287).

Pure. A container's label says what it was last given, so that this outlives the server. A change that does not fit on
the node beside the other pods is held back: the containers go on, and start again, with what they had. Follows
pkg/kubelet/allocation/allocation_manager.go (canResizePod, handlePodResourcesResize) and
kuberuntime_manager.go (computePodResizeAction).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import orjson

from proa.client.protocol import Object
from proa.node.pod_view import PodView
from proa.node.resources import pod_resources
from proa.node.runtime_cache import RESOURCES_LABEL
from proa.node.runtimes.protocol import Container
from proa.objects.pods import containers, init_containers, is_sidecar, resource_requests
from proa.objects.quantity import to_millis
from proa.objects.quick_dataclass import dataclass

RESIZABLE = ("cpu", "memory")


@dataclass(frozen=True, slots=True)
class Change:
    """A container that is to have other resources than it was given."""

    running: Container
    name: str
    resources: Object
    """As the spec has them."""
    restarts: bool
    """Whether the container's resize policy asks for a restart."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a change may be made; `message` says why not."""

    reason: Literal["", "Deferred", "Infeasible"] = ""
    message: str = ""


ALLOWED = Verdict()


def resources_label(resources: Object) -> str:
    """Return what a container is given, as its label has it."""
    return orjson.dumps(_limits_and_requests(resources), option=orjson.OPT_SORT_KEYS).decode()


def given_resources(running: Container | None) -> Object | None:
    """Return the resources that a container was last given, None where nobody knows."""
    label = running.config.labels.get(RESOURCES_LABEL) if running else None
    return orjson.loads(label) if label is not None else None


def find_changes(view: PodView) -> tuple[Change, ...]:
    """Return the running containers whose resources differ from what the spec asks for."""
    return tuple(change for change in _differences(view) if change.running.state == "Running")


def has_changes(view: PodView) -> bool:
    """Tell whether a container, or the pod, was last given something else than the spec now asks for."""
    return is_pod_changed(view) or any(True for _ in _differences(view))


def is_pod_changed(view: PodView) -> bool:
    """Tell whether the pod as a whole is to have other resources than it was given (KEP-5419)."""
    sandbox = view.sandbox
    if sandbox is None or sandbox.state != "Ready" or not view.pod["spec"].get("resources"):
        return False
    return sandbox.config.resources != pod_resources(view.pod)


def pod_level_status(view: PodView) -> Object:
    """Return what the status says of resources of the whole pod, {} where it has none of its own."""
    wanted = view.pod["spec"].get("resources")
    if not wanted:
        return {}
    old = view.pod.get("status") or {}
    if is_pod_changed(view):
        return {key: old[key] for key in ("resources", "allocatedResources") if key in old}
    said = {
        "resources": _limits_and_requests(wanted),
        "allocatedResources": dict(wanted.get("requests") or {}),
    }
    return {key: value for key, value in said.items() if value}


def _differences(view: PodView) -> Iterator[Change]:
    for container in [*(c for c in init_containers(view.pod) if is_sidecar(c)), *containers(view.pod)]:
        newest = view.newest(container["name"])
        given = given_resources(newest)
        if newest is None or given is None:
            continue
        wanted = _limits_and_requests(container.get("resources") or {})
        changed = _changed(given, wanted)
        if changed:
            policies = {p["resourceName"]: p["restartPolicy"] for p in container.get("resizePolicy") or ()}
            restarts = any(policies.get(resource) == "RestartContainer" for resource in changed)
            yield Change(newest, container["name"], wanted, restarts)


def judge(pod: Object, others: Sequence[Object], allocatable: Mapping[str, int]) -> Verdict:
    """Tell whether the pod's requests fit on the node beside the other pods; amounts as in `resource_requests`."""
    wanted = resource_requests({"spec": pod["spec"]})
    for resource in RESIZABLE:
        asked, capacity = wanted.get(resource, 0), allocatable.get(resource, 0)
        if asked > capacity:
            words = f"{resource}, requested: {asked}, capacity: {capacity}"
            return Verdict("Infeasible", f"Node didn't have enough capacity: {words}")
    for resource in RESIZABLE:
        asked, capacity = wanted.get(resource, 0), allocatable.get(resource, 0)
        used = sum(resource_requests(as_allocated(other)).get(resource, 0) for other in others)
        if asked + used > capacity:
            words = f"{resource}, requested: {asked}, used: {used}, capacity: {capacity}"
            return Verdict("Deferred", f"Node didn't have enough resource: {words}")
    return ALLOWED


def as_allocated(pod: Object) -> Object:
    """Return the pod with the requests that its node has granted, where its status tells them."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    granted = {s["name"]: s["allocatedResources"] for s in statuses if "allocatedResources" in s}
    if not granted:
        return pod
    own = [
        {**c, "resources": {**(c.get("resources") or {}), "requests": granted[c["name"]]}}
        if c["name"] in granted
        else c
        for c in containers(pod)
    ]
    return {"spec": {**pod["spec"], "containers": own}}


def held_back(view: PodView, verdict: Verdict) -> dict[str, Object]:
    """Return the resources with which containers go on while the change is not allowed, by their names."""
    if verdict == ALLOWED:
        return {}
    found = {}
    for container in [*init_containers(view.pod), *containers(view.pod)]:
        given = given_resources(view.newest(container["name"]))
        if given is not None:
            found[container["name"]] = given
    return found


def summary(pod: Object) -> str:
    """Return what a pod asks for, as the events of a resize show it."""
    shown: dict[str, Any] = {}
    for key in ("initContainers", "containers"):
        listed = [
            {"name": c["name"], "resources": c.get("resources") or {}} for c in pod["spec"].get(key) or ()
        ]
        if listed:
            shown[key] = listed
    shown["generation"] = pod["metadata"].get("generation", 1)
    return orjson.dumps(shown).decode()


def _limits_and_requests(resources: Object) -> Object:
    return {key: dict(resources[key]) for key in ("limits", "requests") if resources.get(key)}


def _changed(given: Object, wanted: Object) -> list[str]:
    return [
        resource
        for resource in RESIZABLE
        if any(
            _amount(given, kind, resource) != _amount(wanted, kind, resource)
            for kind in ("requests", "limits")
        )
    ]


def _amount(resources: Object, kind: str, resource: str) -> int:
    text = (resources.get(kind) or {}).get(resource)
    return 0 if text is None else to_millis(str(text))
