"""Make the claim of each ephemeral volume of a pod; the pod owns it, so that it goes when the pod does.

Watches pods and claims; writes claims. Follows upstream's pkg/controller/volume/ephemeral/controller.go and
component-helpers/storage/ephemeral.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import ApiError
from proa.objects.resource import PERSISTENT_VOLUME_CLAIMS, PODS
from proa.reconcile.ownership import owner_keys
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch

NAME = "ephemeral-volume"
COMPONENT = "ephemeral_volume"
ACCOUNT = "ephemeral-volume-controller"


def _keys_of_pod(pod: Object) -> Iterable[Key]:
    if not meta.is_deleting(pod) and ephemeral_volumes(pod):
        yield Key(meta.namespace(pod), meta.name(pod))


def _keys_of_claim(claim: Object, caches: Caches) -> Iterable[Key]:
    """A claim that is gone is made again."""
    if caches(PERSISTENT_VOLUME_CLAIMS).get(meta.name(claim), meta.namespace(claim)) is None:
        return owner_keys(claim, "Pod")
    return ()


def _is_old(_old: Object, _new: Object) -> bool:
    """The volumes of a pod never change."""
    return True


WATCHES: Sequence[Watch] = (
    Watch(PODS, keys_of=_keys_of_pod, ignores=_is_old),
    Watch(PERSISTENT_VOLUME_CLAIMS, find_keys=_keys_of_claim, ignores=_is_old),
)


def ephemeral_volumes(pod: Object) -> list[Object]:
    """Return the volumes that are to have a claim of their own."""
    return [volume for volume in pod["spec"].get("volumes") or () if "ephemeral" in volume]


def make_claim(pod: Object, volume: Object) -> Object:
    """Return the claim of an ephemeral volume, named after the pod and the volume."""
    template = volume["ephemeral"].get("volumeClaimTemplate") or {}
    given = template.get("metadata") or {}
    metadata = {
        "name": f"{meta.name(pod)}-{volume['name']}",
        "namespace": meta.namespace(pod),
        "ownerReferences": [meta.make_owner_reference(pod, PODS)],
        **{key: given[key] for key in ("labels", "annotations") if given.get(key)},
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": template.get("spec") or {},
    }


async def reconcile(context: Context, key: Key) -> Result:
    """Create the claims that a pod lacks; a claim of that name that is another's is an error."""
    pod = context.caches(PODS).get(key.name, key.namespace)
    if pod is None or meta.is_deleting(pod):
        return DONE
    for volume in ephemeral_volumes(pod):
        try:
            await _ensure(context, pod, make_claim(pod, volume))
        except ApiError as error:
            message = f"ephemeral volume {volume['name']}: {error.message}"
            context.events.event(pod, "Warning", "FailedBinding", message)
            raise
    return DONE


async def _ensure(context: Context, pod: Object, claim: Object) -> None:
    name, namespace = meta.name(claim), meta.namespace(claim)
    existing = context.caches(PERSISTENT_VOLUME_CLAIMS).get(name, namespace)
    if existing is None:
        try:
            await context.client.create(PERSISTENT_VOLUME_CLAIMS, claim, namespace)
        except ApiError as error:
            error.message = f"create PVC {name}: {error.message}"
            raise
    elif not meta.is_controlled_by(existing, pod):
        of = f"PVC {namespace}/{name} was not created for pod {meta.key_of(pod)}"
        raise ApiError(f"{of} (pod is not owner)")
