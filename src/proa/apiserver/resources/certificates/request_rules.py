"""Check certificate signing requests: pkg/apis/certificates/validation and pkg/apis/core/validation/names.go.

What was wrong of an object before may stay, so that what is stored can still be deleted or answered.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from typing import Any

from proa.client.protocol import Object
from proa.objects.certificate_request import UnreadableRequest, read_request
from proa.objects.errors import Cause
from proa.objects.validation import (
    dns_label,
    dns_subdomain,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    quote,
    required,
    too_long,
)

APPROVED, DENIED, FAILED = "Approved", "Denied", "Failed"
LEGACY_SIGNER = "kubernetes.io/legacy-unknown"
MIN_SECONDS = 600
USAGES = (
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
)
_STATUSES = ("False", "True", "Unknown")
_CONDITIONS = "status.conditions"
_PEM = re.compile(rb"-----BEGIN ([^-\n]*)-----\s*\n(.*?)-----END \1-----", re.DOTALL)


def validate_request(new: Object, old: Object | None) -> list[Cause]:
    """Check a request, whichever part of it is written."""
    spec, had = new["spec"], (old or {}).get("spec") or {}
    causes: list[Cause] = []
    try:
        if not read_request(spec.get("request", "")).has_good_signature():
            causes.append(invalid("spec.request", spec.get("request"), "x509: ECDSA verification failure"))
    except UnreadableRequest as error:
        causes.append(invalid("spec.request", spec.get("request"), str(error)))
    causes += _usage_causes(spec.get("usages") or [], had.get("usages") or [])
    signer = spec.get("signerName", "")
    if signer == LEGACY_SIGNER and had.get("signerName") != LEGACY_SIGNER:
        why = "the legacy signerName is not allowed via this API version"
        causes.append(invalid("spec.signerName", signer, why))
    else:
        causes += validate_signer_name(signer, "spec.signerName")
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < MIN_SECONDS:
        why = "may not specify a duration less than 600 seconds (10 minutes)"
        causes.append(invalid("spec.expirationSeconds", seconds, why))
    causes += _condition_causes(_conditions(new), _conditions(old))
    certificate = _certificate(new)
    if certificate != _certificate(old) and not _certificate_problem(_certificate(old)):
        problem = _certificate_problem(certificate)
        if problem:
            causes.append(invalid("status.certificate", "<certificate data>", problem))
    return causes


def _usage_causes(usages: Sequence[str], had: Sequence[str]) -> Iterator[Cause]:
    if not usages:
        yield required("spec.usages")
    if all(usage in USAGES for usage in had):
        for index, usage in enumerate(usages):
            if usage not in USAGES:
                yield not_supported(f"spec.usages[{index}]", usage, USAGES)
    if len(set(had)) == len(had):
        for index, usage in enumerate(usages):
            if usage in usages[:index]:
                yield duplicate(f"spec.usages[{index}]", usage)


def validate_signer_name(name: str, field: str) -> list[Cause]:
    """Check that a name is example.com/something."""
    if not name:
        return [required(field)]
    domain, *rest = name.split("/")
    if len(rest) != 1:
        form = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [invalid(field, name, form)]
    path = rest[0]
    causes = [too_long(field, 253)] if len(domain) > 253 else []
    labels = domain.split(".")
    bad = next((label for label in labels if dns_label(label)), None)
    if bad is not None:
        causes += [invalid(field, domain, f"validating label {quote(bad)}: {p}") for p in dns_label(bad)]
    if len(labels) < 2:
        why = "should be a domain with at least two segments separated by dots"
        causes.append(invalid(field, domain, why))
    bad = next((label for label in path.split(".") if dns_subdomain(label)), None)
    if bad is not None:
        causes += [invalid(field, path, f"validating label {quote(bad)}: {p}") for p in dns_subdomain(bad)]
    if len(name) > 571:
        causes.append(too_long(field, 571))
    return causes


def _condition_causes(conditions: Sequence[Any], had: Sequence[Any]) -> Iterator[Cause]:
    may_lack_type = any(not c.get("type") for c in had)
    may_be_both = {APPROVED, DENIED} <= {c.get("type") for c in had}
    may_repeat = len({c.get("type") for c in had}) < len(had)
    seen: set[str] = set()
    for index, condition in enumerate(conditions):
        field, kind, status = f"{_CONDITIONS}[{index}]", condition.get("type", ""), condition.get("status")
        if not kind and not may_lack_type:
            yield required(f"{field}.type")
        allowed = ("True",) if kind in (APPROVED, DENIED, FAILED) else _STATUSES
        if not status:
            yield required(f"{field}.status")
        elif status not in allowed:
            yield not_supported(f"{field}.status", status, allowed)
        other = {APPROVED: DENIED, DENIED: APPROVED}.get(kind)
        if other in seen and not may_be_both:
            why = "Approved and Denied conditions are mutually exclusive"
            yield invalid(f"{field}.type", kind, why)
        if kind in seen and not may_repeat:
            yield duplicate(f"{field}.type", kind)
        seen.add(kind)


def _certificate_problem(encoded: str) -> str:
    """Return why this (base64 of PEM) holds no certificates, "" where it does or is empty."""
    if not encoded:
        return ""
    from cryptography import x509

    try:
        pem = base64.b64decode(encoded, validate=True)
        blocks = _PEM.findall(pem)
        for kind, body in blocks:
            if kind != b"CERTIFICATE":
                return (
                    f"only CERTIFICATE PEM blocks are allowed, found {quote(kind.decode(errors='replace'))}"
                )
            if b":" in body:
                return "no PEM block headers are permitted"
        if not blocks:
            return "must contain at least one CERTIFICATE PEM block"
        x509.load_pem_x509_certificates(pem)
    except (ValueError, binascii.Error) as error:
        return f"x509: malformed certificate: {error}"
    return ""


def validate_change(new: Object, old: Object, *, approves: bool = False, issues: bool = False) -> list[Cause]:
    """Check an update; one that `approves` may add Approved or Denied, one that `issues` may set the certificate."""
    causes = validate_request(new, old)
    now, had = _conditions(new), _conditions(old)
    for kind in (APPROVED, DENIED, FAILED):
        if len(_of(kind, now)) < len(_of(kind, had)):
            causes.append(forbidden(_CONDITIONS, f"updates may not remove a condition of type {quote(kind)}"))
    for kind in () if approves else (APPROVED, DENIED):
        if len(_of(kind, now)) > len(_of(kind, had)):
            causes.append(forbidden(_CONDITIONS, f"updates may not add a condition of type {quote(kind)}"))
        elif len(_of(kind, now)) == len(_of(kind, had)) and _of(kind, now) != _of(kind, had):
            causes.append(forbidden(_CONDITIONS, f"updates may not modify a condition of type {quote(kind)}"))
    if _certificate(new) != _certificate(old):
        if not issues:
            causes.append(forbidden("status.certificate", "updates may not set certificate content"))
        elif _certificate(old):
            why = "updates may not modify existing certificate content"
            causes.append(forbidden("status.certificate", why))
    return causes


def _of(kind: str, conditions: Sequence[Any]) -> list[Any]:
    return [condition for condition in conditions if condition.get("type") == kind]


def _conditions(request: Object | None) -> list[Any]:
    return ((request or {}).get("status") or {}).get("conditions") or []


def _certificate(request: Object | None) -> str:
    return ((request or {}).get("status") or {}).get("certificate") or ""
