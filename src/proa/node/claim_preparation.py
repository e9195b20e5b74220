"""Say why a pod's ResourceClaims cannot be used on this node.

No driver of dynamic resources can register with this kubelet yet, so that a claim which has devices keeps its pod
waiting. Follows pkg/kubelet/cm/dra/manager.go (prepareResources).
"""

from __future__ import annotations

from proa.client.protocol import Client, Object
from proa.objects.errors import NotFound
from proa.objects.meta import key_of, name, namespace, uid
from proa.objects.resource import RESOURCE_CLAIMS
from proa.objects.resource_claims import (
    allocation_of,
    claim_names,
    is_reserved_for,
    is_waiting_for_claims,
    not_for_pod,
    results_of,
)

REASON = "FailedPrepareDynamicResources"


async def why_unprepared(client: Client, pod: Object) -> str:
    """Return why the pod must wait, "" where its claims need nothing of this node; raise ApiError."""
    if is_waiting_for_claims(pod):
        return _failed(f'pod "{key_of(pod)}": ResourceClaim not created yet')
    for claim_name, is_own in claim_names(pod):
        try:
            claim = await client.get(RESOURCE_CLAIMS, claim_name, namespace(pod))
        except NotFound as error:
            return _failed(f"fetch ResourceClaim {claim_name}: {error.message}")
        if is_own and (why := not_for_pod(pod, claim)):
            return _failed(why)
        if not is_reserved_for(claim, pod):
            who, what = f"pod {name(pod)} ({uid(pod)})", f"ResourceClaim {claim_name} ({uid(claim)})"
            return _failed(f"{who} is not allowed to use {what}")
        for result in results_of(allocation_of(claim)):
            return _failed(f"DRA driver {result['driver']} is not registered")
    return ""


def _failed(why: str) -> str:
    return f"Failed to prepare dynamic resources: prepare dynamic resources: {why}"
