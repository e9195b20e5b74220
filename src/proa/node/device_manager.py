"""Hand the node's GPUs to containers: each to one pod at a time, for as long as the pod lives.

What a container was given is in a label of it, so that it is known after a restart of the server. Follows
pkg/kubelet/cm/devicemanager/manager.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from proa.client.protocol import Object
from proa.node.gpus import Gpu, Gpus
from proa.node.runtimes.protocol import Container
from proa.objects.meta import uid
from proa.objects.pods import containers, init_containers, is_sidecar
from proa.objects.quantity import to_units

REASON = "UnexpectedAdmissionError"
DEVICES_LABEL = "proa.local/devices"
"""What a container was given, as `resource=id,id;resource=id`."""

Given = dict[str, tuple[Gpu, ...]]


class DeviceManager:
    """One node's devices. `is_alive(uid)` tells whether a pod may still use what it was given."""

    def __init__(self, gpus: Gpus, is_alive: Callable[[str], bool]) -> None:
        self._gpus = gpus
        self._is_alive = is_alive
        self._given: dict[str, dict[str, Given]] = {}
        """Pod uid to container name to what it has."""

    @property
    def resources(self) -> frozenset[str]:
        """Return the resources that there are."""
        return frozenset(self._gpus)

    def restore(self, pod_uid: str, found: Iterable[Container]) -> None:
        """Take up what containers that run already were given."""
        for container in found:
            label = container.config.labels.get(DEVICES_LABEL)
            if label:
                given = self._read_label(label)
                self._given.setdefault(pod_uid, {}).setdefault(container.config.name, given)

    def admit(self, pod: Object) -> str:
        """Give all containers of a pod, none of which runs, what they ask for; return why that cannot be, or ""."""
        pod_uid = uid(pod)
        for other in [each for each in self._given if each != pod_uid and not self._is_alive(each)]:
            del self._given[other]
        if not self._gpus:
            return ""
        before = self._given.pop(pod_uid, {})
        wanted: dict[str, Given] = {}
        lent: Given = {}
        for container in (*init_containers(pod), *containers(pod)):
            given: Given = {}
            for resource, count in self._asked(container).items():
                free = [*lent.get(resource, ()), *self._free(resource, before, wanted)]
                if len(free) < count:
                    what = f"requested number of devices unavailable for {resource}"
                    amounts = f"Requested: {count}, Available: {len(free)}, which is unexpected"
                    return f"Allocate failed due to {what}. {amounts}"
                given[resource] = tuple(free[:count])
                lent[resource] = _left_to_others(pod, container, lent.get(resource, ()), given[resource])
            wanted[container["name"]] = given
        if any(wanted.values()):
            self._given[pod_uid] = wanted
        return ""

    def given(self, pod_uid: str, container_name: str) -> Given:
        """Return what a container has."""
        return self._given.get(pod_uid, {}).get(container_name, {})

    def label(self, pod_uid: str, container_name: str) -> dict[str, str]:
        """Return the label that says it."""
        given = self.given(pod_uid, container_name)
        parts = (f"{resource}={','.join(gpu.id for gpu in gpus)}" for resource, gpus in given.items())
        return {DEVICES_LABEL: ";".join(parts)} if given else {}

    def _asked(self, container: Object) -> dict[str, int]:
        limits = (container.get("resources") or {}).get("limits") or {}
        counts = {resource: to_units(str(limits[resource])) for resource in self._gpus if resource in limits}
        return {resource: count for resource, count in counts.items() if count}

    def _free(self, resource: str, before: dict[str, Given], wanted: dict[str, Given]) -> list[Gpu]:
        """Return what nobody has, beginning with what the pod had `before`; `wanted` is what it has now."""
        taken = {
            gpu.id
            for of_pod in (*self._given.values(), wanted)
            for given in of_pod.values()
            for gpu in given.get(resource, ())
        }
        own = {gpu.id for given in before.values() for gpu in given.get(resource, ())}
        free = [gpu for gpu in self._gpus[resource] if gpu.id not in taken]
        return sorted(free, key=lambda gpu: gpu.id not in own)

    def _read_label(self, label: str) -> Given:
        given: Given = {}
        for part in label.split(";"):
            resource, _, ids = part.partition("=")
            wanted = ids.split(",")
            given[resource] = tuple(gpu for gpu in self._gpus.get(resource, ()) if gpu.id in wanted)
        return given


def _left_to_others(
    pod: Object, container: Object, lent: tuple[Gpu, ...], given: tuple[Gpu, ...]
) -> tuple[Gpu, ...]:
    """Return the pod's devices that its later containers may have: those of init containers that will have ended."""
    others = tuple(gpu for gpu in lent if gpu not in given)
    return others if is_sidecar(container) or container in containers(pod) else (*others, *given)
