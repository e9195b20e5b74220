"""Say which ResourceClaims a pod uses, and who may use a claim.

Follows staging/src/k8s.io/dynamic-resource-allocation/resourceclaim/claim.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from proa.objects import meta
from proa.objects.pods import is_terminated, node_name

Object = dict[str, Any]

FINALIZER = "resource.kubernetes.io/delete-protection"
POD_CLAIM_ANNOTATION = "resource.kubernetes.io/pod-claim-name"
MAX_CONSUMERS = 256


class DeviceId(NamedTuple):
    """A device of a cluster."""

    driver: str
    pool: str
    device: str

    def __str__(self) -> str:
        return "/".join(self)


def pod_claims(pod: Object) -> list[Object]:
    """Return spec.resourceClaims."""
    claims: list[Object] = pod["spec"].get("resourceClaims") or []
    return claims


def made_claims(pod: Object) -> dict[str, str | None]:
    """Return what was made for the pod's claims by now: their names, None where none is needed."""
    statuses = (pod.get("status") or {}).get("resourceClaimStatuses") or ()
    return {status["name"]: status.get("resourceClaimName") for status in statuses}


def claim_names(pod: Object) -> Iterator[tuple[str, bool]]:
    """Yield the name of each claim that is known by now, and whether it was made for the pod alone."""
    made = made_claims(pod)
    for pod_claim in pod_claims(pod):
        given = pod_claim.get("resourceClaimName")
        name = given or made.get(pod_claim["name"])
        if name:
            yield name, not given


def is_waiting_for_claims(pod: Object) -> bool:
    """Tell whether a claim that comes from a template has not been made yet."""
    made = made_claims(pod)
    return any("resourceClaimTemplateName" in c and c["name"] not in made for c in pod_claims(pod))


def not_for_pod(pod: Object, claim: Object) -> str:
    """Return why a claim that was made for a pod is not this one's, "" where it is."""
    if meta.is_controlled_by(claim, pod):
        return ""
    return f"ResourceClaim {meta.key_of(claim)} was not created for pod {meta.key_of(pod)} (pod is not owner)"


def allocation_of(claim: Object) -> Object | None:
    """Return status.allocation."""
    allocation: Object | None = (claim.get("status") or {}).get("allocation")
    return allocation


def results_of(allocation: Object | None) -> list[Object]:
    """Return the devices of an allocation."""
    results: list[Object] = ((allocation or {}).get("devices") or {}).get("results") or []
    return results


def devices_taken(allocation: Object | None) -> tuple[DeviceId, ...]:
    """Return the devices that nobody else may have: all but those looked at with admin access."""
    return tuple(
        DeviceId(result["driver"], result["pool"], result["device"])
        for result in results_of(allocation)
        if not result.get("adminAccess")
    )


def consumers_of(claim: Object) -> list[Object]:
    """Return status.reservedFor."""
    consumers: list[Object] = (claim.get("status") or {}).get("reservedFor") or []
    return consumers


def is_reserved_for(claim: Object, pod: Object) -> bool:
    """Tell whether the pod may use the claim."""
    return any(consumer["uid"] == meta.uid(pod) for consumer in consumers_of(claim))


def can_be_reserved(claim: Object) -> bool:
    """Tell whether one more pod may use the claim."""
    return len(consumers_of(claim)) < MAX_CONSUMERS


def consumer(pod: Object) -> Object:
    """Return the entry of status.reservedFor for a pod."""
    return {"resource": "pods", "name": meta.name(pod), "uid": meta.uid(pod)}


def is_done(pod: Object) -> bool:
    """Tell whether no container of the pod runs or ever will."""
    return is_terminated(pod) or (meta.is_deleting(pod) and not node_name(pod))
