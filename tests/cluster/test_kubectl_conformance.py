"""What upstream's conformance suite asks of kubectl that test_workloads.py does not.

Follows test/e2e/kubectl/kubectl.go.
"""

from __future__ import annotations

import json

import pytest

from support.clusters import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]
IMAGE, OTHER = "proa.local/python", "python:3-slim"


def test_one_pod(cluster: Cluster, namespace: str) -> None:
    """[sig-cli] Kubectl client Kubectl run pod should create a pod from an image when restart is Never [Conformance]
    [sig-cli] Kubectl client Kubectl server-side dry-run should check if kubectl can dry-run update Pods [Conformance]
    [sig-cli] Kubectl client Kubectl label should update the label on a resource [Conformance]
    [sig-cli] Kubectl client Kubectl replace should update a single-container pod's image [Conformance]"""

    def kubectl(*arguments: str, stdin: str | None = None) -> str:
        return cluster.kubectl("-n", namespace, *arguments, stdin=stdin).stdout

    def image() -> str:
        return kubectl("get", "pod", "one", "-o", "jsonpath={.spec.containers[0].image}")

    ends_at_once = "trap exit TERM; sleep 60 & wait"
    run = ("run", "one", "--restart=Never", f"--image={IMAGE}", "--labels=run=one")
    kubectl(*run, "--command", "--", "sh", "-c", ends_at_once)
    found = cluster.get("pod", "one", "-n", namespace)["spec"]
    assert (found["restartPolicy"], image()) == ("Never", IMAGE)

    patch = {"spec": {"containers": [{"name": "one", "image": OTHER}]}}
    kubectl("patch", "pod", "one", "-p", json.dumps(patch), "--dry-run=server")
    assert image() == IMAGE

    kubectl("label", "pods", "one", "testing-label=testing-label-value")
    assert "testing-label-value" in kubectl("get", "pod", "one", "-L", "testing-label")
    kubectl("label", "pods", "one", "testing-label-")
    assert "testing-label-value" not in kubectl("get", "pod", "one", "-L", "testing-label")

    changed = kubectl("get", "pod", "one", "-o", "json").replace(f'"image": "{IMAGE}"', f'"image": "{OTHER}"')
    kubectl("replace", "-f", "-", stdin=changed)
    assert image() == OTHER
    kubectl("delete", "pod", "one", "--now")


def test_difference_of_deployments(cluster: Cluster, namespace: str) -> None:
    """[sig-cli] Kubectl client Kubectl diff should check if kubectl diff finds a difference for Deployments
    [Conformance]"""
    labels = {"app": "httpd"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "httpd", "image": IMAGE}]}}
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "httpd", "namespace": namespace},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template},
    }
    text = json.dumps(manifest)
    cluster.kubectl("create", "-f", "-", stdin=text)
    shown = cluster.kubectl("diff", "-f", "-", stdin=text.replace(IMAGE, OTHER), check=False)
    assert shown.returncode == 1
    assert f"-      - image: {IMAGE}" in shown.stdout
    assert f"+      - image: {OTHER}" in shown.stdout
