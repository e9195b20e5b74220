"""Make a directory on this machine for each claim of the class `local-path`, and remove it when its time comes.

The volume is a hostPath below settings.volumes_directory with affinity to the node where the claim's first
pod runs; a claim may ask for more later (expansion.py). Watches claims, volumes, classes and nodes; writes volumes
and what claims have. Follows the protocol of external provisioners (sig-storage-lib-external-provisioner,
controller/controller.go) and rancher/local-path-provisioner's layout.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.controllers.local_path.directories import make_directory, remove_directory
from proa.controllers.local_path.expansion import plan_expansion
from proa.objects import meta
from proa.objects.errors import AlreadyExists, NotFound
from proa.objects.resource import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch

NAME = "local-path-provisioner"
ACCOUNT = "local-path-provisioner"
PROVISIONER = "proa.local/path"
CLASS = "local-path"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
"""Keeps a volume that somebody deletes until its directory has gone (KEP-2644)."""
ASKED_OF = "volume.kubernetes.io/storage-provisioner"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
HOSTNAME_LABEL = "kubernetes.io/hostname"


def _keys_of_volume(volume: Object) -> Iterable[Key]:
    return (Key("", meta.name(volume)),)


def _keys_of_class(storage_class: Object, caches: Caches) -> Iterable[Key]:
    return (
        Key(meta.namespace(claim), meta.name(claim))
        for claim in caches(PERSISTENT_VOLUME_CLAIMS).list()
        if claim["spec"].get("storageClassName") == meta.name(storage_class)
    )


def _keys_of_node(_: Object, caches: Caches) -> Iterable[Key]:
    """Name the claims that wait for any node at all."""
    for claim in caches(PERSISTENT_VOLUME_CLAIMS).list():
        if not claim["spec"].get("volumeName") and meta.annotations(claim).get(ASKED_OF) == PROVISIONER:
            yield Key(meta.namespace(claim), meta.name(claim))


WATCHES = (
    Watch(PERSISTENT_VOLUME_CLAIMS),
    Watch(PERSISTENT_VOLUMES, keys_of=_keys_of_volume),
    Watch(STORAGE_CLASSES, find_keys=_keys_of_class),
    Watch(NODES, find_keys=_keys_of_node),
)


def make_storage_class() -> Object:
    """Return the class `local-path`, the default one, as the cluster creates it when it starts."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
    }


class Plan(NamedTuple):
    """At most one is set: a volume to make, or why none can be made."""

    create: Object | None = None
    failure: str = ""


def plan(
    claim: Object,
    storage_class: Object | None,
    node: Object | None,
    directory: Path,
    elsewhere: Collection[str] = (),
) -> Plan:
    """Decide whether to make a volume for the claim on `node`, below `directory`.

    `elsewhere` are the ranges of pods' addresses that nodes of other machines have.
    """
    if not _is_ours_to_make(claim) or storage_class is None or node is None:
        return Plan()
    if (node.get("spec") or {}).get("podCIDR") in elsewhere:
        return Plan(
            failure=f"node {meta.name(node)} is another machine's, and directories are made on this one"
        )
    if claim["spec"].get("volumeMode", "Filesystem") != "Filesystem":
        return Plan(failure=f"{PROVISIONER} makes directories: volumeMode Block is not supported")
    if claim["spec"].get("selector") is not None:
        return Plan(failure="claim.Spec.Selector is not supported")
    return Plan(create=make_volume(claim, storage_class, node, directory))


def _is_ours_to_make(claim: Object) -> bool:
    asked = meta.annotations(claim).get(ASKED_OF) == PROVISIONER
    return asked and not claim["spec"].get("volumeName") and not meta.is_deleting(claim)


def make_volume(claim: Object, storage_class: Object, node: Object, directory: Path) -> Object:
    """Return the volume for this claim: a directory of its own, on that node."""
    name = f"pvc-{meta.uid(claim)}"
    path = directory / f"{meta.namespace(claim)}_{meta.name(claim)}_{name}"
    hostname = meta.labels(node).get(HOSTNAME_LABEL, meta.name(node))
    is_here = {"key": HOSTNAME_LABEL, "operator": "In", "values": [hostname]}
    spec: dict[str, Any] = {
        "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
        "accessModes": claim["spec"].get("accessModes") or ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy", "Delete"),
        "storageClassName": meta.name(storage_class),
        "volumeMode": "Filesystem",
        "hostPath": {"path": str(path), "type": "DirectoryOrCreate"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [is_here]}]}},
        "claimRef": {
            "kind": "PersistentVolumeClaim",
            "apiVersion": "v1",
            "namespace": meta.namespace(claim),
            "name": meta.name(claim),
            "uid": meta.uid(claim),
            "resourceVersion": meta.resource_version(claim),
        },
    }
    if storage_class.get("mountOptions"):
        spec["mountOptions"] = storage_class["mountOptions"]
    metadata = {
        "name": name,
        "annotations": {PROVISIONED_BY: PROVISIONER},
        "finalizers": [FINALIZER],
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec}


