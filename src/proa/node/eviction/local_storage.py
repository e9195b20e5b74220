"""Say whether a pod takes more of the node's disk than its limits allow.

Pure. Follows pkg/kubelet/eviction/eviction_manager.go (localStorageEviction).
"""

from __future__ import annotations

from collections.abc import Mapping

from proa.client.protocol import Object
from proa.node.volumes.empty_dir import size_limit_bytes
from proa.objects.pods import containers, init_containers, total_resources
from proa.objects.quantity import to_units
from proa.objects.quick_dataclass import dataclass

STORAGE = "ephemeral-storage"


@dataclass(frozen=True, slots=True)
class PodDisk:
    """What a pod takes of the node's disk, in bytes: each container's root and logs, and each emptyDir, by name.

    `memory` are the emptyDirs of memory: they have limits too, and take nothing of the disk.
    """

    containers: Mapping[str, int]
    volumes: Mapping[str, int]
    memory: frozenset[str] = frozenset()

    @property
    def total_bytes(self) -> int:
        """Return what all of it takes of the disk."""
        on_disk = (used for volume, used in self.volumes.items() if volume not in self.memory)
        return sum(self.containers.values()) + sum(on_disk)


def has_limits(pod: Object) -> bool:
    """Tell whether anything of the pod's use of the disk is limited, so that it has to be measured."""
    volumes = pod["spec"].get("volumes") or []
    return any(size_limit_bytes(volume) for volume in volumes) or any(
        _limit(container) for container in (*init_containers(pod), *containers(pod))
    )


def why_too_much(pod: Object, disk: PodDisk) -> str:
    """Return upstream's words for the first limit that the pod has gone over, "" where it keeps within all."""
    for volume in pod["spec"].get("volumes") or []:
        limit = size_limit_bytes(volume)
        if limit and disk.volumes.get(volume["name"], 0) > limit:
            said = volume["emptyDir"]["sizeLimit"]
            return f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{said}". '
    of_pod = total_resources(pod["spec"], "limits").get(STORAGE)
    if of_pod and disk.total_bytes > to_units(of_pod):
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {of_pod}. "
    for container in containers(pod):
        said = _limit(container)
        if said and disk.containers.get(container["name"], 0) > to_units(said):
            return f'Container {container["name"]} exceeded its local ephemeral storage limit "{said}". '
    return ""


def _limit(container: Object) -> str:
    return str(((container.get("resources") or {}).get("limits") or {}).get(STORAGE) or "")
