"""Hold what the parts of one pod's worker share: the pod as the API has it now, its look-ups and its events."""

from __future__ import annotations

from collections.abc import Mapping

from proa.client.protocol import Object
from proa.node.downward import DownwardSource
from proa.node.node_services import NodeServices
from proa.node.probes.manager import Known
from proa.objects.meta import uid
from proa.objects.pods import container_statuses

CONTAINER_LISTS = ("containers", "initContainers", "ephemeralContainers")


class PodHandle:
    """One pod on one node. `is_known` is False once the API has forgotten it: nothing is told about it then."""

    def __init__(self, node: NodeServices, pod: Object, *, is_known: bool) -> None:
        self.node = node
        self.pod = pod
        self.uid = uid(pod)
        self.is_known = is_known
        self.held_back: Mapping[str, Object] = {}
        """The resources that containers keep while a change of them is pending, by name."""

    def container_to_start(self, container_name: str) -> Object:
        """Return a container's spec with the resources that it may have; raise KeyError."""
        container, held = self.container(container_name), self.held_back.get(container_name)
        return container if held is None else {**container, "resources": held}

    def resized(self, container_name: str, resources: Object) -> Object:
        """Return the pod with what its containers may have, and one of them something else."""
        may_have = {**self.held_back, container_name: resources}
        spec = dict(self.pod["spec"])
        for key in CONTAINER_LISTS:
            spec[key] = [
                {**c, "resources": may_have[c["name"]]} if c["name"] in may_have else c
                for c in spec.get(key) or ()
            ]
        return {**self.pod, "spec": spec}

    def container(self, container_name: str) -> Object:
        """Return a container's spec; raise KeyError."""
        found = self.find_container(container_name)
        if found is None:
            raise KeyError(container_name)
        return found

    def find_container(self, container_name: str) -> Object | None:
        """Return a container's spec, of whatever kind it is."""
        for key in CONTAINER_LISTS:
            for container in self.pod["spec"].get(key) or ():
                if container["name"] == container_name:
                    found: Object = container
                    return found
        return None

    def field_path(self, container_name: str) -> str:
        """Return the path by which Events name a container."""
        for key in CONTAINER_LISTS:
            if any(c["name"] == container_name for c in self.pod["spec"].get(key) or ()):
                return f"spec.{key}{{{container_name}}}"
        return ""

    def pod_ip(self) -> str:
        """Return the pod's address, "" before it has one."""
        sandboxes = self.node.cache.sandboxes(self.uid)
        if not sandboxes:
            return ""
        return self.node.machine.ip if sandboxes[0].config.host_network else sandboxes[0].ip

    def downward(self) -> DownwardSource:
        """Return what the pod may learn of itself beside its object."""
        machine = self.node.machine
        sandboxes = self.node.cache.sandboxes(self.uid)
        is_host = bool(sandboxes) and sandboxes[0].config.host_network
        second = machine.ipv6 if is_host else sandboxes[0].ipv6 if sandboxes else ""
        return DownwardSource(machine.ip, self.pod_ip(), machine.allocatable, machine.ipv6, second)

    def known_as(self, container_name: str, container_id: str) -> Known:
        """Return what the API says of this attempt at a container."""
        for known in container_statuses(self.pod):
            if known["name"] == container_name and known.get("containerID", "").endswith(container_id):
                return Known(bool(known.get("started")), bool(known.get("ready")))
        return Known()

    def event(self, type: str, reason: str, message: str, container_name: str = "") -> None:
        """Record an Event about the pod, or about one of its containers."""
        if self.is_known:
            field_path = self.field_path(container_name) if container_name else ""
            self.node.events.event(self.pod, type, reason, message, field_path)
