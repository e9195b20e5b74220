"""Helm 4, through its own SDK: install, upgrade, roll back, uninstall a chart with hooks and a CRD; it waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.clusters import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]
CHART = str(Path(__file__).parent / "charts" / "quay")
WAITING: dict[str, Any] = {"wait": "watcher", "timeout": 90}
CRD = "moorings.quay.example"


@pytest.fixture
def helm(cluster: Cluster, namespace: str) -> Iterator[Any]:
    """Return Helm in the test's namespace; the chart's CRD, which Helm never deletes, goes after the test."""
    helm_python = pytest.importorskip(
        "helm_python", reason="not on this machine: the Helm SDK has no wheel for it"
    )
    with helm_python.Config(namespace=namespace, kubeconfig_path=str(cluster.kubeconfig)) as config:
        yield config
    cluster.kubectl("delete", "crd", CRD, "--ignore-not-found", "--timeout=120s")


def test_a_release_is_installed_upgraded_rolled_back_and_uninstalled(
    cluster: Cluster, namespace: str, helm: Any
) -> None:
    def get(*arguments: str) -> Any:
        return cluster.get("-n", namespace, *arguments)

    def greeting() -> str:
        found: str = get("configmap", "demo-settings")["data"]["greeting"]
        return found

    release = helm.install(CHART, "demo", {"replicas": 2}, **WAITING)
    assert (release["revision"], release["status"]) == (1, "deployed")
    assert get("deployment", "demo")["status"]["readyReplicas"] == 2, "Helm has waited for it"
    assert get("job", "demo-pre-install")["status"]["succeeded"] == 1

    release = helm.upgrade(CHART, "demo", {"replicas": 1, "greeting": "ahoy"}, **WAITING)
    assert (release["revision"], greeting()) == (2, "ahoy")
    logs = cluster.kubectl("-n", namespace, "logs", "job/demo-post-upgrade").stdout
    assert "post-upgrade of revision 2" in logs

    helm.rollback("demo", version=1)
    assert greeting() == "hello"
    history = [(entry["revision"], entry["status"]) for entry in helm.history("demo")]
    assert history == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    assert helm.get_values("demo") == {"replicas": 2}

    helm.uninstall("demo")
    assert helm.list() == []
    left = get("deployments,services,configmaps,secrets", "-l", "app.kubernetes.io/instance=demo")
    assert left["items"] == []
    history = get("secrets", "--field-selector", "type=helm.sh/release.v1")
    assert history["items"] == [], "the release's history is gone too"


def test_a_chart_brings_a_custom_kind_and_its_objects(cluster: Cluster, namespace: str, helm: Any) -> None:
    from helm_python import HelmError

    def moored(field: str) -> str:
        query = ("-n", namespace, "get", "moor/demo", "-o", f"jsonpath={{.spec.{field}}}")
        return cluster.kubectl(*query).stdout

    values: dict[str, Any] = {"replicas": 0}
    helm.install(CHART, "demo", values, **WAITING)
    assert cluster.get("crd", CRD)["spec"]["names"]["kind"] == "Mooring"
    assert (moored("lines"), moored("rope")) == ("2", "hemp"), "the server's default is there"

    tried = helm.upgrade(CHART, "demo", {**values, "lines": 5}, dry_run="server")
    assert "lines: 5" in tried["manifest"]
    assert moored("lines") == "2", "a dry run changes nothing"
    with pytest.raises(HelmError, match="a steel rope needs a second"):
        helm.upgrade(CHART, "demo", {**values, "lines": 1, "rope": "steel"}, **WAITING)
    assert moored("lines") == "2"

    helm.upgrade(CHART, "demo", {**values, "lines": 4, "rope": "steel"}, **WAITING)
    assert (moored("lines"), moored("rope")) == ("4", "steel")
    helm.rollback("demo", version=1)
    assert (moored("lines"), moored("rope")) == ("2", "hemp"), "what was removed has its default again"

    helm.uninstall("demo")
    assert cluster.get("-n", namespace, "moorings")["items"] == []
    assert cluster.get("crd", CRD)["metadata"]["name"] == CRD, "Helm leaves definitions alone"
