"""What upstream's conformance suite asks of certificate signing requests (test/e2e/auth/certificates.go)."""

from __future__ import annotations

import base64
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CSR = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
SIGNER = "example.com/e2e-signer"


def make_pem(name: str, *groups: str) -> str:
    """Return base64 of a request in PEM, for a new key."""
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()


def request(signer: str, **spec: Any) -> Any:
    usages = ["digital signature", "key encipherment", "client auth"]
    pem = make_pem("e2e-user", "e2e-group")
    return {
        "metadata": {"generateName": "e2e-example-csr-", "labels": {"run": "this"}},
        "spec": {"request": pem, "signerName": signer, "usages": usages, **spec},
    }


def test_certificate_signing_requests(api: Any) -> None:
    """[sig-auth] Certificates API [Privileged:ClusterAdmin] should support CSR API operations [Conformance]"""
    groups = {group["name"] for group in api.get("/apis")["groups"]}
    assert "certificates.k8s.io" in groups
    resources = {each["name"] for each in api.get("/apis/certificates.k8s.io/v1")["resources"]}
    kind = "certificatesigningrequests"
    assert {kind, f"{kind}/approval", f"{kind}/status"} <= resources

    made = api.post(CSR, request(SIGNER, expirationSeconds=3600))
    api.post(CSR, request(SIGNER))
    api.post(CSR, request("example.com/other"))
    name = made["metadata"]["name"]
    path = f"{CSR}/{name}"
    assert made["spec"]["username"] == "admin"
    assert made["spec"]["groups"] == ["system:masters", "system:authenticated"]
    assert made["spec"]["expirationSeconds"] == 3600
    assert api.get(path)["metadata"]["uid"] == made["metadata"]["uid"]
    assert len(api.names(CSR)) == 3
    assert len(api.names(f"{CSR}?fieldSelector=spec.signerName={SIGNER}")) == 2

    patched = api.patch(path, {"metadata": {"annotations": {"patched": "true"}}})
    assert patched["metadata"]["annotations"]["patched"] == "true"
    updated = api.put(
        path, {**patched, "metadata": {**patched["metadata"], "annotations": {"updated": "true"}}}
    )
    assert updated["metadata"]["annotations"] == {"updated": "true"}
    seen = api.history(f"{CSR}?fieldSelector=spec.signerName={SIGNER}", made, 2)
    assert ("MODIFIED", name) in seen

    condition = {"type": "Approved", "status": "True", "reason": "E2E", "message": "Set from an e2e test"}
    approval = api.patch(f"{path}/approval", {"status": {"conditions": [condition]}}, "merge")
    (approved,) = approval["status"]["conditions"]
    assert approved["lastUpdateTime"]
    assert approved["lastTransitionTime"]
    second = {"type": "ApprovalUpdate", "status": "True", "reason": "E2E", "message": "Set from an e2e test"}
    approval["status"]["conditions"] = [approved, second]
    approval = api.put(f"{path}/approval", approval)
    assert [c["type"] for c in approval["status"]["conditions"]] == ["Approved", "ApprovalUpdate"]
    assert api.get(f"{path}/approval")["metadata"]["name"] == name

    certificate = base64.b64encode(make_certificate()).decode()
    issued = api.patch(f"{path}/status", {"status": {"certificate": certificate}}, "merge")
    assert issued["status"]["certificate"] == certificate
    failed = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from an e2e test"}
    issued["status"]["conditions"] += [failed]
    status = api.put(f"{path}/status", issued)["status"]
    assert [c["type"] for c in status["conditions"]] == ["Approved", "ApprovalUpdate", "StatusUpdate"]
    assert api.get(f"{path}/status")["status"]["certificate"] == certificate

    api.delete(path)
    api.expect(404, "GET", path)
    api.expect(200, "DELETE", f"{CSR}?labelSelector=run=this")
    assert api.names(CSR) == []


def make_certificate() -> bytes:
    """Return any certificate in PEM."""
    import datetime

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "e2e")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
