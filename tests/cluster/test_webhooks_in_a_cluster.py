"""Webhooks in a real cluster: one that runs as a pod behind a Service, and one on the host, known by its URL."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.clusters import Cluster
from support.tls_server import Authority

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]
PROGRAM = Path(__file__).parent / "programs" / "admission_webhook.py"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def configure(cluster: Cluster, kind: str, namespace: str, config: dict[str, Any]) -> str:
    """Have ConfigMaps of a namespace go through a webhook; return the configuration's name."""
    webhook = {
        "name": "hook.test.example",
        "clientConfig": config,
        "rules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}
        ],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "objectSelector": {"matchLabels": {"look": "yes"}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    body = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": f"{namespace}-{kind.lower()}"},
        "webhooks": [webhook],
    }
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    return f"{kind}WebhookConfiguration/{namespace}-{kind.lower()}"


def make(
    cluster: Cluster, namespace: str, name: str, *, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Create a ConfigMap that webhooks look at."""
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {"look": "yes"}},
        "data": {"a": "b"},
    }
    return cluster.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(body), check=check)


def test_a_webhook_runs_as_a_pod_behind_a_service(
    cluster: Cluster, namespace: str, authority: Authority, tmp_path: Path
) -> None:
    pem = authority.write_server(tmp_path, f"hook.{namespace}.svc")
    cluster.kubectl("create", "-n", namespace, "configmap", "program", f"--from-file=hook.py={PROGRAM}")
    cluster.kubectl("create", "-n", namespace, "secret", "generic", "tls", f"--from-file=tls.pem={pem}")
    container = {
        "name": "hook",
        "image": "proa.local/python",
        "command": ["python", "/program/hook.py", "8443", "/tls/tls.pem"],
        "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
        "volumeMounts": [{"name": name, "mountPath": f"/{name}"} for name in ("program", "tls")],
    }
    volumes = [
        {"name": "program", "configMap": {"name": "program"}},
        {"name": "tls", "secret": {"secretName": "tls"}},
    ]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "hook", "namespace": namespace, "labels": {"app": "hook"}},
        "spec": {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 0},
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "hook", "namespace": namespace},
        "spec": {"selector": {"app": "hook"}, "ports": [{"port": 443, "targetPort": 8443}]},
    }
    for body in (pod, service):
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    cluster.kubectl("wait", "-n", namespace, "pod/hook", "--for=condition=Ready", "--timeout=120s")
    cluster.kubectl(
        "wait", "-n", namespace, "endpointslice", "-l", "kubernetes.io/service-name=hook",
        "--for=jsonpath={.endpoints[0].conditions.ready}=true", "--timeout=120s",
    )  # fmt: skip
    reference = {"namespace": namespace, "name": "hook"}
    changing = configure(
        cluster,
        "Mutating",
        namespace,
        {"service": {**reference, "path": "/change"}, "caBundle": authority.bundle},
    )
    denying = ""
    try:
        assert json.loads(make(cluster, namespace, "changed").stdout)["data"] == {"a": "b", "by": "webhook"}
        denying = configure(
            cluster,
            "Validating",
            namespace,
            {"service": {**reference, "path": "/deny"}, "caBundle": authority.bundle},
        )
        refused = make(cluster, namespace, "denied", check=False)
        assert (
            'admission webhook "hook.test.example" denied the request: denied by the webhook'
            in refused.stderr
        )
        cluster.kubectl("delete", "-n", namespace, "pod/hook", "--now")
        refused = make(cluster, namespace, "gone", check=False)
        assert 'failed calling webhook "hook.test.example": failed to call webhook: Post' in refused.stderr
    finally:
        cluster.kubectl("delete", changing, *([denying] if denying else []))


@pytest.fixture
def host_webhook(authority: Authority, tmp_path: Path) -> Iterator[int]:
    """Run the webhook on the host; return its port."""
    pem = authority.write_server(tmp_path, "127.0.0.1")
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), "0", str(pem)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.kill()


def test_a_webhook_on_the_host_is_known_by_its_url(
    cluster: Cluster, namespace: str, authority: Authority, host_webhook: int
) -> None:
    config = {"url": f"https://127.0.0.1:{host_webhook}/change", "caBundle": authority.bundle}
    changing = configure(cluster, "Mutating", namespace, config)
    try:
        assert json.loads(make(cluster, namespace, "changed").stdout)["data"] == {"a": "b", "by": "webhook"}
    finally:
        cluster.kubectl("delete", changing)
