"""Helm 4, through its own SDK: install, upgrade, roll back and uninstall a chart with hooks, with its waiting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.clusters import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]
CHART = str(Path(__file__).parent / "charts" / "quay")
WAITING: dict[str, Any] = {"wait": "watcher", "timeout": 90}


def test_a_release_is_installed_upgraded_rolled_back_and_uninstalled(
    cluster: Cluster, namespace: str
) -> None:
    helm_python = pytest.importorskip(
        "helm_python", reason="not on this machine: the Helm SDK has no wheel for it"
    )

    def get(*arguments: str) -> Any:
        return cluster.get("-n", namespace, *arguments)

    def greeting() -> str:
        found: str = get("configmap", "demo-settings")["data"]["greeting"]
        return found

    with helm_python.Config(namespace=namespace, kubeconfig_path=str(cluster.kubeconfig)) as helm:
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
