"""Find the directory or block device behind a PersistentVolumeClaim: its PersistentVolume's hostPath or local path.

Follows pkg/kubelet/volumemanager/populator/desired_state_of_world_populator.go (getPVCExtractPV), pkg/volume/local.
"""

from __future__ import annotations

from pathlib import Path

from proa.client.protocol import Object
from proa.node.environment import Lookup
from proa.node.volumes.errors import VolumeError
from proa.node.volumes.host_path import prepare_host_path
from proa.objects.errors import NotFound
from proa.objects.meta import is_controlled_by, is_deleting, name, namespace, uid
from proa.objects.resource import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES


async def find_claimed_path(
    claim_name: str, pod: Object, lookup: Lookup, *, of_pod: bool = False
) -> tuple[str, bool]:
    """Return the path on this node of the claim's volume, and whether it is a device; raise VolumeError without any.

    With `of_pod` the claim is to be the pod's own, that of an ephemeral volume.
    """
    try:
        claim = await lookup(PERSISTENT_VOLUME_CLAIMS, namespace(pod), claim_name)
    except NotFound:
        raise VolumeError(f'persistentvolumeclaim "{claim_name}" not found') from None
    if of_pod and not is_controlled_by(claim, pod):
        of = f"PVC {namespace(pod)}/{claim_name} was not created for pod {namespace(pod)}/{name(pod)}"
        raise VolumeError(f"{of} (pod is not owner)")
    place = f"error processing PVC {namespace(pod)}/{claim_name}"
    volume_name = claim["spec"].get("volumeName", "")
    if not volume_name or (claim.get("status") or {}).get("phase") != "Bound":
        raise VolumeError(f"{place}: PVC is not bound")
    if is_deleting(claim):
        raise VolumeError(f"{place}: PVC is being deleted")
    try:
        volume = await lookup(PERSISTENT_VOLUMES, "", volume_name)
    except NotFound:
        raise VolumeError(f'{place}: failed to fetch PV {volume_name}: "{volume_name}" not found') from None
    if (volume["spec"].get("claimRef") or {}).get("uid") != uid(claim):
        raise VolumeError(f"{place}: PV {volume_name} is bound to another claim than {name(claim)}")
    path = path_of_volume(volume)
    if volume["spec"].get("volumeMode") != "Block":
        return path, False
    return _block_device(path, volume, place), True


def _block_device(path: str, volume: Object, place: str) -> str:
    if "local" not in volume["spec"] or not Path(path).is_block_device():
        raise VolumeError(f"{place}: {path} of PV {name(volume)} is not a local block device")
    return str(Path(path).resolve())


def path_of_volume(volume: Object) -> str:
    """Return the directory of a PersistentVolume on this node."""
    spec = volume["spec"]
    if "hostPath" in spec:
        return prepare_host_path(spec["hostPath"]["path"], spec["hostPath"].get("type") or "")
    if "local" in spec:
        path = str(spec["local"]["path"])
        if not Path(path).exists():
            raise VolumeError(f'path "{path}" does not exist')
        return path
    raise VolumeError(
        f"no volume plugin matched: PersistentVolume {name(volume)} is neither hostPath nor local"
    )
