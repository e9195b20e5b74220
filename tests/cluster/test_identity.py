"""Unmodified kubectl approves certificates and makes tokens, and a node reads its own pods' secrets alone."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.clusters import Cluster, ProaCommand

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]


def apply(cluster: Cluster, obj: Any) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(obj))


def write_key(path: Path, name: str, group: str) -> str:
    """Make a key, and return base64 of a signing request for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    attributes = ((NameOID.ORGANIZATION_NAME, group), (NameOID.COMMON_NAME, name))
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()


def request_certificate(cluster: Cluster, name: str, request: str) -> None:
    spec = {
        "request": request,
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"],
        "expirationSeconds": 3600,
    }
    kind = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest"}
    apply(cluster, {**kind, "metadata": {"name": name}, "spec": spec})


def test_an_approved_certificate_lets_its_owner_in_and_rbac_decides(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    # given
    request_certificate(cluster, "ann", write_key(tmp_path / "ann.key", "ann", "dev"))
    assert "Pending" in cluster.kubectl("get", "csr", "ann").stdout
    # when
    cluster.kubectl("certificate", "approve", "ann")
    issued = ("--for=jsonpath={.status.certificate}", "--timeout=120s")
    cluster.kubectl("wait", "csr", "ann", *issued)
    # then
    assert "Approved,Issued" in cluster.kubectl("get", "csr", "ann").stdout
    csr = json.loads(cluster.kubectl("get", "csr", "ann", "-o", "json").stdout)
    (tmp_path / "ann.crt").write_bytes(base64.b64decode(csr["status"]["certificate"]))
    config = json.loads(cluster.kubectl("config", "view", "--raw", "-o", "json").stdout)
    files = {"client-certificate": str(tmp_path / "ann.crt"), "client-key": str(tmp_path / "ann.key")}
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps({**config, "users": [{"name": "proa", "user": files}]}))

    def as_ann(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [cluster.kubectl_path, "--kubeconfig", str(file), "-n", namespace, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    whoami = json.loads(as_ann("auth", "whoami", "-o", "json").stdout)["status"]["userInfo"]
    assert (whoami["username"], whoami["groups"]) == ("ann", ["dev", "system:authenticated"])
    assert "Forbidden" in as_ann("get", "pods").stderr
    cluster.kubectl("-n", namespace, "create", "rolebinding", "dev", "--group=dev", "--clusterrole=view")
    assert as_ann("get", "pods").returncode == 0


def test_a_denied_certificate_is_not_made(cluster: Cluster, tmp_path: Path) -> None:
    request_certificate(cluster, "eve", write_key(tmp_path / "eve.key", "eve", "dev"))
    cluster.kubectl("certificate", "deny", "eve")
    assert "Denied" in cluster.kubectl("get", "csr", "eve").stdout


def test_kubectl_makes_tokens_and_a_secret_gets_one(cluster: Cluster, namespace: str) -> None:
    token = cluster.kubectl("-n", namespace, "create", "token", "default", "--duration=10m").stdout.strip()
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    command = ("create", "-o", "json", "-f", "-")
    status = json.loads(cluster.kubectl(*command, stdin=json.dumps(review)).stdout)["status"]
    assert status["user"]["username"] == f"system:serviceaccount:{namespace}:default"
    metadata = {
        "name": "kept",
        "namespace": namespace,
        "annotations": {"kubernetes.io/service-account.name": "default"},
    }
    kind = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token"}
    apply(cluster, {**kind, "metadata": metadata})
    filled = ("--for=jsonpath={.data.token}", "--timeout=120s")
    cluster.kubectl("-n", namespace, "wait", "secret", "kept", *filled)
    secret = json.loads(cluster.kubectl("-n", namespace, "get", "secret", "kept", "-o", "json").stdout)
    assert {"token", "ca.crt", "namespace"} <= secret["data"].keys()
    review["spec"]["token"] = base64.b64decode(secret["data"]["token"]).decode()  # type: ignore[index]
    status = json.loads(cluster.kubectl(*command, stdin=json.dumps(review)).stdout)["status"]
    assert status["authenticated"]


def test_a_node_is_refused_what_its_pods_do_not_name(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("-n", namespace, "create", "secret", "generic", "private", "--from-literal=a=b")
    node = ("--as", "system:node:proa-1", "--as-group", "system:nodes")
    refused = cluster.kubectl("-n", namespace, "get", "secret", "private", *node, check=False)
    assert "no relationship found between node 'proa-1' and this object" in refused.stderr
    assert cluster.kubectl("get", "node", "proa-1", *node).returncode == 0
    label = ("label", "node", "proa-1", "node-restriction.kubernetes.io/zone=a")
    assert "is not allowed to modify labels" in cluster.kubectl(*label, *node, check=False).stderr


def test_an_audited_cluster_keeps_who_did_what_over_restarts(
    start_cluster: Callable[[ProaCommand], Cluster], tmp_path: Path
) -> None:
    log, proa = tmp_path / "audit.log", ProaCommand(tmp_path / "home", sys.executable)
    cluster = start_cluster(proa)
    proa("down")
    assert not log.exists()
    proa("up", "--detach", "--audit-policy", "default", "--audit-log", str(log))
    cluster.kubectl("create", "secret", "generic", "s", "--from-literal=password=hunter2")
    proa("down")
    events = [json.loads(line) for line in log.read_text().splitlines()]
    (made,) = (e for e in events if e["verb"] == "create" and e["objectRef"].get("resource") == "secrets")
    assert made["user"]["username"] == "kubernetes-admin"
    assert made["sourceIPs"] == ["127.0.0.1"]
    assert "hunter2" not in log.read_text()
    before = log.stat().st_size
    proa("up", "--detach")
    proa("down")
    assert log.stat().st_size > before
