"""Make every volume of a pod ready below `pods/<uid>/volumes/kubernetes.io~<type>/<name>`, and take them away.

What volumes show of ConfigMaps, Secrets and tokens is built anew by `refresh`. Nothing is mounted here: the
runtime binds the directories into the container. Follows pkg/kubelet/volumemanager.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import field
from math import inf
from pathlib import Path

from proa.client.protocol import Object
from proa.node.directories import make_private
from proa.node.downward import DownwardSource
from proa.node.environment import Lookup, expand
from proa.node.noded.records import remove_tree
from proa.node.runtimes.protocol import Mount, RuntimeFailure
from proa.node.volumes.atomic_writer import UnsafePath, write_payload
from proa.node.volumes.claims import find_claimed_path
from proa.node.volumes.empty_dir import is_of_memory, memory_bytes
from proa.node.volumes.errors import VolumeError
from proa.node.volumes.host_path import prepare_host_path
from proa.node.volumes.images import make_image_mount
from proa.node.volumes.ownership import set_group
from proa.node.volumes.payloads import Payload, PayloadSource, RequestToken, build
from proa.node.volumes.subpath import resolve_subpath
from proa.objects.errors import ApiError
from proa.objects.meta import name as pod_name
from proa.objects.meta import uid
from proa.objects.pods import containers, ephemeral_containers, init_containers
from proa.objects.quick_dataclass import dataclass

PAYLOAD_KINDS = ("configMap", "secret", "downwardAPI", "projected")
_PROPAGATION = {"None": "private", "HostToContainer": "rslave", "Bidirectional": "rshared"}


@dataclass(slots=True)
class MountedVolumes:
    """A pod's volumes by name: where each is on the node, which are read-only; when to refresh (epoch seconds)."""

    paths: dict[str, Path] = field(default_factory=dict)
    read_only: set[str] = field(default_factory=set)
    refresh_at: float = inf
    images: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Volumes that are images: the folders of their layers, the lowest first."""
    devices: set[str] = field(default_factory=set)
    """Volumes that are block devices."""


MountMemory = Callable[[str, int, int | None], Awaitable[None]]
"""Mount a tmpfs at (path, size in bytes, group); raises RuntimeFailure."""


class VolumeMounter:
    """One node's volumes; the node has `memory_bytes` of memory."""

    def __init__(
        self,
        pods_directory: Path,
        lookup: Lookup,
        request_token: RequestToken,
        mount_memory: MountMemory,
        memory_bytes: int,
    ) -> None:
        self._pods = pods_directory
        self._lookup = lookup
        self._request_token = request_token
        self._mount_memory = mount_memory
        self._memory_bytes = memory_bytes

    async def mount(self, pod: Object, downward: DownwardSource) -> MountedVolumes:
        """Make all volumes ready; raise VolumeError with upstream's words about the first that is not."""
        mounted = MountedVolumes()
        make_private(self._pods / uid(pod))
        for volume in pod["spec"].get("volumes") or []:
            await self._mount_or_explain(volume, pod, downward, mounted)
        return mounted

    async def refresh(self, pod: Object, downward: DownwardSource, mounted: MountedVolumes) -> MountedVolumes:
        """Bring what shows ConfigMaps, Secrets, tokens and the pod itself up to date; raise VolumeError."""
        fresh = MountedVolumes(dict(mounted.paths), set(mounted.read_only), devices=mounted.devices)
        for volume in pod["spec"].get("volumes") or []:
            if any(kind in volume for kind in PAYLOAD_KINDS):
                await self._mount_or_explain(volume, pod, downward, fresh)
        return fresh

    async def _mount_or_explain(
        self, volume: Object, pod: Object, downward: DownwardSource, mounted: MountedVolumes
    ) -> None:
        try:
            await self._mount_one(volume, pod, downward, mounted)
        except (VolumeError, UnsafePath, OSError, ApiError, RuntimeFailure) as error:
            message = f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}'
            raise VolumeError(message) from error

    async def unmount(self, pod_uid: str) -> None:
        """Remove all that was the pod's alone."""
        await asyncio.to_thread(_remove, self._pods / pod_uid / "volumes")

    async def forget(self, pod_uid: str) -> None:
        """Remove the pod's whole folder."""
        await asyncio.to_thread(_remove, self._pods / pod_uid)

    def known_pods(self) -> list[str]:
        """Return the uids of pods that have a folder here."""
        return [entry.name for entry in self._pods.iterdir()] if self._pods.is_dir() else []

    async def _mount_one(
        self, volume: Object, pod: Object, downward: DownwardSource, mounted: MountedVolumes
    ) -> None:
        name = volume["name"]
        kind = next((key for key in volume if key != "name"), "emptyDir")
        if kind == "image":
            return  # it is had with the containers that mount it
        if kind in PAYLOAD_KINDS:
            source = PayloadSource(self._lookup, self._request_token, downward)
            built = await build(kind, volume[kind], pod, source)
            path = await asyncio.to_thread(self._write, pod, kind, name, built.files)
            mounted.read_only.add(name)
            mounted.refresh_at = min(mounted.refresh_at, built.refresh_at)
        elif kind == "emptyDir":
            path = self._make_directory(pod, kind, name)
            if is_of_memory(volume):
                size_bytes = memory_bytes(volume, pod, self._memory_bytes)
                await self._mount_memory(str(path), size_bytes, _group_of(pod))
            else:
                _own(path, pod)
        elif kind == "hostPath":
            path = Path(prepare_host_path(volume[kind]["path"], volume[kind].get("type") or ""))
        elif kind == "persistentVolumeClaim":
            claimed = await find_claimed_path(volume[kind]["claimName"], pod, self._lookup)
            path = _take_claimed(name, claimed, pod, mounted)
            if volume[kind].get("readOnly"):
                mounted.read_only.add(name)
        elif kind == "ephemeral":
            of_claim = f"{pod_name(pod)}-{name}"
            claimed = await find_claimed_path(of_claim, pod, self._lookup, of_pod=True)
            path = _take_claimed(name, claimed, pod, mounted)
        else:
            raise VolumeError(f"no volume plugin matched: this node has none for {kind}")
        mounted.paths[name] = path

    def _write(self, pod: Object, kind: str, name: str, files: Payload) -> Path:
        path = self._make_directory(pod, kind, name)
        write_payload(path, files, _group_of(pod))
        return path

    def _make_directory(self, pod: Object, kind: str, name: str) -> Path:
        plugin = {"emptyDir": "empty-dir", "downwardAPI": "downward-api"}.get(kind, kind.lower())
        parent = self._pods / uid(pod) / "volumes" / f"kubernetes.io~{plugin}"
        make_private(parent)
        path = parent / name
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            path.chmod(0o777)
        return path


