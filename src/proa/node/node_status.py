"""Describe this machine as a Node object: capacity, addresses, conditions, versions, images.

Pure but for `read_machine`. Follows pkg/kubelet/nodestatus/setters.go and kubelet_node_status.go.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import field
from pathlib import Path

from proa.client.protocol import Object
from proa.node.runtimes.protocol import RuntimeStatus
from proa.node.settings import KUBERNETES_VERSION, KubeletSettings
from proa.objects.meta import format_time
from proa.objects.quick_dataclass import dataclass

ISOLATION_ANNOTATION = "proa.local/isolation"
MISSING_FEATURES_ANNOTATION = "proa.local/missing-features"
LIMITS = {"cgroup-memory": "memory limits", "cgroup-cpu": "CPU limits", "cgroup-pids": "process limits"}
MAX_IMAGES = 50
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_RELIEVED = {
    "MemoryPressure": ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    "DiskPressure": ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    "PIDPressure": ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
}
_UNDER_PRESSURE = {
    "MemoryPressure": ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
    "DiskPressure": ("KubeletHasDiskPressure", "kubelet has disk pressure"),
}


@dataclass(frozen=True, slots=True)
class MachineInfo:
    """What the kernel and the file system say of this machine."""

    cpus: int
    memory_bytes: int
    storage_bytes: int
    architecture: str
    kernel: str
    os_image: str
    machine_id: str
    boot_id: str
    system_uuid: str
    huge_pages: Mapping[str, str] = field(default_factory=dict)
    """What there is of each size, as the node's capacity says it (hugepages-2Mi: 4Mi)."""
    devices: Mapping[str, int] = field(default_factory=dict)
    """How many there are of each extended resource."""


def read_machine(directory: Path) -> MachineInfo:
    """Read the machine's facts; `directory` says which file system pods write to."""
    machine_id = _read("/etc/machine-id") or _read("/var/lib/dbus/machine-id")
    kernel = os.uname()
    release = dict(line.split("=", 1) for line in _read("/etc/os-release").splitlines() if "=" in line)
    return MachineInfo(
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        storage_bytes=shutil.disk_usage(directory).total,
        huge_pages=read_huge_pages(Path("/sys/kernel/mm/hugepages")),
        architecture=_ARCHITECTURES.get(kernel.machine, kernel.machine),
        kernel=kernel.release,
        os_image=release.get("PRETTY_NAME", "Linux").strip('"'),
        machine_id=machine_id,
        boot_id=_read("/proc/sys/kernel/random/boot_id"),
        system_uuid=_read("/sys/class/dmi/id/product_uuid") or machine_id,
    )


def read_huge_pages(folder: Path) -> dict[str, str]:
    """Return how many bytes of huge pages there are, by resource."""
    found = {}
    for entry in sorted(folder.glob("hugepages-*kB")):
        kibibytes = int(entry.name.removeprefix("hugepages-").removesuffix("kB"))
        size = _binary(kibibytes)
        found[f"hugepages-{size}"] = _binary(kibibytes * int(_read(str(entry / "nr_hugepages")) or 0))
    return found


def _binary(kibibytes: int) -> str:
    for unit, factor in (("Gi", 1 << 20), ("Mi", 1 << 10)):
        if kibibytes and kibibytes % factor == 0:
            return f"{kibibytes // factor}{unit}"
    return f"{kibibytes}Ki" if kibibytes else "0"


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def make_capacity(machine: MachineInfo, max_pods: int) -> dict[str, str]:
    """Return status.capacity; this node keeps nothing back, so it is what is allocatable too."""
    return {
        "cpu": str(machine.cpus),
        "ephemeral-storage": f"{machine.storage_bytes // 1024}Ki",
        **machine.huge_pages,
        "memory": f"{machine.memory_bytes // 1024}Ki",
        "pods": str(max_pods),
        **{resource: str(count) for resource, count in machine.devices.items()},
    }


def extended_resources(quantities: Mapping[str, str]) -> dict[str, str]:
    """Return those that somebody else gives the node: names with a domain that is not Kubernetes' own."""
    return {name: value for name, value in quantities.items() if _is_extended(name)}


def _is_extended(name: str) -> bool:
    domain, slash, _ = name.partition("/")
    return bool(slash) and domain != "kubernetes.io" and not domain.endswith(".kubernetes.io")


def make_labels(settings: KubeletSettings, machine: MachineInfo) -> dict[str, str]:
    """Return the labels that a node always has, and those of its settings."""
    return {
        "beta.kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
        "kubernetes.io/hostname": settings.node_name,
        "kubernetes.io/os": "linux",
        **settings.labels,
    }


