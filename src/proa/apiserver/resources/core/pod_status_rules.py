"""Say which changes of a pod's status are not allowed (pkg/apis/core/validation ValidatePodStatusUpdate)."""

from __future__ import annotations

from collections.abc import Sequence

from proa.apiserver.resources.core.annotation_rules import validate_annotation_change
from proa.apiserver.resources.core.claim_reference_rules import validate_claim_statuses
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import (
    all_invalid,
    dns_subdomain,
    duplicate,
    forbidden,
    invalid,
    qualified_name,
    validate_immutable,
)
from proa.objects.validation_addresses import legacy_ip

SYSTEM_CONDITIONS = ("PodScheduled", "Ready", "Initialized")
STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")


def validate_status_update(new: Object, old: Object) -> list[Cause]:
    """Check that what ended stays ended, that the class stays, and the form of names and addresses."""
    status, before = new.get("status") or {}, old.get("status") or {}
    causes = validate_annotation_change(new, old)
    for index, condition in enumerate(status.get("conditions") or ()):
        kind = condition.get("type", "")
        if kind not in SYSTEM_CONDITIONS:
            causes += all_invalid(f"metadata.conditions[{index}].Type", kind, qualified_name(kind))
    nominated = status.get("nominatedNodeName", "")
    if nominated and nominated != before.get("nominatedNodeName"):
        causes += all_invalid("status.nominatedNodeName", nominated, dns_subdomain(nominated))
    causes += validate_immutable(status.get("qosClass"), before.get("qosClass"), "status.qosClass")
    for key in STATUSES:
        causes += _validate_transitions(key, status.get(key) or (), before.get(key) or (), old["spec"])
    if status.get("resourceClaimStatuses"):
        claims = status["resourceClaimStatuses"]
        causes += validate_claim_statuses(claims, new["spec"], "status.resourceClaimStatuses")
    return causes + _validate_addresses(status)


def _validate_transitions(
    key: str, new: Sequence[Object], old: Sequence[Object], spec: Object
) -> list[Cause]:
    """A container that will not be restarted stays terminated (ValidateContainerStateTransition)."""
    policy = "Never" if key == STATUSES[2] else spec.get("restartPolicy")
    if policy == "Always":
        return []
    after = {status.get("name"): status for status in new}
    own = ("restartPolicy", "restartPolicyRules")
    may_restart = {
        c.get("name")
        for kind in ("containers", "initContainers")
        for c in spec.get(kind) or ()
        if any(k in c for k in own)
    }
    causes: list[Cause] = []
    for index, status in enumerate(old):
        name, ended = status.get("name"), (status.get("state") or {}).get("terminated")
        if not ended or name in may_restart or name not in after:
            continue
        if policy == "OnFailure" and ended.get("exitCode"):
            continue
        if not (after[name].get("state") or {}).get("terminated"):
            detail = "may not be transitioned to non-terminated state"
            causes.append(forbidden(f"status.{key}[{index}].state", detail))
    return causes


def _validate_addresses(status: Object) -> list[Cause]:
    causes: list[Cause] = []
    hosts = status.get("hostIPs") or ()
    if hosts and status.get("hostIP", "") != hosts[0].get("ip", ""):
        causes.append(invalid("status.hostIPs[0].ip", hosts[0].get("ip", ""), "must be equal to `hostIP`"))
    for key in ("podIPs", "hostIPs"):
        causes += _validate_family(status.get(key) or [], f"status.{key}")
    return causes


def _validate_family(addresses: list[Object], field: str) -> list[Cause]:
    texts = [address.get("ip", "") for address in addresses]
    causes = [
        cause
        for index, text in enumerate(texts)
        for cause in all_invalid(f"{field}[{index}]", text, legacy_ip(text))
    ]
    if len(texts) > 1:
        if len(texts) > 2 or len({":" in text for text in texts}) < 2:
            causes.append(invalid(field, addresses, "may specify no more than one IP for each IP family"))
        doubled = [index for index, text in enumerate(texts) if text in texts[:index]]
        causes += [duplicate(f"{field}[{index}]", addresses[index]) for index in doubled]
    return causes
