"""Certificate requests are checked in upstream's words, and approved and signed by whom they may be."""

from __future__ import annotations

import asyncio
import base64
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proa.client.protocol import User

CSR = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
CLIENT = "kubernetes.io/kube-apiserver-client"
ANN = User("ann", ("dev", "system:authenticated"), "uid-1", {"scopes": ("a", "b")})
RBAC = "/apis/rbac.authorization.k8s.io/v1"
APPROVED = {"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "R", "message": "M"}]}}
MERGE = {"content_type": "application/merge-patch+json"}


@cache
def pem(name: str = "ann", *groups: str) -> str:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()


def body(name: str = "r", **spec: Any) -> Any:
    usages = ["client auth", "digital signature"]
    asked = {"request": pem(), "signerName": CLIENT, "usages": usages, **spec}
    return {"metadata": {"name": name}, "spec": asked}


def make(api: Any, path: str, obj: Any) -> Any:
    answer = api.post(path, obj)
    assert answer.status == 201, answer.raw
    return answer.json


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"usages": []}, "spec.usages: Required value"),
        ({"usages": ["client auth", "client auth"]}, 'spec.usages[1]: Duplicate value: "client auth"'),
        ({"usages": ["flying"]}, 'spec.usages[0]: Unsupported value: "flying": supported values: "any", '),
        ({"signerName": ""}, "spec.signerName: Required value"),
        (
            {"signerName": "nobody"},
            'spec.signerName: Invalid value: "nobody": must be a fully qualified domain and path of the form '
            "'example.com/signer-name'",
        ),
        (
            {"signerName": "local/x"},
            'spec.signerName: Invalid value: "local": should be a domain with at least two segments separated by dots',
        ),
        ({"signerName": "a_.b/x"}, 'spec.signerName: Invalid value: "a_.b": validating label "a_": '),
        (
            {"signerName": "kubernetes.io/legacy-unknown"},
            'Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version',
        ),
        (
            {"expirationSeconds": 599},
            "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)",
        ),
        (
            {"request": base64.b64encode(b"x").decode(), "signerName": "example.com/x"},
            "PEM block type must be CERTIFICATE REQUEST",
        ),
    ],
)
def test_what_is_wrong_with_a_request_is_said_in_upstreams_words(
    api: Any, change: dict[str, Any], said: str
) -> None:
    answer = api.post(CSR, body(**change))
    assert answer.status == 422, answer.raw
    assert said in answer.message


def test_who_asks_is_written_by_the_server_and_the_table_shows_it(api: Any) -> None:
    asked = body(username="root", groups=["system:masters"], extra={"x": ["y"]}, uid="0")
    asked["status"] = APPROVED["status"]
    answer = asyncio.run(api.ask("POST", CSR, asked, user=User("ann")))
    assert answer.status == 403  # nobody may ask without a right
    made = asyncio.run(
        api.ask("POST", CSR, asked, user=User("ann", ("system:masters",), "uid-1", {"s": ("a",)}))
    ).json
    spec = made["spec"]
    said = (spec["username"], spec["groups"], spec["uid"], spec["extra"])
    assert said == ("ann", ["system:masters"], "uid-1", {"s": ["a"]})
    assert made["status"] == {}
    table = api.get(CSR, accept="application/json;as=Table;v=v1;g=meta.k8s.io").json
    assert table["rows"][0]["cells"][2:] == [CLIENT, "ann", "<none>", "Pending"]


def test_a_request_stays_as_it_was_asked_and_only_approval_approves(api: Any) -> None:
    make(api, CSR, body())
    changed = api.patch(f"{CSR}/r", {"spec": {"signerName": "example.com/x"}, **APPROVED}).json
    assert changed["spec"]["signerName"] == CLIENT
    assert changed["status"] == {}
    refused = api.patch(f"{CSR}/r/status", APPROVED)
    assert refused.status == 422
    assert 'Forbidden: updates may not add a condition of type "Approved"' in refused.message
    both = [*APPROVED["status"]["conditions"], {"type": "Denied", "status": "True"}]
    refused = api.patch(f"{CSR}/r/approval", {"status": {"conditions": both}})
    assert "Approved and Denied conditions are mutually exclusive" in refused.message
    wrong = [{"type": "Approved", "status": "False"}]
    refused = api.patch(f"{CSR}/r/approval", {"status": {"conditions": wrong}})
    assert 'Unsupported value: "False": supported values: "True"' in refused.message
    assert api.patch(f"{CSR}/r/approval", APPROVED).status == 200
    removed = api.patch(f"{CSR}/r/approval", {"status": {"conditions": []}})
    assert 'updates may not remove a condition of type "Approved"' in removed.message
    issued = api.patch(f"{CSR}/r/approval", {"status": {"certificate": "eA=="}}).json
    assert "certificate" not in issued["status"]
    refused = api.patch(f"{CSR}/r/status", {"status": {"certificate": "eA=="}})
    assert "must contain at least one CERTIFICATE PEM block" in refused.message


def grant(api: Any, name: str, verb: str, resource: str, *names: str) -> None:
    rule = {"apiGroups": ["certificates.k8s.io"], "resources": [resource], "verbs": [verb]}
    role = {"metadata": {"name": name}, "rules": [{**rule, **({"resourceNames": names} if names else {})}]}
    make(api, f"{RBAC}/clusterroles", role)
    subject = {"kind": "User", "name": "ann"}
    ref = {"kind": "ClusterRole", "name": name}
    binding = {"metadata": {"name": name}, "roleRef": ref, "subjects": [subject]}
    make(api, f"{RBAC}/clusterrolebindings", binding)


@pytest.mark.parametrize(
    ("verb", "part", "change"),
    [
        ("approve", "approval", APPROVED),
        ("sign", "status", {"status": {"conditions": [{"type": "Failed", "status": "True"}]}}),
    ],
)
@pytest.mark.parametrize("allowed", [CLIENT, "kubernetes.io/*"])
def test_who_approves_or_signs_needs_the_right_for_the_signer(
    secured_api: Any, verb: str, part: str, change: Any, allowed: str
) -> None:
    api = secured_api
    make(api, CSR, body())
    grant(api, "writes", "patch", f"certificatesigningrequests/{part}")

    def write() -> Any:
        return asyncio.run(api.ask("PATCH", f"{CSR}/r/{part}", change, user=ANN, **MERGE))

    refused = write()
    assert refused.status == 403
    why = f'user not permitted to {verb} requests with signerName "{CLIENT}"'
    assert refused.message.endswith(why), refused.message
    grant(api, "signer", verb, "signers", allowed)
    assert write().status == 200


def test_nobody_gets_a_client_certificate_of_the_masters(api: Any) -> None:
    refused = api.post(CSR, body(request=pem("ann", "system:masters")))
    assert refused.status == 403
    assert refused.message.endswith(f"use of {CLIENT} signer with system:masters group is not allowed")
    make(api, CSR, body(request=pem("ann", "system:masters"), signerName="example.com/x"))


def test_a_node_asks_for_certificates_of_its_own_name(secured_api: Any) -> None:
    node = User("system:node:n1", ("system:nodes", "system:authenticated"))

    def ask(name: str) -> Any:
        request = pem(f"system:node:{name}", "system:nodes")
        asked = body(name, request=request, signerName="kubernetes.io/kube-apiserver-client-kubelet")
        return asyncio.run(secured_api.ask("POST", CSR, asked, user=node))

    assert ask("n1").status == 201
    refused = ask("n2")
    assert refused.status == 403
    assert refused.message.endswith("can only create a node CSR with CN=system:node:n1")
