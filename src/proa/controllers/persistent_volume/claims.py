"""Bind each PersistentVolumeClaim to a volume that fits, or ask its class's provisioner for one.

Under WaitForFirstConsumer nothing happens until the scheduler has named a node in the annotation
volume.kubernetes.io/selected-node. Watches claims, volumes, classes and nodes; writes claims and volumes.
Follows upstream's pkg/controller/volume/persistentvolume/pv_controller.go (syncClaim).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.resource import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
from proa.objects.volume_matching import (
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    CLASS_ANNOTATION,
    SELECTED_NODE,
    class_of,
    find_volume,
    fits,
    is_ref_to,
)
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch, no_keys

NAME = "persistentvolume-controller"
ACCOUNT = "persistent-volume-binder"
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
PROVISIONER_BETA = "volume.beta.kubernetes.io/storage-provisioner"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
NO_PROVISIONER = "kubernetes.io/no-provisioner"


def _keys_of_volume(volume: Object, caches: Caches) -> Iterable[Key]:
    """Name the claim that the volume is for, or all that wait for one of its class."""
    claim_ref = volume["spec"].get("claimRef")
    if claim_ref is not None:
        return [Key(claim_ref.get("namespace", ""), claim_ref.get("name", ""))]
    return _unbound(caches, class_of(volume))


def _keys_of_class(storage_class: Object, caches: Caches) -> Iterable[Key]:
    return [*_unbound(caches, meta.name(storage_class)), *_unbound(caches, "")]


def _unbound(caches: Caches, class_name: str) -> list[Key]:
    return [
        Key(meta.namespace(claim), meta.name(claim))
        for claim in caches(PERSISTENT_VOLUME_CLAIMS).list()
        if class_of(claim) == class_name and not claim["spec"].get("volumeName")
    ]


WATCHES = (
    Watch(PERSISTENT_VOLUME_CLAIMS),
    Watch(PERSISTENT_VOLUMES, find_keys=_keys_of_volume),
    Watch(STORAGE_CLASSES, find_keys=_keys_of_class),
    Watch(NODES, keys_of=no_keys),
)


class Plan(NamedTuple):
    """`volume` is to be bound; `phase` is what the claim is while there is none. `event` is (type, reason, text).

    `set_class` and `ask_provisioner` write the claim's class and its provisioner's name into it.
    """

    volume: Object | None = None
    phase: str = "Pending"
    event: tuple[str, str, str] | None = None
    set_class: str = ""
    ask_provisioner: str = ""


def plan(claim: Object, volumes: Sequence[Object], classes: Sequence[Object], node: Object | None) -> Plan:
    """Decide from all volumes and classes; `node` is the one that selected-node names."""
    if BIND_COMPLETED in meta.annotations(claim):
        return _plan_bound(claim, volumes)
    if claim["spec"].get("volumeName"):
        return _plan_named(claim, volumes)
    default = _default_class(classes)
    if _has_no_class(claim) and default is not None:
        return Plan(set_class=meta.name(default))
    class_name = class_of(claim)
    storage_class = next((c for c in classes if meta.name(c) == class_name), None)
    waits = _waits_for_consumer(claim, storage_class)
    volume = find_volume(claim, volumes, node, only_prebound=waits)
    if volume is not None:
        return Plan(volume=volume)
    if waits:
        message = "waiting for first consumer to be created before binding"
        return Plan(event=("Normal", "WaitForFirstConsumer", message))
    return _plan_provisioning(class_name, storage_class)


def _plan_bound(claim: Object, volumes: Iterable[Object]) -> Plan:
    name = claim["spec"].get("volumeName")
    if not name:
        lost = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
        return Plan(phase="Lost", event=("Warning", "ClaimLost", lost))
    volume = _named(volumes, name)
    if volume is None:
        lost = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        return Plan(phase="Lost", event=("Warning", "ClaimLost", lost))
    claim_ref = volume["spec"].get("claimRef")
    if claim_ref is None or is_ref_to(claim_ref, claim):
        return Plan(volume=volume)
    misbound = "Two claims are bound to the same volume, this one is bound incorrectly"
    return Plan(phase="Lost", event=("Warning", "ClaimMisbound", misbound))


def _plan_named(claim: Object, volumes: Iterable[Object]) -> Plan:
    """Bind the very volume that the claim's author asks for, if it exists, fits and is free."""
    name = claim["spec"]["volumeName"]
    volume = _named(volumes, name)
    if volume is None:
        return Plan()
    claim_ref = volume["spec"].get("claimRef")
    if is_ref_to(claim_ref, claim):
        return Plan(volume=volume)
    if claim_ref is not None:
        message = f'volume "{name}" already bound to a different claim.'
        return Plan(event=("Warning", "FailedBinding", message))
    if not fits(claim, volume):
        message = f'Cannot bind to requested volume "{name}": the volume does not satisfy the claim'
        return Plan(event=("Warning", "VolumeMismatch", message))
    return Plan(volume=volume)


