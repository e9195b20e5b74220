"""Read PKCS#10 certificate signing requests, and say which of them are a kubelet's.

Follows pkg/apis/certificates/helpers.go. `cryptography` is imported when the first request is read.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection
from typing import TYPE_CHECKING

from proa.objects.quick_dataclass import dataclass

if TYPE_CHECKING:
    from cryptography import x509

NODE_PREFIX = "system:node:"
NODES_GROUP = "system:nodes"
MAX_PEM_BYTES = 1 << 20
_BEGIN, _END = b"-----BEGIN CERTIFICATE REQUEST-----", b"-----END CERTIFICATE REQUEST-----"
_SIGNATURE = "digital signature"
_ENCIPHERMENT = "key encipherment"


class UnreadableRequest(Exception):
    """It is no signing request; the message says why."""


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """Whom a request wants to be certified, and by which other names."""

    common_name: str
    organizations: tuple[str, ...]
    dns_names: tuple[str, ...]
    addresses: tuple[str, ...]
    emails: tuple[str, ...]
    uris: tuple[str, ...]
    parsed: x509.CertificateSigningRequest

    def has_good_signature(self) -> bool:
        """Tell whether the request was signed with the key that it is for."""
        return self.parsed.is_signature_valid


def read_request(encoded: str) -> CertificateRequest:
    """Return what `spec.request` (base64 of PEM) asks for; raise UnreadableRequest."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        pem = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnreadableRequest(f"illegal base64 data: {error}") from None
    if len(pem) > MAX_PEM_BYTES or _BEGIN not in pem or _END not in pem:
        raise UnreadableRequest("PEM block type must be CERTIFICATE REQUEST")
    try:
        parsed = x509.load_pem_x509_csr(pem)
        subject = parsed.subject
        names = _alternative_names(parsed)
    except (ValueError, x509.InvalidVersion) as error:
        raise UnreadableRequest(f"x509: malformed certificate request: {error}") from None
    common = [str(a.value) for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return CertificateRequest(
        common[-1] if common else "",
        tuple(str(a.value) for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)),
        tuple(names.get_values_for_type(x509.DNSName)) if names else (),
        tuple(map(str, names.get_values_for_type(x509.IPAddress))) if names else (),
        tuple(names.get_values_for_type(x509.RFC822Name)) if names else (),
        tuple(names.get_values_for_type(x509.UniformResourceIdentifier)) if names else (),
        parsed,
    )


def _alternative_names(parsed: x509.CertificateSigningRequest) -> x509.SubjectAlternativeName | None:
    from cryptography import x509

    try:
        return parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def kubelet_client_problem(request: CertificateRequest, usages: Collection[str]) -> str:
    """Return why this is no request for a kubelet's client certificate, "" where it is one."""
    if request.organizations != (NODES_GROUP,):
        return "subject organization is not system:nodes"
    for given, what in (
        (request.dns_names, "DNS"),
        (request.emails, "Email"),
        (request.addresses, "IP"),
        (request.uris, "URI"),
    ):
        if given:
            return f"{what} subjectAltNames are not allowed"
    if not request.common_name.startswith(NODE_PREFIX):
        return "subject common name does not begin with system:node:"
    return _usage_problem(usages, "client auth")


def kubelet_serving_problem(request: CertificateRequest, usages: Collection[str]) -> str:
    """Return why this is no request for a kubelet's serving certificate, "" where it is one."""
    if request.organizations != (NODES_GROUP,):
        return "subject organization is not system:nodes"
    if not request.dns_names and not request.addresses:
        return "DNS or IP subjectAltName is required"
    if request.emails:
        return "Email subjectAltNames are not allowed"
    if request.uris:
        return "URI subjectAltNames are not allowed"
    problem = _usage_problem(usages, "server auth")
    if not problem and not request.common_name.startswith(NODE_PREFIX):
        return "subject common name does not begin with system:node:"
    return problem


def _usage_problem(usages: Collection[str], purpose: str) -> str:
    wanted = {purpose, _SIGNATURE}
    if set(usages) in (wanted, wanted | {_ENCIPHERMENT}):
        return ""
    return f"usages did not match [{' '.join(sorted((*wanted, _ENCIPHERMENT)))}]"


def client_usage_problem(usages: Collection[str]) -> str:
    """Return why these usages are not a client certificate's, "" where they are."""
    for usage in usages:
        if usage not in (_SIGNATURE, _ENCIPHERMENT, "client auth"):
            return f"invalid usage for client certificate: {usage}"
    return "" if "client auth" in usages else "missing required usage for client certificate: client auth"
