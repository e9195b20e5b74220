"""Kubelets' requests are approved by right, approved ones are signed for what was asked, and old ones go."""

from __future__ import annotations

import asyncio
import base64
import datetime
import ipaddress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from proa.controllers import serviceaccount
from proa.controllers.certificates import approving, cleaning, signing
from proa.controllers.certificates.authority import sign
from proa.objects.certificate_request import UnreadableRequest, read_request
from proa.objects.errors import Cause, Forbidden
from proa.objects.meta import format_time
from proa.reconcile.protocol import Key

NOW = 1_800_000_000.0
KUBELET = "kubernetes.io/kube-apiserver-client-kubelet"
SERVING = "kubernetes.io/kubelet-serving"
CLIENT = "kubernetes.io/kube-apiserver-client"
APPROVED = {"type": "Approved", "status": "True"}


def pem(name: str = "system:node:n1", *groups: str, names: tuple[Any, ...] = ()) -> str:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, g) for g in groups or ("system:nodes",)]
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    request = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()


def make(request: str, signer: str, *usages: str, username: str = "", **status: Any) -> Any:
    spec = {"request": request, "signerName": signer, "usages": list(usages), "username": username}
    return {
        "metadata": {"name": "r", "uid": "u", "creationTimestamp": format_time(NOW)},
        "spec": spec,
        "status": status,
    }


CLIENT_USES = ("digital signature", "client auth")


@pytest.mark.parametrize(
    ("request_", "rights"),
    [
        (make(pem(), KUBELET, *CLIENT_USES, username="system:node:n1"), ["selfnodeclient", "nodeclient"]),
        (make(pem(), KUBELET, *CLIENT_USES, username="system:bootstrap:x"), ["nodeclient"]),
        (make(pem("ann"), KUBELET, *CLIENT_USES), []),
        (make(pem("system:node:n1", "dev"), KUBELET, *CLIENT_USES), []),
        (make(pem(), KUBELET, "server auth"), []),
        (make(pem(), CLIENT, *CLIENT_USES), []),
        (make(pem(), KUBELET, *CLIENT_USES, conditions=[{"type": "Denied", "status": "True"}]), []),
        (make(pem(names=(x509.DNSName("n1"),)), KUBELET, *CLIENT_USES), []),
    ],
)
def test_only_kubelets_own_client_certificates_are_approved(request_: Any, rights: list[str]) -> None:
    assert [right for right, _ in approving.plan(request_)] == rights


@pytest.mark.parametrize(
    ("signer", "usages", "request_", "problem"),
    [
        (CLIENT, CLIENT_USES, pem("ann", "dev"), ""),
        (CLIENT, ("server auth",), pem(), "invalid usage for client certificate: server auth"),
        (CLIENT, ("digital signature",), pem(), "missing required usage for client certificate: client auth"),
        (KUBELET, CLIENT_USES, pem(), ""),
        (KUBELET, CLIENT_USES, pem("ann"), "subject common name does not begin with system:node:"),
        (SERVING, ("digital signature", "server auth"), pem(), "DNS or IP subjectAltName is required"),
        (
            SERVING,
            ("digital signature", "server auth"),
            pem(names=(x509.IPAddress(ipaddress.ip_address("10.0.0.1")),)),
            "",
        ),
        (
            KUBELET,
            ("client auth",),
            pem(),
            "usages did not match [client auth digital signature key encipherment]",
        ),
        ("kubernetes.io/legacy-unknown", ("any",), pem("x", "y"), ""),
    ],
    ids=str.split("ann server-use no-client-use node not-a-node no-names serving few-uses legacy"),
)
def test_each_signer_signs_what_is_its_own_and_says_what_is_not(
    signer: str, usages: tuple[str, ...], request_: str, problem: str
) -> None:
    decided = signing.plan(make(request_, signer, *usages, conditions=[APPROVED]))
    assert decided.problem == problem
    assert (decided.request is None) == bool(problem)
    assert signing.plan(make(request_, signer, *usages)) == signing.Plan()