def _plan_provisioning(class_name: str, storage_class: Object | None) -> Plan:
    if class_name and storage_class is None:
        message = f'storageclass.storage.k8s.io "{class_name}" not found'
        return Plan(event=("Warning", "ProvisioningFailed", message))
    if storage_class is None or storage_class.get("provisioner") == NO_PROVISIONER:
        message = "no persistent volumes available for this claim and no storage class is set"
        return Plan(event=("Normal", "FailedBinding", message))
    provisioner = storage_class["provisioner"]
    message = (
        f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by "
        "the system administrator. If volume creation is delayed, please verify that the provisioner is running "
        "and correctly registered."
    )
    return Plan(ask_provisioner=provisioner, event=("Normal", "ExternalProvisioning", message))


def _named(volumes: Iterable[Object], name: str) -> Object | None:
    return next((volume for volume in volumes if meta.name(volume) == name), None)


def _has_no_class(claim: Object) -> bool:
    """Return whether the claim names no class at all, not even "" (which asks for none)."""
    return claim["spec"].get("storageClassName") is None and CLASS_ANNOTATION not in meta.annotations(claim)


def _default_class(classes: Iterable[Object]) -> Object | None:
    """Return the newest of the default classes."""
    defaults = [c for c in classes if meta.annotations(c).get(DEFAULT_CLASS) == "true"]
    return max(defaults, key=lambda c: (c["metadata"]["creationTimestamp"], meta.name(c)), default=None)


def _waits_for_consumer(claim: Object, storage_class: Object | None) -> bool:
    if storage_class is None or storage_class.get("volumeBindingMode") != "WaitForFirstConsumer":
        return False
    return SELECTED_NODE not in meta.annotations(claim)


async def reconcile(context: Context, key: Key) -> Result:
    """Decide for one claim; bind, ask or wait, and write its phase."""
    claim = context.caches(PERSISTENT_VOLUME_CLAIMS).get(key.name, key.namespace)
    if claim is None or meta.is_deleting(claim):
        return DONE
    selected = meta.annotations(claim).get(SELECTED_NODE, "")
    node = context.caches(NODES).get(selected) if selected else None
    volumes = context.caches(PERSISTENT_VOLUMES).list()
    decided = plan(claim, volumes, context.caches(STORAGE_CLASSES).list(), node)
    if decided.set_class:
        await _patch(context, claim, {"spec": {"storageClassName": decided.set_class}})
        return DONE
    if decided.volume is not None:
        await _bind(context, claim, decided.volume)
        return DONE
    asked = meta.annotations(claim).get(PROVISIONER) == decided.ask_provisioner
    if decided.ask_provisioner and not asked:
        notes = {PROVISIONER: decided.ask_provisioner, PROVISIONER_BETA: decided.ask_provisioner}
        claim = await _patch(context, claim, {"metadata": {"annotations": notes}})
    if decided.event is not None:
        context.events.event(claim, *decided.event)
    await _write_status(context, claim, {**(claim.get("status") or {}), "phase": decided.phase})
    return DONE


async def _bind(context: Context, claim: Object, volume: Object) -> None:
    """Write both sides, the volume first: its claimRef is what makes the binding exclusive."""
    claim_ref = volume["spec"].get("claimRef") or {}
    if claim_ref.get("uid") != meta.uid(claim):
        metadata: dict[str, Any] = {"resourceVersion": meta.resource_version(volume)}
        if not claim_ref:
            metadata["annotations"] = {BOUND_BY_CONTROLLER: "yes"}
        patch = {"metadata": metadata, "spec": {"claimRef": reference_to(claim)}}
        volume = await context.client.patch(PERSISTENT_VOLUMES, meta.name(volume), patch)
    if (volume.get("status") or {}).get("phase") != "Bound":
        status = {**(volume.get("status") or {}), "phase": "Bound"}
        await context.client.update(PERSISTENT_VOLUMES, {**volume, "status": status}, subresource="status")
    if claim["spec"].get("volumeName") != meta.name(volume) or BIND_COMPLETED not in meta.annotations(claim):
        notes = {BIND_COMPLETED: "yes"}
        if not claim["spec"].get("volumeName"):
            notes[BOUND_BY_CONTROLLER] = "yes"
        changes = {"metadata": {"annotations": notes}, "spec": {"volumeName": meta.name(volume)}}
        claim = await _patch(context, claim, changes)
    bound = {
        "phase": "Bound",
        "accessModes": volume["spec"].get("accessModes") or [],
        "capacity": volume["spec"].get("capacity") or {},
    }
    await _write_status(context, claim, {**(claim.get("status") or {}), **bound})


def reference_to(claim: Object) -> Object:
    """Return the claimRef of a volume that is bound to this claim."""
    return {
        "kind": "PersistentVolumeClaim",
        "apiVersion": "v1",
        "namespace": meta.namespace(claim),
        "name": meta.name(claim),
        "uid": meta.uid(claim),
        "resourceVersion": meta.resource_version(claim),
    }


async def _patch(context: Context, claim: Object, changes: dict[str, Any]) -> Object:
    """Change exactly the version that was looked at."""
    metadata = {"resourceVersion": meta.resource_version(claim), **changes.get("metadata", {})}
    return await context.client.patch(
        PERSISTENT_VOLUME_CLAIMS, meta.name(claim), {**changes, "metadata": metadata}, meta.namespace(claim)
    )


async def _write_status(context: Context, claim: Object, status: Object) -> None:
    if status != claim.get("status"):
        changed = {**claim, "status": status}
        await context.client.update(PERSISTENT_VOLUME_CLAIMS, changed, subresource="status")