async def reconcile(context: Context, key: Key) -> Result:
    """Make a claim's volume, or make it larger; remove a released volume (whose key has no namespace)."""
    if key.namespace:
        await _provision(context, key)
        await _expand(context, key)
    else:
        await _remove(context, key.name)
    return DONE


async def _provision(context: Context, key: Key) -> None:
    claim = context.caches(PERSISTENT_VOLUME_CLAIMS).get(key.name, key.namespace)
    if claim is None or not _is_ours_to_make(claim):
        return
    storage_class = context.caches(STORAGE_CLASSES).get(claim["spec"].get("storageClassName") or "")
    directory: Path = context.settings.volumes_directory
    elsewhere = {cidr for cidrs in context.settings.pod_cidrs for cidr in cidrs}
    decided = plan(claim, storage_class, _find_node(context, claim, storage_class), directory, elsewhere)
    if decided.failure:
        message = f'failed to provision volume with StorageClass "{CLASS}": {decided.failure}'
        context.events.event(claim, "Warning", "ProvisioningFailed", message)
    if decided.create is None:
        return
    if context.caches(PERSISTENT_VOLUMES).get(meta.name(decided.create)) is not None:
        return
    make_directory(Path(decided.create["spec"]["hostPath"]["path"]), directory)
    try:
        created = await context.client.create(PERSISTENT_VOLUMES, decided.create)
    except AlreadyExists:
        return
    message = f"Successfully provisioned volume {meta.name(created)}"
    context.events.event(claim, "Normal", "ProvisioningSucceeded", message)


def _find_node(context: Context, claim: Object, storage_class: Object | None) -> Object | None:
    """Return the node that the scheduler chose; a class that binds at once takes the first there is."""
    nodes = context.caches(NODES)
    selected = meta.annotations(claim).get(SELECTED_NODE, "")
    if selected:
        return nodes.get(selected)
    if (storage_class or {}).get("volumeBindingMode") == "WaitForFirstConsumer":
        return None
    return min(nodes.list(), key=meta.name, default=None)


async def _expand(context: Context, key: Key) -> None:
    """Give a claim the size that it has come to ask for: first the volume says so, then the claim."""
    claim = context.caches(PERSISTENT_VOLUME_CLAIMS).get(key.name, key.namespace)
    volume = context.caches(PERSISTENT_VOLUMES).get(claim["spec"].get("volumeName", "")) if claim else None
    if claim is None or volume is None or meta.annotations(volume).get(PROVISIONED_BY) != PROVISIONER:
        return
    decided = plan_expansion(claim, volume)
    if decided.volume_size:
        message = f"External resizer is resizing volume {meta.name(volume)}"
        context.events.event(claim, "Normal", "Resizing", message)
        capacity = {"spec": {"capacity": {"storage": decided.volume_size}}}
        await context.client.patch(PERSISTENT_VOLUMES, meta.name(volume), capacity)
    if decided.claim_status is not None:
        await context.client.patch(
            PERSISTENT_VOLUME_CLAIMS,
            key.name,
            {"metadata": {"uid": meta.uid(claim)}, "status": decided.claim_status},
            key.namespace,
            subresource="status",
        )
        context.events.event(claim, "Normal", "VolumeResizeSuccessful", "Resize volume succeeded")


class Removal(NamedTuple):
    """What is due of a volume: its data, and then the finalizer that holds it, and the object itself."""

    directory: str = ""
    let_go: bool = False
    delete: bool = False


def plan_removal(volume: Object) -> Removal:
    """Decide about a volume: nothing is done to one that is not ours or not released."""
    is_ours = meta.annotations(volume).get(PROVISIONED_BY) == PROVISIONER and "hostPath" in volume["spec"]
    if not is_ours or (volume.get("status") or {}).get("phase") != "Released":
        return Removal()
    if volume["spec"].get("persistentVolumeReclaimPolicy") != "Delete":
        return Removal(let_go=meta.is_deleting(volume))
    is_deleting = meta.is_deleting(volume)
    if is_deleting and FINALIZER not in meta.finalizers(volume):  # done, and held by others
        return Removal()
    return Removal(volume["spec"]["hostPath"]["path"], let_go=True, delete=not is_deleting)


async def _remove(context: Context, name: str) -> None:
    volume = context.caches(PERSISTENT_VOLUMES).get(name)
    decided = plan_removal(volume) if volume is not None else Removal()
    if volume is None or decided == Removal():
        return
    if decided.directory:
        await _remove_data(context, volume, Path(decided.directory))
    try:
        if decided.delete:
            volume = await context.client.delete(PERSISTENT_VOLUMES, name, uid=meta.uid(volume))
        if FINALIZER in meta.finalizers(volume):
            kept = [entry for entry in meta.finalizers(volume) if entry != FINALIZER]
            metadata = {"resourceVersion": meta.resource_version(volume), "finalizers": kept or None}
            await context.client.patch(PERSISTENT_VOLUMES, name, {"metadata": metadata})
    except NotFound:
        return


async def _remove_data(context: Context, volume: Object, path: Path) -> None:
    try:
        await asyncio.to_thread(remove_directory, path, context.settings.volumes_directory)
    except OSError as error:
        context.events.event(volume, "Warning", "VolumeFailedDelete", str(error))
        raise
