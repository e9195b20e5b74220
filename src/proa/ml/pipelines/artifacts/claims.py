"""Keep the claim by which a namespace's pods reach the folder of its artifacts: `pipeline-artifacts`, and its volume.

The volume is a hostPath that only nodes of this machine have: its node affinity keeps pods off those of joined ones.
It is kept when the namespace goes, as a bucket would be, and bound anew when a namespace of that name returns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from proa.client.protocol import Client, Object
from proa.ml.pipelines.artifacts.protocol import ArtifactError
from proa.objects import meta
from proa.objects.errors import AlreadyExists, NotFound
from proa.objects.resource import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES

CLAIM = "pipeline-artifacts"
MACHINE_LABEL, OWN_MACHINE = "proa.local/machine", "own"
"""What this machine's nodes are known by (local_nodes/node.py)."""
_SIZE = "1Gi"
"""Of no consequence: a folder has no size. Quotas count it."""


def make_volume(namespace: str, folder: Path) -> Object:
    """Return the volume of a namespace's artifacts."""
    here = {"key": MACHINE_LABEL, "operator": "In", "values": [OWN_MACHINE]}
    spec: dict[str, Any] = {
        "capacity": {"storage": _SIZE},
        "accessModes": ["ReadWriteMany"],
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": "",
        "volumeMode": "Filesystem",
        "hostPath": {"path": str(folder), "type": "Directory"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        "claimRef": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": namespace,
            "name": CLAIM,
        },
    }
    metadata = {"name": volume_name(namespace)}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec}


def make_claim(namespace: str) -> Object:
    """Return the claim to it."""
    spec = {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "",
        "volumeName": volume_name(namespace),
        "resources": {"requests": {"storage": _SIZE}},
    }
    metadata = {"name": CLAIM, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def volume_name(namespace: str) -> str:
    """Return the name of the volume that holds a namespace's artifacts."""
    return f"{CLAIM}-{namespace}"


async def ensure(client: Client, namespace: str, folder: Path) -> None:
    """Make claim and volume where they are missing; raise ArtifactError where a claim of that name is another's."""
    try:
        claim = await client.get(PERSISTENT_VOLUME_CLAIMS, CLAIM, namespace)
    except NotFound:
        claim = await _make(client, namespace, folder)
    name = volume_name(namespace)
    if claim["spec"].get("volumeName") != name:
        found = claim["spec"].get("volumeName") or "none yet"
        raise ArtifactError(
            f"persistentvolumeclaim {namespace}/{CLAIM} is of volume {found}, not of {name}: delete it, or say in"
            " the ConfigMap kfp-launcher where this namespace's artifacts are"
        )
    if (claim.get("status") or {}).get("phase") != "Bound":
        await _ensure_volume(client, namespace, folder, meta.uid(claim))


async def _make(client: Client, namespace: str, folder: Path) -> Object:
    try:
        return await client.create(PERSISTENT_VOLUME_CLAIMS, make_claim(namespace), namespace)
    except AlreadyExists:
        return await client.get(PERSISTENT_VOLUME_CLAIMS, CLAIM, namespace)


async def _ensure_volume(client: Client, namespace: str, folder: Path, claim_uid: str) -> None:
    """Make the volume, or free it of the claim that an earlier namespace of that name had."""
    try:
        await client.create(PERSISTENT_VOLUMES, make_volume(namespace, folder))
        return
    except AlreadyExists:
        volume = await client.get(PERSISTENT_VOLUMES, volume_name(namespace))
    if volume["spec"].get("hostPath", {}).get("path") != str(folder):
        raise ArtifactError(
            f"persistentvolume {meta.name(volume)} is not of {folder}: delete it, and it is made anew"
        )
    if volume["spec"].get("claimRef", {}).get("uid") not in (None, "", claim_uid):
        freed = {"resourceVersion": meta.resource_version(volume)}, {"uid": None, "resourceVersion": None}
        await client.patch(
            PERSISTENT_VOLUMES, meta.name(volume), {"metadata": freed[0], "spec": {"claimRef": freed[1]}}
        )
