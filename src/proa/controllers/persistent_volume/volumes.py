"""Keep each PersistentVolume's phase true: Available, Bound, or Released once its claim is gone.

Watches volumes and claims; writes volumes. What becomes of a released volume's data is its provisioner's
matter. Follows upstream's pkg/controller/volume/persistentvolume/pv_controller.go (syncVolume).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.resource import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from proa.objects.volume_matching import BOUND_BY_CONTROLLER
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch

NAME = "persistentvolume-phase"
ACCOUNT = "persistent-volume-binder"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"


def _keys_of_claim(claim: Object, caches: Caches) -> Iterable[Key]:
    """Name the volumes that are meant for this claim."""
    place = (meta.namespace(claim), meta.name(claim))
    for volume in caches(PERSISTENT_VOLUMES).list():
        claim_ref = volume["spec"].get("claimRef") or {}
        if (claim_ref.get("namespace"), claim_ref.get("name")) == place:
            yield Key("", meta.name(volume))


WATCHES = (Watch(PERSISTENT_VOLUMES), Watch(PERSISTENT_VOLUME_CLAIMS, find_keys=_keys_of_claim))


class Plan(NamedTuple):
    """The phase to write ("" leaves it), and whether the volume gives up a claim that took another volume."""

    phase: str = ""
    unbind: bool = False


def plan(volume: Object, claim: Object | None) -> Plan:
    """Decide from the volume and the claim that its claimRef names, as the server has it."""
    claim_ref = volume["spec"].get("claimRef")
    phase = (volume.get("status") or {}).get("phase", "Pending")
    if claim_ref is None or not claim_ref.get("uid"):
        return Plan(phase="Available")
    if claim is None or meta.uid(claim) != claim_ref["uid"]:
        return Plan() if phase in ("Released", "Failed") else Plan(phase="Released")
    bound_to = claim["spec"].get("volumeName")
    if not bound_to:
        return Plan()  # the claim's own reconcile is about to bind it
    if bound_to == meta.name(volume):
        return Plan(phase="Bound")
    if PROVISIONED_BY in meta.annotations(volume):  # made for this claim, which took another one meanwhile
        return Plan() if phase in ("Released", "Failed") else Plan(phase="Released")
    return Plan(phase="Available", unbind=True)


async def reconcile(context: Context, key: Key) -> Result:
    """Decide for one volume; write its phase."""
    volume = context.caches(PERSISTENT_VOLUMES).get(key.name)
    if volume is None:
        return DONE
    decided = plan(volume, await _find_claim(context, volume))
    if decided.unbind:
        volume = await _unbind(context, volume)
    status = volume.get("status") or {}
    if decided.phase and decided.phase != status.get("phase"):
        changed = {**volume, "status": {**status, "phase": decided.phase}}
        await context.client.update(PERSISTENT_VOLUMES, changed, subresource="status")
    return DONE


async def _find_claim(context: Context, volume: Object) -> Object | None:
    """Return the claim; where the cache has none, the server is asked, since data may depend on the answer."""
    claim_ref = volume["spec"].get("claimRef") or {}
    name, namespace, uid = (claim_ref.get(field, "") for field in ("name", "namespace", "uid"))
    if not uid:
        return None
    cached = context.caches(PERSISTENT_VOLUME_CLAIMS).get(name, namespace)
    if cached is not None and meta.uid(cached) == uid:
        return cached
    if (volume.get("status") or {}).get("phase") in ("Released", "Failed"):
        return None
    try:
        return await context.client.get(PERSISTENT_VOLUME_CLAIMS, name, namespace)
    except NotFound:
        return None


async def _unbind(context: Context, volume: Object) -> Object:
    """Give the volume back: wholly where we bound it, else to the claim's name that its author wrote."""
    metadata: dict[str, object] = {"resourceVersion": meta.resource_version(volume)}
    if BOUND_BY_CONTROLLER in meta.annotations(volume):
        metadata["annotations"] = {BOUND_BY_CONTROLLER: None}
        claim_ref: object = None
    else:
        claim_ref = {"uid": None, "resourceVersion": None}
    patch = {"metadata": metadata, "spec": {"claimRef": claim_ref}}
    return await context.client.patch(PERSISTENT_VOLUMES, meta.name(volume), patch)