def _remove(folder: Path) -> None:
    """Remove what a pod has left, however deep; what will not go stays, as the pod must not."""
    with contextlib.suppress(OSError):
        remove_tree(str(folder))


def _group_of(pod: Object) -> int | None:
    group: int | None = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    return group


def _own(path: Path, pod: Object) -> None:
    group = _group_of(pod)
    if group is not None:
        policy = (pod["spec"].get("securityContext") or {}).get("fsGroupChangePolicy")
        set_group(path, group, only_if_root_differs=policy == "OnRootMismatch")


def _take_claimed(name: str, claimed: tuple[str, bool], pod: Object, mounted: MountedVolumes) -> Path:
    """Note a claim's volume; raise VolumeError where a container wants a device as a folder, or the reverse."""
    path, is_device = Path(claimed[0]), claimed[1]
    wrong, mode = ("volumeMounts", "Block") if is_device else ("volumeDevices", "Filesystem")
    every = (*init_containers(pod), *containers(pod), *ephemeral_containers(pod))
    if any(wanted["name"] == name for container in every for wanted in container.get(wrong) or ()):
        raise VolumeError(f"volume {name} has volumeMode {mode}, but is specified in {wrong}")
    if is_device:
        mounted.devices.add(name)
    else:
        _own(path, pod)
    return path


def make_volume_devices(container: Object, mounted: MountedVolumes) -> list[Mount]:
    """Return what brings a container its block devices (volumeDevices); raise VolumeError for an unknown one."""
    found = []
    for wanted in container.get("volumeDevices") or []:
        name = wanted["name"]
        if name not in mounted.devices:
            raise VolumeError(f'cannot find volume "{name}" to pass into container "{container["name"]}"')
        read_only = name in mounted.read_only
        found.append(Mount(str(mounted.paths[name]), wanted["devicePath"], read_only, is_device=True))
    return found


def make_mounts(container: Object, mounted: MountedVolumes, variables: dict[str, str]) -> list[Mount]:
    """Return the container's bind mounts; raise VolumeError for an unknown volume or an unsafe subPath."""
    mounts: list[Mount] = []
    for wanted in container.get("volumeMounts") or []:
        if wanted["name"] in mounted.images:
            mounts.append(make_image_mount(wanted, mounted.images[wanted["name"]], variables))
            continue
        volume = path = mounted.paths.get(wanted["name"])
        if volume is None or path is None:
            raise VolumeError(
                f'cannot find volume "{wanted["name"]}" to mount into container "{container["name"]}"'
            )
        subpath = wanted.get("subPath") or expand(wanted.get("subPathExpr") or "", variables)
        if subpath:
            volume = volume.resolve()
            path = resolve_subpath(volume, subpath)
        mounts.append(
            Mount(
                host_path=str(path),
                container_path=wanted["mountPath"],
                read_only=bool(wanted.get("readOnly")) or wanted["name"] in mounted.read_only,
                within=str(volume) if subpath else "",
                propagation=_PROPAGATION[wanted.get("mountPropagation") or "None"],  # type: ignore[arg-type]
            )
        )
    return sorted(mounts, key=lambda mount: mount.container_path.count("/"))
