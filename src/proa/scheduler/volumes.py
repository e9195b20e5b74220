"""Say which claims a pod mounts, and in what state they are."""

from __future__ import annotations

from proa.client.protocol import Object
from proa.objects import meta

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"


def claim_names(pod: Object) -> list[str]:
    """Return the names of the claims that a pod mounts; an ephemeral volume's claim is named after both."""
    names = []
    for volume in pod["spec"].get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            names.append(volume["persistentVolumeClaim"]["claimName"])
        elif "ephemeral" in volume:
            names.append(f"{meta.name(pod)}-{volume['name']}")
    return names


def is_bound(claim: Object) -> bool:
    """Tell whether the binding of a claim is complete."""
    bound = phase_of(claim) == "Bound" or BIND_COMPLETED in meta.annotations(claim)
    return bool(claim["spec"].get("volumeName")) and bound


def phase_of(claim: Object) -> str:
    """Return status.phase, "" before anything has set it."""
    phase: str = (claim.get("status") or {}).get("phase") or ""
    return phase
