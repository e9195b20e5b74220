"""A pod as scheduling sees it: read once from its object, then only looked at.

Amounts are integers: cpu in thousandths, all else in units. Follows kube-scheduler's framework/types.go (PodInfo)
and pkg/scheduler/util/pod_resources.go (what scoring assumes of a container that requests nothing).
"""

from __future__ import annotations

import orjson

from proa.client.protocol import Object
from proa.objects import meta, pods
from proa.objects.pod_groups import GroupKey, group_of
from proa.objects.pods import HostPort
from proa.objects.quick_dataclass import dataclass
from proa.scheduler.terms import PodTerms, pod_terms
from proa.scheduler.volumes import claim_names

DEFAULT_SCHEDULER = "default-scheduler"
DEFAULT_CPU_MILLIS = 100
DEFAULT_MEMORY_BYTES = 200 * 1024 * 1024
NATIVE = ("cpu", "memory")
DISKS = ("gcePersistentDisk", "awsElasticBlockStore", "iscsi", "rbd")
"""Volumes that are disks, which not every two pods can share (plugins/volume_restrictions.py)."""

KindKey = tuple[str, frozenset[tuple[str, str]], bool]
"""Namespace, labels, and whether it is being deleted: all that selectors and budgets see of a pod."""


@dataclass(frozen=True, slots=True, eq=False)
class PodInfo:
    """See the module's docstring. Pods with equal `shape` are alike to every filter and score, but for facts.

    `only_nodes` are the ones that it names, None: any.
    """

    pod: Object
    uid: str
    namespace: str
    name: str
    priority: int
    requests: dict[str, int]
    cpu_millis: int
    memory_bytes: int
    other_requests: tuple[tuple[str, int], ...]
    scored_cpu_millis: int
    scored_memory_bytes: int
    ports: tuple[HostPort, ...]
    claims: tuple[str, ...]
    group: GroupKey | None
    kind: KindKey
    terms: PodTerms
    only_nodes: frozenset[str] | None
    shape: bytes

    @property
    def tolerations(self) -> list[Object]:
        """Return spec.tolerations."""
        return self.pod["spec"].get("tolerations") or []

    @property
    def labels(self) -> dict[str, str]:
        """Return metadata.labels."""
        return meta.labels(self.pod)

    @property
    def scheduler_name(self) -> str:
        """Return spec.schedulerName."""
        return scheduler_name(self.pod)

    @property
    def nominated_node(self) -> str:
        """Return status.nominatedNodeName, "" without one."""
        return (self.pod.get("status") or {}).get("nominatedNodeName") or ""


def scheduler_name(pod: Object) -> str:
    """Return which scheduler a pod asks for."""
    return pod["spec"].get("schedulerName") or DEFAULT_SCHEDULER


def make_pod_info(pod: Object) -> PodInfo:
    """Build a PodInfo from a pod; raise BadRequest where one of its selectors cannot be read."""
    spec, metadata = pod["spec"], pod["metadata"]
    requests, cpu, memory = _requests(pod)
    others = tuple([(name, n) for name, n in requests.items() if n and name not in NATIVE])
    ports = tuple(pods.host_ports(pod))
    namespace = metadata.get("namespace", "")
    shape = orjson.dumps(
        [
            requests,
            cpu,
            memory,
            [list(port) for port in ports],
            spec.get("nodeSelector"),
            (spec.get("affinity") or {}).get("nodeAffinity"),
            spec.get("tolerations"),
            images(spec),
            [volume for volume in spec.get("volumes") or () if any(disk in volume for disk in DISKS)],
        ],
        option=orjson.OPT_SORT_KEYS,
    )
    kind = (namespace, frozenset((metadata.get("labels") or {}).items()), "deletionTimestamp" in metadata)
    return PodInfo(
        pod, metadata.get("uid", ""), namespace, metadata["name"], spec.get("priority") or 0,
        requests, requests.get("cpu", 0), requests.get("memory", 0), others, cpu, memory, ports,
        tuple(claim_names(pod)), group_of(pod), kind, pod_terms(pod), only_nodes(spec), shape,
    )  # fmt: skip


def only_nodes(spec: Object) -> frozenset[str] | None:
    """Return the nodes that a pod's required node affinity names, as a DaemonSet's pod's does; None: it names none."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity")
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") if affinity else None
    if required is None:
        return None
    found: set[str] = set()
    for term in required.get("nodeSelectorTerms") or ():
        named = [
            frozenset(each.get("values") or ())
            for each in term.get("matchFields") or ()
            if (each["key"], each["operator"]) == ("metadata.name", "In")
        ]
        if not named:
            return None
        found |= frozenset.intersection(*named)
    return frozenset(found)


def images(spec: Object) -> list[str]:
    """Return the images that a pod's containers run, and those that it mounts."""
    containers = (*(spec.get("initContainers") or ()), *spec["containers"])
    mounted = (volume["image"].get("reference") for volume in spec.get("volumes") or () if "image" in volume)
    return [*(container.get("image") or "" for container in containers), *(name or "" for name in mounted)]


def _requests(pod: Object) -> tuple[dict[str, int], int, int]:
    """Return what a pod requests, and cpu and memory with what scoring assumes of containers without them."""
    spec = pod["spec"]
    containers = [pods.container_requests(container) for container in spec["containers"]]
    is_plain = len(containers) == 1 and not any(map(spec.get, ("initContainers", "overhead", "resources")))
    requests = containers[0] if is_plain else pods.resource_requests(pod)
    cpu, memory = requests.get("cpu", 0), requests.get("memory", 0)
    pod_level = (spec.get("resources") or {}).get("requests") or {}
    for container in containers:
        if "cpu" not in container and "cpu" not in pod_level:
            cpu += DEFAULT_CPU_MILLIS
        if "memory" not in container and "memory" not in pod_level:
            memory += DEFAULT_MEMORY_BYTES
    return requests, cpu, memory
