"""Keep claims that pods use, and volumes that are bound, from going while they are in use.

A finalizer holds each; it is taken off when the object is being deleted and nobody uses it any more. Two
controllers, one for each kind. Follows upstream's pkg/controller/volume/pvcprotection and pvprotection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.pods import is_terminated, node_name
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, Resource
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch

CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER = "kubernetes.io/pv-protection"


def claims_of(pod: Object) -> list[str]:
    """Return the names of the claims that the pod's volumes use, ephemeral ones too."""
    found = []
    for volume in pod["spec"].get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            found.append(volume["persistentVolumeClaim"]["claimName"])
        elif "ephemeral" in volume:
            found.append(f"{meta.name(pod)}-{volume['name']}")
    return found


def plan(obj: Object, finalizer: str, in_use: bool) -> list[str] | None:
    """Return the finalizers that the object should have, None when they are right."""
    kept = meta.finalizers(obj)
    if not meta.is_deleting(obj):
        return [*kept, finalizer] if finalizer not in kept else None
    if finalizer in kept and not in_use:
        return [entry for entry in kept if entry != finalizer]
    return None


def _is_claim_used(context: Context, claim: Object) -> bool:
    """Return whether a pod that has a node and has not ended uses the claim."""
    return any(
        node_name(pod) and not is_terminated(pod) and meta.name(claim) in claims_of(pod)
        for pod in context.caches(PODS).list(meta.namespace(claim))
    )


def _is_volume_used(_: Context, volume: Object) -> bool:
    return (volume.get("status") or {}).get("phase") == "Bound"


def _keys_of_pod(pod: Object) -> Iterable[Key]:
    return (Key(meta.namespace(pod), claim) for claim in claims_of(pod))


@dataclass(frozen=True, slots=True)
class Protection:
    """A controller that guards one kind with one finalizer; `is_used(context, object)` says whether to wait."""

    NAME: str
    WATCHES: tuple[Watch, ...]
    resource: Resource
    finalizer: str
    is_used: Callable[[Context, Object], bool]

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Put the finalizer on, or take it off an object that is going and not in use."""
        obj = context.caches(self.resource).get(key.name, key.namespace)
        if obj is None:
            return DONE
        wanted = plan(obj, self.finalizer, in_use=meta.is_deleting(obj) and self.is_used(context, obj))
        if wanted is None:
            return DONE
        metadata = {"resourceVersion": meta.resource_version(obj), "finalizers": wanted or None}
        try:
            await context.client.patch(self.resource, key.name, {"metadata": metadata}, key.namespace or None)
        except NotFound:
            return DONE
        return DONE


CLAIM_PROTECTION = Protection(
    NAME="pvc-protection",
    WATCHES=(Watch(PERSISTENT_VOLUME_CLAIMS), Watch(PODS, keys_of=_keys_of_pod)),
    resource=PERSISTENT_VOLUME_CLAIMS,
    finalizer=CLAIM_FINALIZER,
    is_used=_is_claim_used,
)
VOLUME_PROTECTION = Protection(
    NAME="pv-protection",
    WATCHES=(Watch(PERSISTENT_VOLUMES),),
    resource=PERSISTENT_VOLUMES,
    finalizer=VOLUME_FINALIZER,
    is_used=_is_volume_used,
)
