"""kubectl works with custom kinds as with built-in ones: defined, explained, applied, scaled, watched, gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from support.clusters import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]
Kubectl = Callable[..., str]
NAME = "certificates.pki.example"


@pytest.fixture
def kubectl(cluster: Cluster, namespace: str) -> Kubectl:
    """Return a function that runs a verb in the test's namespace and returns what it printed, errors with it."""

    def call(*arguments: str, stdin: str | None = None, check: bool = True) -> str:
        done = cluster.kubectl("-n", namespace, *arguments, stdin=stdin, check=check)
        return done.stdout + done.stderr

    return call


def make_large_field(depth: int, width: int) -> dict[str, Any]:
    """Return the schema of a field as large as those that embed a pod."""
    if not depth:
        return {
            "type": "string",
            "description": "A text that says what this field is about. " * 2,
            "maxLength": 200,
        }
    fields = {f"field{index}": make_large_field(depth - 1, width) for index in range(width)}
    return {"type": "object", "description": "A part of the whole.", "properties": fields}


def make_definition() -> dict[str, Any]:
    """Return a definition like cert-manager's, of more than 200 KB."""
    issuer = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "description": "Name of the issuer."},
            "kind": {"type": "string"},
        },
    }
    spec = {
        "type": "object",
        "description": "What is wanted of the certificate.",
        "required": ["secretName", "issuerRef"],
        "properties": {
            "secretName": {"type": "string", "description": "Name of the Secret to write."},
            "issuerRef": issuer,
            "dnsNames": {
                "type": "array",
                "items": {"type": "string", "format": "hostname"},
                "x-kubernetes-list-type": "set",
            },
            "replicas": {"type": "integer", "format": "int32", "minimum": 0, "default": 1},
            "usages": {"type": "array", "items": {"type": "string", "enum": ["signing", "server auth"]}},
            "large": make_large_field(3, 11),
        },
        "x-kubernetes-validations": [
            {"rule": "self.secretName == oldSelf.secretName", "message": "secretName is immutable"}
        ],
    }
    condition = {
        "type": "object",
        "required": ["type", "status"],
        "properties": {"type": {"type": "string"}, "status": {"type": "string", "enum": ["True", "False"]}},
    }
    conditions = {
        "type": "array",
        "items": condition,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    }
    status = {
        "type": "object",
        "properties": {
            "conditions": conditions,
            "replicas": {"type": "integer"},
            "selector": {"type": "string"},
        },
    }
    columns = [
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "Secret", "type": "string", "jsonPath": ".spec.secretName"},
        {"name": "Issuer", "type": "string", "jsonPath": ".spec.issuerRef.name", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "description": "A Certificate asks for a signed key.",
                "properties": {"spec": spec, "status": status},
            }
        },
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": columns,
        "selectableFields": [{"jsonPath": ".spec.secretName"}],
    }
    names = {"plural": "certificates", "kind": "Certificate", "shortNames": ["cert"], "categories": ["pki"]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {"group": "pki.example", "scope": "Namespaced", "names": names, "versions": [version]},
    }


CERTIFICATE = """
apiVersion: pki.example/v1
kind: Certificate
metadata: {name: web}
spec:
  secretName: web-tls
  issuerRef: {name: ca}
  dnsNames: [web.example]
"""


@pytest.fixture
def defined(kubectl: Kubectl) -> Any:
    """Define certificates; what is left of them goes after the test."""
    text = json.dumps(make_definition())
    assert len(text) > 200_000
    assert f"{NAME} serverside-applied" in kubectl("apply", "--server-side", "-f", "-", stdin=text)
    kubectl("wait", "--for=condition=established", f"crd/{NAME}", "--timeout=120s")
    yield
    kubectl("delete", "crd", NAME, "--ignore-not-found", "--timeout=120s")


@pytest.mark.usefixtures("defined")
def test_a_custom_kind_has_all_of_kubectls_verbs(kubectl: Kubectl) -> None:
    assert "web created" in kubectl("apply", "-f", "-", stdin=CERTIFICATE)
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=CERTIFICATE)
    assert kubectl("get", "cert").split()[:6] == ["NAME", "READY", "SECRET", "AGE", "web", "web-tls"]
    assert "ISSUER" in kubectl("get", "cert", "-o", "wide")
    assert "certificate.pki.example/web" in kubectl("get", "pki", "-o", "name")
    assert kubectl("get", "cert", "--field-selector=spec.secretName=other", "-o", "name") == ""
    assert "Name of the Secret to write." in kubectl("explain", "certificate.spec.secretName")
    assert "scaled" in kubectl("scale", "certificate/web", "--replicas=3")
    assert kubectl("get", "certificate/web", "-o", "jsonpath={.spec.replicas}") == "3"
    status = json.dumps({"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    kubectl("patch", "cert/web", "--subresource=status", "--type=merge", "-p", status)
    kubectl("wait", "--for=condition=Ready", "cert/web", "--timeout=120s")
    assert kubectl("get", "cert", "--no-headers").split()[:3] == ["web", "True", "web-tls"]
    assert "labeled" in kubectl("label", "cert/web", "a=b")
    assert "Ready" in kubectl("describe", "cert/web")
    assert "serverside-applied" in kubectl(
        "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=CERTIFICATE
    )
    assert "deleted" in kubectl("delete", "cert", "web")


@pytest.mark.usefixtures("defined")
def test_what_breaks_the_schema_is_refused_by_kubectl_and_by_the_server(kubectl: Kubectl) -> None:
    unknown = CERTIFICATE.replace("dnsNames", "dnsName")
    assert 'unknown field "spec.dnsName"' in kubectl("apply", "-f", "-", stdin=unknown, check=False)
    twice = CERTIFICATE.replace("[web.example]", "[web.example, web.example]")
    assert 'spec.dnsNames[1]: Duplicate value: "web.example"' in kubectl(
        "create", "-f", "-", stdin=twice, check=False
    )
    kubectl("create", "-f", "-", stdin=CERTIFICATE)
    patch = '{"spec":{"secretName":"other"}}'
    assert "spec: Invalid value: secretName is immutable" in kubectl(
        "patch", "cert/web", "--type=merge", "-p", patch, check=False
    )
    assert "application/strategic-merge-patch+json" not in kubectl(
        "patch", "cert/web", "--type=merge", "-p", "{}"
    )


@pytest.mark.usefixtures("defined")
def test_custom_objects_are_collected_with_their_owners_and_go_with_their_definition(
    kubectl: Kubectl,
) -> None:
    kubectl("create", "-f", "-", stdin=CERTIFICATE)
    uid = kubectl("get", "cert/web", "-o", "jsonpath={.metadata.uid}")
    owner = {"apiVersion": "pki.example/v1", "kind": "Certificate", "name": "web", "uid": uid}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "web-tls", "ownerReferences": [owner]},
    }
    kubectl("create", "-f", "-", stdin=json.dumps(secret))
    kubectl("delete", "crd", NAME, "--timeout=120s")
    kubectl("wait", "--for=delete", "secret/web-tls", "--timeout=120s")
    assert "could not find the requested resource" in kubectl("get", "cert", check=False)
