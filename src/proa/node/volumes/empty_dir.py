"""Say how large an emptyDir may become: all of them by `sizeLimit`, one of memory by what the pod may use of it too.

Pure. Follows pkg/volume/emptydir/empty_dir.go (calculateEmptyDirMemorySize).
"""

from __future__ import annotations

from proa.client.protocol import Object
from proa.node.volumes.errors import VolumeError
from proa.objects.pods import containers, init_containers, total_resources
from proa.objects.quantity import to_units

MEMORY = "Memory"


def size_limit_bytes(volume: Object) -> int:
    """Return the sizeLimit of an emptyDir (the volume of a pod), 0 where it has none."""
    limit = (volume.get("emptyDir") or {}).get("sizeLimit")
    return to_units(str(limit)) if limit is not None else 0


def memory_bytes(volume: Object, pod: Object, node_bytes: int) -> int:
    """Return the size of an emptyDir of memory: the least of its own limit, the node's memory and the pod's limit.

    A pod has a limit where each of its containers has one.
    """
    bounds = [node_bytes, size_limit_bytes(volume), _memory_limit_bytes(pod)]
    return min(bound for bound in bounds if bound > 0)


def _memory_limit_bytes(pod: Object) -> int:
    limits = [
        (c.get("resources") or {}).get("limits") or {} for c in (*init_containers(pod), *containers(pod))
    ]
    if not limits or not all("memory" in limit for limit in limits):
        return 0
    return to_units(total_resources(pod["spec"], "limits")["memory"])


def is_of_memory(volume: Object) -> bool:
    """Tell whether an emptyDir is of memory; raise VolumeError for a medium that this node does not have."""
    medium = (volume.get("emptyDir") or {}).get("medium") or ""
    if medium not in ("", MEMORY):
        raise VolumeError(f"medium {medium!r} of emptyDir: this node has no huge pages to mount; use Memory")
    return bool(medium)