def test_requests_of_others_signers_are_left_alone() -> None:
    assert signing.plan(make(pem(), "example.com/x", conditions=[APPROVED])) == signing.Plan()
    assert signing.plan(make(pem(), CLIENT, conditions=[APPROVED], certificate="x")) == signing.Plan()


@pytest.fixture
def authority(tmp_path: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
    begin = datetime.datetime.fromtimestamp(NOW - 86400, datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(begin)
    builder = builder.not_valid_after(begin + datetime.timedelta(days=100))
    certificate = builder.sign(key, hashes.SHA256())
    paths = tmp_path / "ca.crt", tmp_path / "ca.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    return paths


@pytest.mark.parametrize(
    ("seconds", "begin", "end"),
    [
        (3600, NOW - 300, NOW + 3600),
        (86400, NOW - 300, NOW + 86400 - 300),
        (1, NOW - 300, NOW + 600),
        (None, NOW - 300, NOW + 99 * 86400),
    ],
    ids=["short", "long", "too short", "longer than the authority"],
)
def test_a_certificate_is_for_what_was_asked_and_as_long(
    authority: tuple[Path, Path], seconds: int | None, begin: float, end: float
) -> None:
    request = read_request(pem("ann", "dev", names=(x509.DNSName("a.example.com"),)))
    signed = x509.load_pem_x509_certificate(
        sign(request, ["client auth", "key encipherment"], seconds, *authority, NOW)
    )
    signed.verify_directly_issued_by(x509.load_pem_x509_certificate(authority[0].read_bytes()))
    assert signed.not_valid_before_utc.timestamp() == begin
    assert signed.not_valid_after_utc.timestamp() == end
    assert signed.subject == request.parsed.subject
    found = signed.extensions
    use = found.get_extension_for_class(x509.KeyUsage).value
    assert use.key_encipherment
    assert not use.digital_signature
    assert list(found.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]
    assert not found.get_extension_for_class(x509.BasicConstraints).value.ca
    names = found.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.example.com"]


def test_a_certificate_without_key_usage_has_none(authority: tuple[Path, Path]) -> None:
    signed = x509.load_pem_x509_certificate(sign(read_request(pem()), ["client auth"], None, *authority, NOW))
    with pytest.raises(x509.ExtensionNotFound):
        signed.extensions.get_extension_for_class(x509.KeyUsage)


@pytest.mark.parametrize("text", ["", "eA==", "%", base64.b64encode(b"-----BEGIN X-----").decode()])
def test_what_is_no_request_is_refused(text: str) -> None:
    with pytest.raises(UnreadableRequest):
        read_request(text)


@pytest.mark.parametrize(
    ("status", "hours"),
    [
        ({}, 24),
        ({"conditions": [{**APPROVED, "lastUpdateTime": format_time(NOW)}]}, 24),
        ({"conditions": [{**APPROVED, "lastUpdateTime": format_time(NOW)}], "certificate": "x"}, 1),
        ({"conditions": [{"type": "Denied", "status": "True", "lastUpdateTime": format_time(NOW)}]}, 1),
    ],
)
def test_requests_go_when_they_are_answered_or_forgotten(status: Any, hours: int) -> None:
    assert cleaning.due(make(pem(), CLIENT, **status)) == NOW + hours * 3600


@pytest.mark.parametrize("reason", ["NamespaceTerminating", ""])
def test_a_missing_right_is_seen_and_an_ending_namespace_is_none(reason: str) -> None:
    error = Forbidden("no", causes=[Cause(reason, "", "")] if reason else [])

    async def create(*_: Any) -> None:
        raise error

    namespace = {"metadata": {"name": "lab"}}
    caches = {"namespaces": {"lab": namespace}, "serviceaccounts": {}}
    context: Any = SimpleNamespace(
        caches=lambda resource: SimpleNamespace(get=lambda name, *_: caches[resource.plural].get(name)),
        client=SimpleNamespace(create=create),
    )
    reconcile = serviceaccount.reconcile(context, Key("", "lab"))
    if reason:
        asyncio.run(reconcile)
    else:
        with pytest.raises(Forbidden):
            asyncio.run(reconcile)
