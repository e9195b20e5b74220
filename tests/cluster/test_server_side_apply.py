"""kubectl applies on the server's side: managers share an object, and who loses a field is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.clusters import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]


def config_map(**data: str) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"}, "data": data})


DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: python:3
        ports: [{containerPort: 8000}]
"""


def apply(
    cluster: Cluster, namespace: str, manifest: str, *arguments: str, check: bool = True
) -> tuple[str, str, int]:
    """Run `kubectl apply --server-side` and return both streams and the exit code."""
    done = cluster.kubectl(
        "apply", "--server-side", "-n", namespace, "-f", "-", *arguments, stdin=manifest, check=check
    )
    return done.stdout, done.stderr, done.returncode


def managers(obj: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the sets of fields by manager and operation."""
    return {(e["manager"], e["operation"]): e["fieldsV1"] for e in obj["metadata"].get("managedFields", [])}


def shown(cluster: Cluster, namespace: str, *what: str) -> dict[str, Any]:
    return cluster.get(*what, "-n", namespace, "--show-managed-fields")


def test_applying_creates_and_applying_again_changes_nothing(cluster: Cluster, namespace: str) -> None:
    assert "deployment.apps/web serverside-applied" in apply(cluster, namespace, DEPLOYMENT)[0]
    first = shown(cluster, namespace, "deployment", "web")
    assert ("kubectl", "Apply") in managers(first)
    fields = managers(first)["kubectl", "Apply"]["f:spec"]
    assert fields["f:replicas"] == {}
    ports = fields["f:template"]["f:spec"]["f:containers"]['k:{"name":"web"}']["f:ports"]
    assert list(ports) == ['k:{"containerPort":8000,"protocol":"TCP"}']
    apply(cluster, namespace, DEPLOYMENT)
    again = shown(cluster, namespace, "deployment", "web")
    assert managers(again)["kubectl", "Apply"] == managers(first)["kubectl", "Apply"]
    assert again["metadata"]["generation"] == first["metadata"]["generation"]
    diff = cluster.kubectl("diff", "--server-side", "-n", namespace, "-f", "-", stdin=DEPLOYMENT, check=False)
    assert (diff.stdout, diff.returncode) == ("", 0)


def test_a_second_manager_conflicts_until_it_forces(cluster: Cluster, namespace: str) -> None:
    apply(cluster, namespace, config_map(a="1", b="1"), "--field-manager=one")
    _, said, code = apply(cluster, namespace, config_map(a="2", c="2"), "--field-manager=two", check=False)
    assert code == 1
    assert 'Apply failed with 1 conflict: conflict with "one": .data.a' in said
    apply(cluster, namespace, config_map(a="2", c="2"), "--field-manager=two", "--force-conflicts")
    found = shown(cluster, namespace, "configmap", "shared")
    assert found["data"] == {"a": "2", "b": "1", "c": "2"}
    assert managers(found) == {
        ("one", "Apply"): {"f:data": {"f:b": {}}},
        ("two", "Apply"): {"f:data": {"f:a": {}, "f:c": {}}},
    }


def test_a_field_that_nobody_applies_any_more_goes(cluster: Cluster, namespace: str) -> None:
    apply(cluster, namespace, config_map(a="1", b="1"), "--field-manager=one")
    apply(cluster, namespace, config_map(b="1"), "--field-manager=two")
    apply(cluster, namespace, config_map(), "--field-manager=one")
    assert cluster.get("configmap", "shared", "-n", namespace)["data"] == {"b": "1"}


def test_a_dry_run_shows_and_stores_nothing(cluster: Cluster, namespace: str) -> None:
    assert (
        "serverside-applied (server dry run)"
        in apply(cluster, namespace, config_map(a="1"), "--dry-run=server")[0]
    )
    gone = cluster.kubectl("get", "configmap", "shared", "-n", namespace, check=False)
    assert "not found" in gone.stderr
    apply(cluster, namespace, config_map(a="1"))
    changed = config_map(a="2")
    diff = cluster.kubectl("diff", "--server-side", "-n", namespace, "-f", "-", stdin=changed, check=False)
    assert diff.returncode == 1
    assert '+  a: "2"' in diff.stdout


def test_what_was_applied_by_the_client_can_be_applied_by_the_server(
    cluster: Cluster, namespace: str
) -> None:
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=config_map(a="1", b="1"))
    before = shown(cluster, namespace, "configmap", "shared")
    assert [key[0] for key in managers(before)] == ["kubectl-client-side-apply"]
    apply(cluster, namespace, config_map(a="2"))
    found = shown(cluster, namespace, "configmap", "shared")
    assert found["data"]["a"] == "2"
    assert managers(found)["kubectl", "Apply"]["f:data"] == {"f:a": {}}


def test_a_typo_is_refused(cluster: Cluster, namespace: str) -> None:
    manifest = DEPLOYMENT.replace("replicas:", "replicaz:")
    _, said, code = apply(cluster, namespace, manifest, "--validate=false", check=False)
    assert code == 1
    assert ".spec.replicaz: field not declared in schema" in said


def test_scaling_and_status_are_managers_of_their_own(cluster: Cluster, namespace: str) -> None:
    apply(cluster, namespace, DEPLOYMENT)
    cluster.kubectl("scale", "deployment", "web", "-n", namespace, "--replicas=1")
    found = shown(cluster, namespace, "deployment", "web")
    scaled = [e for e in found["metadata"]["managedFields"] if e.get("subresource") == "scale"]
    assert [e["fieldsV1"] for e in scaled] == [{"f:spec": {"f:replicas": {}}}]
    _, said, _ = apply(cluster, namespace, DEPLOYMENT, check=False)
    assert 'conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas' in said
