"""Unmodified kubectl finds out who may do what, and gives and takes rights."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.clusters import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]


@pytest.fixture
def kubectl(cluster: Cluster, namespace: str) -> Callable[..., str]:
    """Run kubectl as the administrator, in the test's namespace."""

    def run(*arguments: str, stdin: str | None = None) -> str:
        return cluster.kubectl("-n", namespace, *arguments, stdin=stdin).stdout

    return run


def can(cluster: Cluster, namespace: str, who: str, *what: str) -> bool:
    """Ask `kubectl auth can-i` as somebody else."""
    asked = cluster.kubectl("-n", namespace, "auth", "can-i", *what, "--as", who, check=False)
    assert asked.stdout.strip() in ("yes", "no"), asked.stderr
    return asked.stdout.strip() == "yes"


@pytest.fixture
def ask_with_token(cluster: Cluster, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run kubectl with a token and nothing else that could be a credential."""
    shown = cluster.kubectl("config", "view", "--raw", "-o", "json").stdout
    only_cluster = {**json.loads(shown), "users": [{"name": "proa", "user": {}}]}
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(only_cluster))

    def run(token: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [cluster.kubectl_path, "--kubeconfig", str(file), "--token", token, *arguments]
        environment = {k: v for k, v in os.environ.items() if k != "KUBECONFIG"}
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, env=environment
        )

    return run


def test_who_am_i(cluster: Cluster) -> None:
    found = json.loads(cluster.kubectl("auth", "whoami", "-o", "json").stdout)
    assert found["status"]["userInfo"]["username"] == "kubernetes-admin"
    asked = ("auth", "whoami", "-o", "json", "--as", "ann", "--as-group", "dev")
    assert json.loads(cluster.kubectl(*asked).stdout)["status"]["userInfo"] == {
        "username": "ann",
        "groups": ["dev", "system:authenticated"],
    }


def test_a_role_bound_by_kubectl_allows_what_it_says(
    cluster: Cluster, namespace: str, kubectl: Callable[..., str]
) -> None:
    assert can(cluster, namespace, "system:admin", "list", "pods") is False, "a name alone gives nothing"
    assert not can(cluster, namespace, "ann", "list", "pods")
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods,pods/log")
    kubectl("create", "rolebinding", "ann-reads", "--role=reader", "--user=ann")
    assert can(cluster, namespace, "ann", "list", "pods")
    assert can(cluster, namespace, "ann", "get", "pods", "--subresource=log")
    assert not can(cluster, namespace, "ann", "delete", "pods")
    assert not can(cluster, "default", "ann", "list", "pods")
    kubectl("get", "pods", "--as", "ann")
    refused = cluster.kubectl("-n", namespace, "get", "secrets", "--as", "ann", check=False)
    assert (
        f'User "ann" cannot list resource "secrets" in API group "" in the namespace "{namespace}"'
        in refused.stderr
    )
    listed = kubectl("auth", "can-i", "--list", "--as", "ann")
    assert "pods/log" in listed
    assert "[get list]" in listed


def test_cluster_roles_count_everywhere(
    cluster: Cluster, namespace: str, kubectl: Callable[..., str]
) -> None:
    name = f"nodes-{namespace}"
    try:
        kubectl(
            "create", "clusterrole", name, "--verb=get", "--resource=nodes", f"--resource-name={namespace}"
        )
        kubectl("create", "clusterrolebinding", name, f"--clusterrole={name}", f"--group={name}")
        assert (
            kubectl("auth", "can-i", "get", f"nodes/{namespace}", "--as=x", f"--as-group={name}").strip()
            == "yes"
        )
        other = cluster.kubectl(
            "auth", "can-i", "get", "nodes/other", "--as=x", f"--as-group={name}", check=False
        )
        assert other.stdout.strip() == "no"
    finally:
        kubectl("delete", "clusterrole,clusterrolebinding", name)


def test_the_token_of_an_account_is_refused_until_a_role_is_bound_to_it(
    namespace: str, kubectl: Callable[..., str], ask_with_token: Callable[..., Any]
) -> None:
    kubectl("create", "serviceaccount", "builder")
    token = kubectl("create", "token", "builder").strip()
    refused = ask_with_token(token, "-n", namespace, "get", "configmaps")
    user = f"system:serviceaccount:{namespace}:builder"
    assert f'configmaps is forbidden: User "{user}" cannot list resource "configmaps"' in refused.stderr
    kubectl("create", "rolebinding", "b", "--clusterrole=view", f"--serviceaccount={namespace}:builder")
    allowed = ask_with_token(token, "-n", namespace, "get", "configmaps", "-o", "name")
    assert allowed.stdout.split() == ["configmap/kube-root-ca.crt"]
    assert "Forbidden" in ask_with_token(token, "-n", namespace, "get", "secrets").stderr
    assert "Forbidden" in ask_with_token(token, "get", "configmaps", "-A").stderr


def test_nobody_gives_what_they_do_not_have(
    cluster: Cluster, namespace: str, kubectl: Callable[..., str]
) -> None:
    kubectl("create", "rolebinding", "ann-admin", "--clusterrole=admin", "--user=ann")
    kubectl("create", "role", "pods", "--verb=get", "--resource=pods", "--as", "ann")
    refused = cluster.kubectl(
        "-n",
        namespace,
        "create",
        "role",
        "nodes",
        "--verb=get",
        "--resource=nodes",
        "--as",
        "ann",
        check=False,
    )
    assert "is attempting to grant RBAC permissions not currently held" in refused.stderr
    assert '{APIGroups:[""], Resources:["nodes"], Verbs:["get"]}' in refused.stderr
    refused = cluster.kubectl(
        "-n", namespace, "create", "rolebinding", "all", "--clusterrole=cluster-admin", "--user=ann", "--as", "ann",
        check=False,
    )  # fmt: skip
    assert "is attempting to grant RBAC permissions not currently held" in refused.stderr


def test_reconcile_completes_roles_and_bindings(namespace: str, kubectl: Callable[..., str]) -> None:
    manifest = f"""
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: r, namespace: {namespace}}}
rules: [{{apiGroups: [""], resources: [pods], verbs: [get]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: b, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: ann}}]
"""
    kubectl("auth", "reconcile", "-f", "-", stdin=manifest)
    more = manifest.replace("verbs: [get]", "verbs: [list]").replace("name: ann", "name: bob")
    kubectl("auth", "reconcile", "-f", "-", stdin=more)
    role = json.loads(kubectl("get", "role", "r", "-o", "json"))
    assert sorted(verb for rule in role["rules"] for verb in rule["verbs"]) == ["get", "list"]
    binding = json.loads(kubectl("get", "rolebinding", "b", "-o", "json"))
    assert [subject["name"] for subject in binding["subjects"]] == ["ann", "bob"]
    other = more.replace("kind: Role, name: r}", "kind: ClusterRole, name: view}")
    kubectl("auth", "reconcile", "-f", "-", stdin=other)
    assert json.loads(kubectl("get", "rolebinding", "b", "-o", "json"))["roleRef"]["name"] == "view"


def test_roles_aggregate(namespace: str, kubectl: Callable[..., str]) -> None:
    name = f"boats-{namespace}"
    manifest = f"""
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {name}, labels: {{rbac.authorization.k8s.io/aggregate-to-view: "true"}}}}
rules: [{{apiGroups: [example.com], resources: [{name}], verbs: [get]}}]
"""
    try:
        kubectl("apply", "-f", "-", stdin=manifest)
        wanted = f"jsonpath={{.rules[?(@.resources[0]=='{name}')].verbs[0]}}=get"
        for role in ("view", "edit", "admin"):
            kubectl("wait", f"clusterrole/{role}", f"--for={wanted}", "--timeout=120s")
    finally:
        kubectl("delete", "clusterrole", name)
