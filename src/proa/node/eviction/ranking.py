"""Order pods by how much they are to blame for what the node is short of.

Pure. Follows pkg/kubelet/eviction/helpers.go (rankMemoryPressure, rankDiskPressureFunc) and
pkg/kubelet/types/pod_update.go (IsCriticalPod).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from proa.client.protocol import Object
from proa.objects.meta import annotations as annotations_of
from proa.objects.meta import uid
from proa.objects.pods import is_terminated, resource_requests

SYSTEM_CRITICAL_PRIORITY = 2_000_000_000
CONFIG_SOURCE_ANNOTATION = "kubernetes.io/config.source"
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"


def is_critical(pod: Object) -> bool:
    """Tell whether a pod is never ended for others: a static one, or one of system priority."""
    found = annotations_of(pod)
    is_static = MIRROR_ANNOTATION in found or found.get(CONFIG_SOURCE_ANNOTATION, "api") != "api"
    return is_static or (pod["spec"].get("priority") or 0) >= SYSTEM_CRITICAL_PRIORITY


def rank(pods: Iterable[Object], resource: str, used: Mapping[str, int]) -> list[Object]:
    """Return the pods that may be ended for a resource (memory, ephemeral-storage, inodes), the first to go first.

    Those that use more than they asked for come first, of these those of low priority, then those that use most above
    what they asked for. `used` has what each uses, by uid.
    """

    def key(pod: Object) -> tuple[bool, int, int]:
        above = used.get(uid(pod), 0) - resource_requests(pod).get(resource, 0)
        return above <= 0, pod["spec"].get("priority") or 0, -above

    return sorted((pod for pod in pods if not is_terminated(pod) and not is_critical(pod)), key=key)
