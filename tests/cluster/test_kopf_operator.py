"""An operator made with kopf works as on any Kubernetes: handlers, status, finalizer, events and admission webhooks."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.clusters import Cluster
from support.tls_server import Authority

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]
PROGRAM = Path(__file__).parent / "programs" / "berth_operator.py"
CRD = "berths.harbour.example"
Kubectl = Callable[..., str]

DEFINITION = f"""
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {CRD}}}
spec:
  group: harbour.example
  scope: Namespaced
  names: {{plural: berths, singular: berth, kind: Berth}}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {{status: {{}}}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {{type: object, properties: {{depth: {{type: integer}}}}}}
          status: {{type: object, x-kubernetes-preserve-unknown-fields: true}}
"""


def berth(name: str, spec: str = "{}") -> str:
    """Return a Berth's manifest."""
    return f"apiVersion: harbour.example/v1\nkind: Berth\nmetadata: {{name: {name}}}\nspec: {spec}\n"


@pytest.fixture
def kubectl(cluster: Cluster, namespace: str) -> Kubectl:
    """Return a function that runs a verb in the test's namespace and returns what it printed, errors with it."""

    def call(*arguments: str, stdin: str | None = None, check: bool = True) -> str:
        done = cluster.kubectl("-n", namespace, *arguments, stdin=stdin, check=check)
        return done.stdout + done.stderr

    return call


@pytest.fixture
def operator(cluster: Cluster, namespace: str, kubectl: Kubectl, tmp_path: Path) -> Iterator[Path]:
    """Run the operator, as a process on the host; return its log."""
    kubectl("apply", "-f", "-", stdin=DEFINITION)
    kubectl("wait", "--for=condition=established", f"crd/{CRD}", "--timeout=120s")
    log = tmp_path / "operator.log"
    command = [sys.executable, "-m", "kopf", "run", "--namespace", namespace, str(PROGRAM)]
    authority, trusted = Authority(), tmp_path / "authority.pem"
    trusted.write_bytes(base64.b64decode(authority.bundle))
    environment = {
        **os.environ,
        "LOGNAME": "berth",  # kopf asks for the user's name, and an ordinary user of the tests has no account
        "KUBECONFIG": str(cluster.kubeconfig),
        "SERVER_PEM": str(authority.write_server(tmp_path, "127.0.0.1")),
        "AUTHORITY_PEM": str(trusted),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            yield log
        finally:
            process.terminate()
            process.wait(30)
            for kind in ("validating", "mutating"):
                kubectl("delete", f"{kind}webhookconfiguration", CRD, "--ignore-not-found")
            kubectl(
                "patch",
                "berths",
                "--all",
                "--type=merge",
                "-p",
                '{"metadata":{"finalizers":null}}',
                check=False,
            )
            kubectl("delete", "crd", CRD, "--timeout=120s")


def test_a_kopf_operator_keeps_its_custom_resources(kubectl: Kubectl, operator: Path) -> None:
    def wait(what: str, condition: str) -> None:
        """Wait until `what` is there, then for the condition; a failure shows the operator's log."""
        for each in ("create", condition):
            done = kubectl("wait", what, f"--for={each}", "--timeout=120s", check=False)
            assert "met" in done, f"{done}\n{operator.read_text()}"

    def get_event(reason: str) -> str:
        deadline = time.monotonic() + 90
        while not (
            found := kubectl(
                "get", "events", f"--field-selector=reason={reason}", "--no-headers", "-o", "name"
            )
        ):
            assert time.monotonic() < deadline, operator.read_text()
        return kubectl("get", found.strip(), "-o", "jsonpath={.message}")

    for kind in ("validating", "mutating"):
        wait(f"{kind}webhookconfiguration/{CRD}", "jsonpath={.webhooks[0].clientConfig.url}")

    kubectl("create", "-f", "-", stdin=berth("north"))
    wait("berth/north", "jsonpath={.status.make.chart}=north-chart")
    found = kubectl("get", "berth/north", "-o", "jsonpath={.spec.depth} {.metadata.finalizers}")
    assert found == '3 ["harbour.example/berth-operator"]', "the mutating webhook and kopf have written these"
    assert kubectl("get", "configmap/north-chart", "-o", "jsonpath={.data.depth}") == "3"
    assert "the chart says 3 m" in get_event("Charted")

    assert "Warning: that is a deep berth" in kubectl("apply", "-f", "-", stdin=berth("north", "{depth: 21}"))
    wait("berth/north", "jsonpath={.status.charted}=21")
    assert kubectl("get", "configmap/north-chart", "-o", "jsonpath={.data.depth}") == "21"
    for verb in ("create", "apply"):
        refused = kubectl(verb, "-f", "-", stdin=berth("south", "{depth: 31}"), check=False)
        assert 'admission webhook "check.berths.harbour.example" denied the request' in refused, refused
        assert "no berth is 31 m deep" in refused

    assert "deleted" in kubectl("delete", "berth/north", "--timeout=120s")
    assert kubectl("get", "configmap/north-farewell", "-o", "jsonpath={.data.said}") == "fair winds"
    kubectl("wait", "configmap/north-chart", "--for=delete", "--timeout=120s")