def make_annotations(runtime: RuntimeStatus) -> dict[str, str]:
    """Return what tells a user how well this node isolates pods."""
    missing = {feature: why for feature, why in runtime.features.items() if why}
    found: dict[str, str] = {ISOLATION_ANNOTATION: runtime.level}
    if missing:
        found[MISSING_FEATURES_ANNOTATION] = "; ".join(f"{k}: {why}" for k, why in sorted(missing.items()))
    return found


def make_node(settings: KubeletSettings, machine: MachineInfo, runtime: RuntimeStatus) -> Object:
    """Return the Node to register, without its status."""
    spec: Object = {}
    if runtime.pod_cidr:
        second = [settings.pod_cidr_v6] if runtime.node_ipv6 and settings.pod_cidr_v6 else []
        spec = {"podCIDR": runtime.pod_cidr, "podCIDRs": [runtime.pod_cidr, *second]}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": settings.node_name,
            "labels": make_labels(settings, machine),
            "annotations": {**make_annotations(runtime), **settings.annotations},
        },
        "spec": spec,
    }


def make_node_status(
    settings: KubeletSettings,
    machine: MachineInfo,
    runtime: RuntimeStatus,
    images: Sequence[tuple[list[str], int]],
    old: Object,
    now: float,
    pressures: Collection[str] = (),
) -> Object:
    """Return the Node's status; `old` gives the times of conditions that stay as they are.

    What others have added to its capacity is allocatable, all of it.
    """
    capacity = extended_resources(old.get("capacity") or {}) | make_capacity(machine, settings.max_pods)
    addresses = [{"type": "Hostname", "address": settings.node_name}]
    if runtime.node_ip:
        found = [ip for ip in (runtime.node_ip, runtime.node_ipv6) if ip]
        addresses = [*({"type": "InternalIP", "address": ip} for ip in found), *addresses]
    addresses += [{"type": kind, "address": address} for kind, address in settings.addresses]
    ordered = sorted(images, key=lambda i: (-i[1], i[0]))[:MAX_IMAGES]
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "addresses": addresses,
        "conditions": make_conditions(runtime, old, now, pressures=pressures),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": settings.port}},
        "images": [{"names": list(dict.fromkeys(names)), "sizeBytes": size} for names, size in ordered],
        "features": {"supplementalGroupsPolicy": True},
        "runtimeHandlers": [
            {"name": handler, "features": dict(abilities)}
            for handler, abilities in {"": runtime.handlers.get("native", {}), **runtime.handlers}.items()
        ],
        "nodeInfo": {
            "architecture": machine.architecture,
            "bootID": machine.boot_id,
            "containerRuntimeVersion": f"{runtime.name}://{runtime.version}",
            "kernelVersion": machine.kernel,
            "kubeProxyVersion": "",
            "kubeletVersion": KUBERNETES_VERSION,
            "machineID": machine.machine_id,
            "operatingSystem": "linux",
            "osImage": machine.os_image,
            "systemUUID": machine.system_uuid,
        },
    }


def make_conditions(
    runtime: RuntimeStatus,
    old: Object,
    now: float,
    *,
    pressures: Collection[str] = (),
    why_not_ready: str = "",
) -> list[Object]:
    """Return the four conditions that upstream's kubelet reports; Ready's message tells of missing limits.

    `pressures` are the types of those that say what the node is short of.
    """
    missing = [words for feature, words in LIMITS.items() if runtime.features.get(feature)]
    message = "kubelet is posting ready status"
    if missing:
        message += f"; this node ({runtime.level}) does not enforce {', '.join(missing)}"
    ready = ("Ready", "True", "KubeletReady", message)
    if why_not_ready:
        ready = ("Ready", "False", "KubeletNotReady", why_not_ready)
    before = {c["type"]: c for c in old.get("conditions") or []}
    conditions = []
    pressed = [
        (kind, "True", *_UNDER_PRESSURE[kind]) if kind in pressures else (kind, "False", *words)
        for kind, words in _RELIEVED.items()
    ]
    for type, status, reason, text in (*pressed, ready):
        known = before.get(type)
        is_same = known is not None and known.get("status") == status
        since = known["lastTransitionTime"] if known and is_same else format_time(now)
        conditions.append(
            {
                "type": type,
                "status": status,
                "lastHeartbeatTime": format_time(now),
                "lastTransitionTime": since,
                "reason": reason,
                "message": text,
            }
        )
    return conditions
