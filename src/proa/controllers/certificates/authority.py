"""Sign certificate requests with the cluster's authority, for what was asked and approved and no longer than it lives.

Follows pkg/controller/certificates/authority. Blocking: it reads the key and signs.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from proa.objects.certificate_request import CertificateRequest

if TYPE_CHECKING:
    from cryptography import x509

DEFAULT_SECONDS = 365 * 24 * 3600
MIN_SECONDS = 600
BACKDATE_SECONDS = 300
SHORT_SECONDS = 8 * 3600
"""What lives less is not shortened by the backdating."""
KEY_USAGES = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "key agreement": "key_agreement",
    "data encipherment": "data_encipherment",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
EXTENDED_USAGES = {
    "any": "2.5.29.37.0",
    "server auth": "1.3.6.1.5.5.7.3.1",
    "client auth": "1.3.6.1.5.5.7.3.2",
    "code signing": "1.3.6.1.5.5.7.3.3",
    "email protection": "1.3.6.1.5.5.7.3.4",
    "s/mime": "1.3.6.1.5.5.7.3.4",
    "ipsec end system": "1.3.6.1.5.5.7.3.5",
    "ipsec tunnel": "1.3.6.1.5.5.7.3.6",
    "ipsec user": "1.3.6.1.5.5.7.3.7",
    "timestamping": "1.3.6.1.5.5.7.3.8",
    "ocsp signing": "1.3.6.1.5.5.7.3.9",
    "microsoft sgc": "1.3.6.1.4.1.311.10.3.3",
    "netscape sgc": "2.16.840.1.113730.4.1",
}


def sign(
    request: CertificateRequest,
    usages: Sequence[str],
    seconds: int | None,
    certificate: Path,
    key: Path,
    now: float,
) -> bytes:
    """Return a certificate in PEM, by the authority in `certificate` and `key`, valid for `seconds` from `now`."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    issuer = x509.load_pem_x509_certificate(certificate.read_bytes())
    issuer_key = serialization.load_pem_private_key(key.read_bytes(), None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    begin, end = _validity(_life(seconds), now, issuer)
    public_key = request.parsed.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(request.parsed.subject)
        .issuer_name(issuer.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), False)  # type: ignore[arg-type]
    )
    if any(usage in KEY_USAGES for usage in usages):
        builder = builder.add_extension(_key_usage(usages), critical=True)  # empty, it would be no use at all
    extended = sorted({EXTENDED_USAGES[usage] for usage in usages if usage in EXTENDED_USAGES})
    if extended:
        identifiers = [x509.ObjectIdentifier(each) for each in extended]
        builder = builder.add_extension(x509.ExtendedKeyUsage(identifiers), critical=False)
    if request.dns_names or request.addresses or request.emails or request.uris:
        names = request.parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        builder = builder.add_extension(names, critical=False)
    signed = builder.sign(issuer_key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def _life(seconds: int | None) -> int:
    """Return how long the certificate is for: what was asked, within bounds."""
    return DEFAULT_SECONDS if seconds is None else min(max(seconds, MIN_SECONDS), DEFAULT_SECONDS)


def _validity(
    seconds: int, now: float, issuer: x509.Certificate
) -> tuple[datetime.datetime, datetime.datetime]:
    moment = datetime.datetime.fromtimestamp(int(now), datetime.UTC)
    backdate = datetime.timedelta(seconds=BACKDATE_SECONDS)
    end = moment + datetime.timedelta(seconds=seconds)
    if seconds >= SHORT_SECONDS:
        end -= backdate
    return moment - backdate, min(end, issuer.not_valid_after_utc)


def _key_usage(usages: Sequence[str]) -> x509.KeyUsage:
    from cryptography import x509

    asked = {KEY_USAGES[usage] for usage in usages if usage in KEY_USAGES}
    has_agreement = "key_agreement" in asked
    return x509.KeyUsage(
        digital_signature="digital_signature" in asked,
        content_commitment="content_commitment" in asked,
        key_encipherment="key_encipherment" in asked,
        data_encipherment="data_encipherment" in asked,
        key_agreement=has_agreement,
        key_cert_sign="key_cert_sign" in asked,
        crl_sign="crl_sign" in asked,
        encipher_only=has_agreement and "encipher_only" in asked,
        decipher_only=has_agreement and "decipher_only" in asked,
    )
