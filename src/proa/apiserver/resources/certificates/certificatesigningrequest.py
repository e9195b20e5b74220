"""A CertificateSigningRequest asks a signer for a certificate; others approve it, and a signer answers.

Follows pkg/registry/certificates/certificates/strategy.go and printCertificateSigningRequest. Who asks is written by
admission (admission/certificate_requests.py).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.resources.certificates.request_rules import (
    APPROVED,
    DENIED,
    FAILED,
    validate_change,
    validate_request,
)
from proa.apiserver.resources.printing import AGE, NAME, NONE, age, doc, human_duration
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.meta import format_time
from proa.objects.resource import CERTIFICATE_SIGNING_REQUESTS

VERBS = ("get", "patch", "update")


def prepare_create(request: Object) -> None:
    """Nobody makes a request that is approved already."""
    request["status"] = {}


def prepare_update(new: Object, old: Object) -> None:
    """What was asked stays."""
    new["spec"] = old["spec"]


def prepare_status_update(new: Object, old: Object) -> None:
    """Keep what approval says, and date new conditions."""
    now, had = _conditions(new), _conditions(old)
    for kind in (APPROVED, DENIED):
        mine = [index for index, condition in enumerate(now) if condition.get("type") == kind]
        theirs = [condition for condition in had if condition.get("type") == kind]
        if len(mine) == len(theirs):
            for index, condition in zip(mine, theirs, strict=True):
                now[index] = condition
    _date_conditions(now, had)


def prepare_approval(new: Object, old: Object) -> None:
    """Write the conditions and nothing else."""
    conditions = _conditions(new)
    _date_conditions(conditions, _conditions(old))
    new["spec"] = old["spec"]
    new["status"] = {**(old.get("status") or {}), "conditions": conditions}
    if not conditions:
        del new["status"]["conditions"]


def _date_conditions(conditions: list[Any], had: Sequence[Any]) -> None:
    now = format_time(time.time())
    for condition in conditions:
        condition["lastUpdateTime"] = condition.get("lastUpdateTime") or now
        if not condition.get("lastTransitionTime"):
            same = (
                c.get("lastTransitionTime")
                for c in had
                if (c.get("type"), c.get("status")) == (condition.get("type"), condition.get("status"))
            )
            condition["lastTransitionTime"] = next(filter(None, same), now)


def _conditions(request: Object) -> list[Any]:
    return (request.get("status") or {}).get("conditions") or []


def validate(request: Object) -> list[Cause]:
    """Check a new request."""
    return validate_request(request, None)


def validate_status_update(new: Object, old: Object) -> list[Cause]:
    """Check what a signer writes."""
    return validate_change(new, old, issues=True)


def validate_approval(new: Object, old: Object) -> list[Cause]:
    """Check what an approver writes."""
    return validate_change(new, old, approves=True)


def cells(request: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    spec = request.get("spec") or {}
    seconds = spec.get("expirationSeconds")
    return (
        request["metadata"]["name"],
        age(request, now),
        spec.get("signerName") or NONE,
        spec.get("username", ""),
        NONE if seconds is None else human_duration(seconds),
        _state(request),
    )


def _state(request: Object) -> str:
    said = {condition.get("type") for condition in _conditions(request)}
    words = ["Denied" if DENIED in said else "Approved" if APPROVED in said else "Pending"]
    words += ["Failed"] if FAILED in said else []
    words += ["Issued"] if (request.get("status") or {}).get("certificate") else []
    return ",".join(words)


def _signer_of(request: Object) -> str:
    return str((request.get("spec") or {}).get("signerName", ""))


DEFINITION = ResourceDefinition(
    resource=CERTIFICATE_SIGNING_REQUESTS,
    singular="certificatesigningrequest",
    schema="io.k8s.api.certificates.v1.CertificateSigningRequest",
    short_names=("csr",),
    subresources=(
        Subresource(
            "approval",
            "CertificateSigningRequest",
            VERBS,
            prepare=prepare_approval,
            validate=validate_approval,
        ),
        Subresource("status", "CertificateSigningRequest", VERBS),
    ),
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status_update=prepare_status_update,
    validate=validate,
    validate_update=validate_change,
    validates_change_alone=True,
    validate_status_update=validate_status_update,
    columns=(
        NAME,
        AGE,
        Column("SignerName", description=doc("certificates.v1.CertificateSigningRequestSpec.signerName")),
        Column("Requestor", description=doc("certificates.v1.CertificateSigningRequestSpec.request")),
        Column(
            "RequestedDuration",
            description=doc("certificates.v1.CertificateSigningRequestSpec.expirationSeconds"),
        ),
        Column("Condition", description=doc("certificates.v1.CertificateSigningRequestStatus.conditions")),
    ),
    cells=cells,
    field_selectors={"spec.signerName": _signer_of},
    name_rule="path-segment",
)
