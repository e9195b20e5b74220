"""Mount images as volumes: their files, or a part of them, read-only (KEP-4639).

Pure. The image is pulled as a container's is, before the first container that mounts it starts.
"""

from __future__ import annotations

from collections.abc import Mapping

from proa.client.protocol import Object
from proa.node.environment import expand
from proa.node.runtimes.protocol import Mount
from proa.node.volumes.errors import VolumeError


def image_volumes(pod: Object, container: Object) -> dict[str, Object]:
    """Return the sources of those of the pod's image volumes that a container mounts, by name."""
    mounted = {mount["name"] for mount in container.get("volumeMounts") or []}
    return {
        volume["name"]: volume["image"]
        for volume in pod["spec"].get("volumes") or []
        if "image" in volume and volume["name"] in mounted
    }


def make_image_mount(wanted: Object, layers: tuple[str, ...], variables: Mapping[str, str]) -> Mount:
    """Return the mount of an image at a volumeMount's path; raise VolumeError."""
    subpath = wanted.get("subPath") or expand(wanted.get("subPathExpr") or "", dict(variables))
    if ".." in subpath.split("/") or subpath.startswith("/"):
        raise VolumeError(f"subPath {subpath!r} must be a relative path without ..")
    if not layers:
        raise VolumeError(
            f'volume "{wanted["name"]}": this machine\'s own files cannot be mounted as an image'
        )
    return Mount(host_path=subpath, container_path=wanted["mountPath"], read_only=True, layers=layers)
