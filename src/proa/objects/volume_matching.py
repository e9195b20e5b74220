"""Decide which PersistentVolume fits a claim: class, size, access modes, volume mode, selector, node.

Of those that fit, the smallest wins; one whose claimRef already names the claim goes before all others.
Follows upstream's component-helpers/storage/volume/pv_helpers.go (FindMatchingVolume).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from proa.objects import meta
from proa.objects.node_selectors import selects
from proa.objects.quantity import parse_quantity
from proa.objects.selectors import selector_from_dict

Object = dict[str, Any]

CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"


def class_of(obj: Object) -> str:
    """Return the storage class of a claim or volume, "" for none."""
    beta = meta.annotations(obj).get(CLASS_ANNOTATION)
    return beta if beta is not None else obj["spec"].get("storageClassName") or ""


def is_ref_to(claim_ref: Object | None, claim: Object) -> bool:
    """Return whether a volume's claimRef means this claim; one without uid means it by name."""
    if claim_ref is None:
        return False
    if (claim_ref.get("namespace"), claim_ref.get("name")) != (meta.namespace(claim), meta.name(claim)):
        return False
    return claim_ref.get("uid", "") in ("", meta.uid(claim))


def find_volume(
    claim: Object, volumes: Iterable[Object], node: Object | None, *, only_prebound: bool = False
) -> Object | None:
    """Return the volume to bind; `node` is where the claim's first pod will run, where that is known."""
    fitting = [volume for volume in volumes if fits(claim, volume) and _reaches(volume, node)]
    for volume in fitting:
        if is_ref_to(volume["spec"].get("claimRef"), claim):
            return volume
    if only_prebound:
        return None
    return next(iter(free_volumes(claim, fitting)), None)


def free_volumes(claim: Object, volumes: Iterable[Object]) -> list[Object]:
    """Return the volumes that could be bound to the claim, the smallest first; one kept for it before all others."""
    fitting = [volume for volume in volumes if fits(claim, volume)]
    kept = [volume for volume in fitting if is_ref_to(volume["spec"].get("claimRef"), claim)]
    free = [volume for volume in fitting if _is_free(claim, volume)]
    return [*kept, *sorted(free, key=lambda volume: (_capacity(volume), meta.name(volume)))]


def fits(claim: Object, volume: Object) -> bool:
    """Return whether the volume has what the claim asks for, whether or not it is free."""
    wanted, offered = claim["spec"], volume["spec"]
    request = ((wanted.get("resources") or {}).get("requests") or {}).get("storage", "0")
    return (
        class_of(volume) == class_of(claim)
        and _capacity(volume) >= parse_quantity(request)
        and set(wanted.get("accessModes") or ()) <= set(offered.get("accessModes") or ())
        and wanted.get("volumeMode", "Filesystem") == offered.get("volumeMode", "Filesystem")
    )


def _is_free(claim: Object, volume: Object) -> bool:
    if meta.is_deleting(volume) or volume["spec"].get("claimRef") is not None:
        return False
    if (volume.get("status") or {}).get("phase") not in ("Available", None):
        return False
    selector = claim["spec"].get("selector")
    return selector is None or selector_from_dict(selector).matches(meta.labels(volume))


def _capacity(volume: Object) -> Any:
    return parse_quantity((volume["spec"].get("capacity") or {}).get("storage", "0"))


def _reaches(volume: Object, node: Object | None) -> bool:
    """Return whether the volume's node affinity (terms are alternatives) lets the node use it."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    if required is None or node is None:
        return True
    return selects(required, node)
