"""Say what is wrong with how a pod and its containers name ResourceClaims.

Follows pkg/apis/core/validation validatePodResourceClaims, validateResourceClaimNames and
validatePodResourceClaimStatuses.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import (
    all_invalid,
    dns_label,
    dns_subdomain,
    duplicate,
    invalid,
    not_found,
    required,
)

REFERENCES = ("resourceClaimName", "resourceClaimTemplateName")


def validate_pod_claims(claims: Sequence[Object], field: str) -> list[Cause]:
    """Check spec.resourceClaims."""
    causes: list[Cause] = []
    names: set[str] = set()
    for index, claim in enumerate(claims):
        path, name = f"{field}[{index}]", claim.get("name", "")
        if not name:
            causes.append(required(f"{path}.name"))
        elif name in names:
            causes.append(duplicate(f"{path}.name", name))
        else:
            causes += all_invalid(f"{path}.name", name, dns_label(name))
            names.add(name)
        given = [key for key in REFERENCES if claim.get(key) is not None]
        if len(given) != 1:
            detail = (
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
                if given
                else "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            )
            causes.append(invalid(path, _as_upstream(claim), detail))
        for key in given:
            causes += all_invalid(f"{path}.{key}", claim[key], dns_subdomain(claim[key]))
    return causes


def _as_upstream(claim: Object) -> Object:
    """Upstream shows its internal type, whose fields have Go's names."""
    return {key[0].upper() + key[1:]: claim.get(key) for key in REFERENCES} | {"Name": claim.get("name", "")}


def validate_claim_names(claims: Sequence[Object], known: Collection[str], field: str) -> list[Cause]:
    """Check a container's resources.claims against the names in spec.resourceClaims."""
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, claim in enumerate(claims):
        path, name, request = f"{field}[{index}]", claim.get("name", ""), claim.get("request", "")
        if not name:
            causes.append(required(path))
            continue
        key = f"{name}/{request}" if request else name
        if name in seen or any(other.startswith(f"{name}/") for other in seen if not request):
            causes.append(duplicate(path, name))
        elif key in seen:
            causes.append(duplicate(path, key))
        if request and name not in seen:
            causes += all_invalid(f"{path}.request", request, dns_label(request))
        seen.add(key)
        if name not in known:
            listed = f": {', '.join(sorted(known))}" if known else " which is empty"
            detail = f"must be one of the names in pod.spec.resourceClaims{listed}"
            missing = not_found(path, name)
            causes.append(Cause(missing.reason, f"{missing.message}: {detail}", missing.field))
    return causes


def validate_claim_statuses(statuses: Sequence[Object], spec: Object, field: str) -> list[Cause]:
    """Check status.resourceClaimStatuses against the names in spec.resourceClaims."""
    known = {claim.get("name", "") for claim in spec.get("resourceClaims") or ()}
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, status in enumerate(statuses):
        path, name = f"{field}[{index}].name", status.get("name", "")
        if name not in known:
            causes.append(invalid(path, name, "must match the name of an entry in `spec.resourceClaims`"))
        if name in seen:
            causes.append(duplicate(path, name))
        seen.add(name)
        made = status.get("resourceClaimName")
        if made is not None:
            causes += all_invalid(path, made, dns_subdomain(made))
    return causes
