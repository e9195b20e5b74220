"""Keep the cluster's keys: one authority, made at first start, and the certificates that it signs.

Names follow kubeadm's (https://kubernetes.io/docs/setup/best-practices/certificates/). All keys are ECDSA
P-256: cheap to make and to verify. `cryptography` is imported only when something must be made.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import ipaddress
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from proa.home import write_private
from proa.objects.quick_dataclass import dataclass

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

AUTHORITY_YEARS = 10
CERTIFICATE_DAYS = 365
RENEW_BEFORE_DAYS = 30
BACKDATE = datetime.timedelta(minutes=5)
"""Clocks differ a little: a new certificate is valid from a moment ago."""
FRONT_PROXY_CLIENT = "front-proxy-client"
"""The common name by which the API server shows itself to servers of aggregated APIs."""
KUBELET_CLIENT = "kube-apiserver-kubelet-client"
"""The common name by which the API server asks kubelets; policy/proa.json says that it may."""
_SIOCGIFADDR = 0x8915


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Where a certificate and its key are, in PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Pki:
    """The files of one cluster's `pki` folder."""

    authority: KeyPair
    server: KeyPair
    admin: KeyPair
    service_account: KeyPair
    """The key that signs service-account tokens, and its public half."""
    front_proxy_authority: KeyPair
    front_proxy_client: KeyPair
    """By which servers of aggregated APIs know the API server: an authority for this alone."""
    kubelet_client: KeyPair
    """By which kubelets of other machines know the API server."""


def find_pki(directory: Path) -> Pki:
    """Name the files, whether or not they are there."""

    def pair(name: str, public: str = ".crt") -> KeyPair:
        return KeyPair(directory / f"{name}{public}", directory / f"{name}.key")

    return Pki(
        pair("ca"),
        pair("apiserver"),
        pair("admin"),
        pair("sa", ".pub"),
        pair("front-proxy-ca"),
        pair(FRONT_PROXY_CLIENT),
        pair("apiserver-kubelet-client"),
    )


def find_own_names() -> set[str]:
    """Return this machine's name and the IPv4 addresses of its interfaces: what others may call the server by."""
    found = {socket.gethostname().lower()}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, interface in socket.if_nameindex():
            with contextlib.suppress(OSError):  # it has no address
                answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", interface.encode()))
                found.add(socket.inet_ntoa(answer[20:24]))
    return found


def ensure_pki(directory: Path, server_names: Sequence[str], now: datetime.datetime) -> Pki:
    """Return the cluster's keys, making what is missing, about to expire, or lacks a server name.

    `server_names` are the DNS names and IP addresses that clients reach the API server by.
    """
    pki = find_pki(directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted = "\n".join(sorted(server_names))
    names_file = directory / "apiserver.names"
    whole = all(p.certificate.exists() and p.key.exists() for p in (*_signed(pki), pki.authority))
    fresh = whole and pki.service_account.key.exists() and names_file.exists()
    if fresh and names_file.read_text() == wanted and not _expires_soon(pki, now):
        return pki
    _make_missing(pki, server_names, now)
    write_private(names_file, wanted)
    return pki


def ensure_shared_pki(directory: Path, own: Path, server_names: Sequence[str], now: datetime.datetime) -> Pki:
    """Return the keys of one of several API servers: authorities and token key are all servers', in `directory`.

    What is missing there is made, once, whichever server comes first; the server's own certificates are made anew, in
    the folder `own`. Raises OSError.
    """
    shared, mine = find_pki(directory), find_pki(own)
    for folder in (directory, own):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    pki = Pki(
        shared.authority,
        mine.server,
        mine.admin,
        shared.service_account,
        shared.front_proxy_authority,
        mine.front_proxy_client,
        mine.kubelet_client,
    )
    lock = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _make_missing(pki, server_names, now)
    finally:
        os.close(lock)
    return pki


def _signed(pki: Pki) -> tuple[KeyPair, ...]:
    """Return the certificates that are made anew from time to time."""
    return pki.server, pki.admin, pki.front_proxy_client, pki.kubelet_client


def _expires_soon(pki: Pki, now: datetime.datetime) -> bool:
    """Tell by the files' age: parsing a certificate would import `cryptography` at each start."""
    oldest = min(os.stat(pair.certificate).st_mtime for pair in _signed(pki))
    return now.timestamp() - oldest > (CERTIFICATE_DAYS - RENEW_BEFORE_DAYS) * 86400


def _make_missing(pki: Pki, server_names: Sequence[str], now: datetime.datetime) -> None:
    """Make the authority and token key once, and sign server and admin certificates anew."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, authority = _ensure_authority(pki.authority, "kubernetes", now)
    front_key, front_authority = _ensure_authority(pki.front_proxy_authority, "front-proxy-ca", now)
    if not pki.service_account.key.exists():
        tokens = ec.generate_private_key(ec.SECP256R1())
        public = tokens.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        write_private(pki.service_account.certificate, public)
        write_private(pki.service_account.key, _pem(tokens))
    front = (front_key, front_authority)
    for pair, name, groups, names, (signing, issuer) in (
        (pki.server, "kube-apiserver", (), server_names, (key, authority)),
        (pki.admin, "kubernetes-admin", ("system:masters",), (), (key, authority)),
        (pki.kubelet_client, KUBELET_CLIENT, (), (), (key, authority)),
        (pki.front_proxy_client, FRONT_PROXY_CLIENT, (), (), front),
    ):
        own = ec.generate_private_key(ec.SECP256R1())
        _write(
            pair,
            own,
            _sign(own.public_key(), name, groups, names, signing, issuer, now, days=CERTIFICATE_DAYS),
        )


def _ensure_authority(
    pair: KeyPair, name: str, now: datetime.datetime
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """Return an authority's key and certificate, made where they are missing."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    if pair.key.exists():
        loaded = serialization.load_pem_private_key(pair.key.read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        return loaded, x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    authority = _sign(key.public_key(), name, (), (), key, None, now, days=AUTHORITY_YEARS * 365)
    _write(pair, key, authority)
    return key, authority


def _sign(
    public_key: ec.EllipticCurvePublicKey,
    common_name: str,
    organizations: Sequence[str],
    server_names: Sequence[str],
    issuer_key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    now: datetime.datetime,
    *,
    days: int,
) -> x509.Certificate:
    """Return a certificate: an authority's where `issuer` is None, a server's where it has names, else a client's."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in organizations]
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    is_authority = issuer is None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
        .add_extension(_key_usage(is_authority), critical=True)
    )
    if not is_authority:
        use = ExtendedKeyUsageOID.SERVER_AUTH if server_names else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
    if server_names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_alternative_name(n) for n in server_names]), critical=False
        )
    return builder.sign(issuer_key, hashes.SHA256())


def _key_usage(is_authority: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_name(name: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(pair: KeyPair, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding

    write_private(pair.key, _pem(key))
    write_private(pair.certificate, certificate.public_bytes(Encoding.PEM))
