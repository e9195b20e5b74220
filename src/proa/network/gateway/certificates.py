"""Read servers' certificates out of Secrets, so that one that is broken is told of and never reaches Envoy.

Also makes the certificate for hosts that have none of their own: self-signed, as ingress controllers do.
"""

from __future__ import annotations

import datetime
import functools
from typing import NamedTuple

from proa.client.protocol import Object

DEFAULT_NAMES = ("localhost", "*.localhost", "proa.localhost", "*.proa.localhost")
DEFAULT_DAYS = 3650
CACHED = 4096
"""Secrets that are not read again while they stay the same: a thousand are half a second."""
MIN_RSA_BITS = 2048
CURVES = ("secp256r1", "secp384r1", "secp521r1")
"""What Envoy takes; for anything else it refuses all listeners."""


class Certificate(NamedTuple):
    """A chain and its key, both PEM."""

    chain: str
    key: str


def read_certificate(secret: Object) -> Certificate | str:
    """Return the certificate in a Secret, or what is wrong with it, to follow its name in a sentence."""
    data = secret.get("data") or {}
    return _read(data.get("tls.crt") or "", data.get("tls.key") or "")


@functools.lru_cache(maxsize=CACHED)
def _read(chain: str, key: str) -> Certificate | str:
    import base64
    import binascii

    parts = []
    for field, encoded in (("tls.crt", chain), ("tls.key", key)):
        if not encoded:
            return f"has no {field}"
        try:
            parts.append(base64.b64decode(encoded, validate=True))
        except binascii.Error:
            return f"has a {field} that is not base64"
    wrong = _check(*parts)
    return wrong or Certificate(*(part.decode(errors="replace") for part in parts))


def _check(chain: bytes, key: bytes) -> str:
    """Return why a chain and a key are of no use, "" where they are fine."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
    )

    try:
        public = x509.load_pem_x509_certificates(chain)[0].public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "has a tls.crt that is not a PEM certificate"
    try:
        private = load_pem_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "has a tls.key that is not a PEM private key without passphrase"
    if isinstance(private, rsa.RSAPrivateKey):
        if private.key_size < MIN_RSA_BITS:
            return f"has an RSA key of {private.key_size} bits: {MIN_RSA_BITS} are the least"
    elif not (isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in CURVES):
        return "has a key that is neither RSA nor of the curves P-256, P-384 and P-521"
    shapes = [
        half.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for half in (public, private.public_key())
    ]
    return "" if shapes[0] == shapes[1] else "has a tls.key that does not belong to its tls.crt"


def make_default_certificate(now: datetime.datetime) -> Certificate:
    """Return a new self-signed certificate for names below localhost."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Proa gateway default certificate")])
    names = x509.SubjectAlternativeName([x509.DNSName(dns) for dns in DEFAULT_NAMES])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=DEFAULT_DAYS))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    return Certificate(
        certificate.public_bytes(Encoding.PEM).decode(),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    )
