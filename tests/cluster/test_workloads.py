"""Workloads of long-running pods, on real ones: their controllers, and every verb that kubectl has for them.

Follows test/e2e/apps/{statefulset,daemon_set,rc,deployment}.go and test/e2e/kubectl/kubectl.go.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from support.clusters import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]
IMAGE, MISSING = "proa.local/python", "registry.invalid/none:1"
SECONDS = 120


class Kubectl:
    """kubectl in a namespace of its own."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace

    def __call__(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments, stdin=stdin, check=check).stdout

    def apply(self, manifest: dict[str, Any]) -> None:
        self("apply", "-f", "-", stdin=json.dumps(manifest))

    def patch(self, what: str, patch: dict[str, Any], *options: str) -> None:
        self("patch", what, "-p", json.dumps(patch), *options)

    def get(self, *arguments: str) -> dict[str, Any]:
        return self.cluster.get(*arguments, "-n", self.namespace)

    def pods(self, **labels: str) -> dict[str, dict[str, Any]]:
        """Return the pods that are not going, by name."""
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        found = self.get("pods", "-l", selector)["items"]
        return {pod["metadata"]["name"]: pod for pod in found if "deletionTimestamp" not in pod["metadata"]}

    def rolled_out(self, what: str) -> str:
        return self("rollout", "status", what, f"--timeout={SECONDS}s")

    def fail_pod(self, name: str) -> None:
        """Say of a pod what the kubelet does of one that it evicts."""
        self.patch(
            f"pod/{name}", {"status": {"phase": "Failed", "reason": "Evicted"}}, "--subresource=status"
        )

    def revisions(self, what: str) -> list[str]:
        """Return the revisions that `rollout history` lists."""
        return [
            line.split()[0] for line in self("rollout", "history", what).splitlines() if line[:1].isdigit()
        ]

    def until(self, is_true: Callable[[], Any]) -> Any:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            if found := is_true():
                return found
            time.sleep(0.1)
        raise AssertionError(f"not within {SECONDS} s\n{self('get', 'all')}\n{self('get', 'events')}")


@pytest.fixture
def kubectl(cluster: Cluster, namespace: str) -> Kubectl:
    return Kubectl(cluster, namespace)


def make(kind: str, name: str, script: str = "", image: str = IMAGE, **spec: Any) -> dict[str, Any]:
    """Return a manifest whose pods run a shell script and then sleep."""
    labels = {"app": name}
    command = ["sh", "-c", f"{script or 'true'}; exec sleep 600"]
    container = {"name": "main", "image": image, "command": command}
    template = {
        "metadata": {"labels": labels},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
    }
    is_old = kind == "ReplicationController"
    selector = labels if is_old else {"matchLabels": labels}
    return {
        "apiVersion": "v1" if is_old else "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": labels},
        "spec": {"selector": selector, "template": template, **spec},
    }


def variables(pods: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return what the variable V is in each pod."""
    found = {name: pod["spec"]["containers"][0].get("env") or [{"value": ""}] for name, pod in pods.items()}
    return {name: env[0]["value"] for name, env in sorted(found.items())}


def uids(pods: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: pod["metadata"]["uid"] for name, pod in pods.items()}


def test_a_stateful_set(kubectl: Kubectl) -> None:
    """[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should perform rolling updates and
    roll backs of template modifications [Conformance]
    [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should perform canary updates and phased
    rolling updates of template modifications [Conformance]
    [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] Should recreate evicted statefulset
    [Conformance]"""
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    stateful_set = make(
        "StatefulSet", "db", "hostname >> /data/starts", replicas=3, volumeClaimTemplates=[claim]
    )
    container = stateful_set["spec"]["template"]["spec"]["containers"][0]
    container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    kubectl.apply(stateful_set)
    kubectl.rolled_out("sts/db")
    pods = kubectl.pods(app="db")
    assert sorted(pods) == ["db-0", "db-1", "db-2"]
    born = [pods[name]["metadata"]["creationTimestamp"] for name in sorted(pods)]
    assert born == sorted(born)

    kubectl("set", "env", "sts/db", "V=2")
    kubectl.rolled_out("sts/db")
    assert set(variables(kubectl.pods(app="db")).values()) == {"2"}
    kubectl("rollout", "undo", "sts/db")
    kubectl.rolled_out("sts/db")
    assert set(variables(kubectl.pods(app="db")).values()) == {""}
    assert kubectl.revisions("sts/db") == ["2", "3"]
    assert "V:\t2" in kubectl("rollout", "history", "sts/db", "--revision=2")

    for partition, expected in ((3, ["", "", ""]), (2, ["", "", "4"]), (0, ["4", "4", "4"])):
        kubectl.patch("sts/db", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": partition}}}})
        kubectl("set", "env", "sts/db", "V=4")
        kubectl.rolled_out("sts/db")
        assert [*variables(kubectl.pods(app="db")).values()] == expected

    before = uids(kubectl.pods(app="db"))
    kubectl.fail_pod("db-1")
    kubectl.until(lambda: uids(kubectl.pods(app="db")).get("db-1", before["db-1"]) != before["db-1"])
    kubectl("rollout", "restart", "sts/db")
    kubectl.rolled_out("sts/db")
    assert not {*before.values()} & {*uids(kubectl.pods(app="db")).values()}

    kubectl("scale", "sts/db", "--replicas=1")
    kubectl.until(lambda: sorted(kubectl.pods(app="db")) == ["db-0"])
    kubectl("scale", "sts/db", "--replicas=2")
    kubectl.rolled_out("sts/db")
    starts = kubectl("exec", "db-1", "--", "cat", "/data/starts").split()
    assert (set(starts), len(starts) >= 6) == ({"db-1"}, True)
    assert len(kubectl.get("pvc")["items"]) == 3
    kubectl("autoscale", "sts/db", "--min=1", "--max=3", "--cpu=80%")
    kubectl("delete", "hpa/db", "sts/db")


def test_a_daemon_set(cluster: Cluster, kubectl: Kubectl) -> None:
    """[sig-apps] Daemon set should run and stop simple daemon [Conformance] [Serial]
    [sig-apps] Daemon set should run and stop complex daemon [Conformance] [Serial]
    [sig-apps] Daemon set should retry creating failed daemon pods [Conformance] [Serial]
    [sig-apps] Daemon set should update pod when spec was updated and update strategy is RollingUpdate [Conformance]
    [Serial]"""

    def on_nodes() -> set[str]:
        return {pod["spec"].get("nodeName", "") for pod in kubectl.pods(app="agent").values()}

    def replaced(before: dict[str, Any]) -> bool:
        now = kubectl.pods(app="agent")
        return len(now) == len(before) and not {*uids(now).values()} & {*uids(before).values()}

    nodes = {node["metadata"]["name"] for node in cluster.get("nodes")["items"]}
    kubectl.apply(make("DaemonSet", "agent"))
    kubectl.rolled_out("ds/agent")
    assert on_nodes() == nodes
    pods = kubectl.pods(app="agent")
    kubectl("delete", "pod", *pods)
    kubectl.until(lambda: replaced(pods))
    kubectl.rolled_out("ds/agent")
    pods = kubectl.pods(app="agent")
    for name in pods:
        kubectl.fail_pod(name)
    kubectl.until(lambda: replaced(pods))

    kubectl("set", "env", "ds/agent", "V=2")
    kubectl.rolled_out("ds/agent")
    assert set(variables(kubectl.pods(app="agent")).values()) == {"2"}
    kubectl("rollout", "undo", "ds/agent")
    kubectl.rolled_out("ds/agent")
    assert set(variables(kubectl.pods(app="agent")).values()) == {""}
    assert kubectl.revisions("ds/agent") == ["2", "3"]
    surge = {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "100%"}}
    kubectl.patch("ds/agent", {"spec": {"updateStrategy": surge}})
    kubectl("rollout", "restart", "ds/agent")
    kubectl.rolled_out("ds/agent")

    node, label = min(nodes), f"colour-{kubectl.namespace}"
    kubectl.patch("ds/agent", {"spec": {"template": {"spec": {"nodeSelector": {label: "green"}}}}})
    kubectl.until(lambda: on_nodes() == set())
    cluster.kubectl("label", "node", node, f"{label}=green")
    kubectl.rolled_out("ds/agent")
    assert on_nodes() == {node}
    cluster.kubectl("label", "node", node, f"{label}-")
    kubectl.until(lambda: on_nodes() == set())
    assert kubectl.get("ds", "agent")["status"]["desiredNumberScheduled"] == 0
    kubectl("delete", "ds/agent")


def test_a_replication_controller(kubectl: Kubectl) -> None:
    """[sig-apps] ReplicationController should adopt matching pods on creation [Conformance]
    [sig-apps] ReplicationController should release no longer matching pods [Conformance]
    [sig-apps] ReplicationController should surface a failure condition on a common issue like exceeded quota
    [Conformance]
    [sig-cli] Kubectl client Update Demo should create and stop a replication controller [Conformance]
    [sig-cli] Kubectl client Update Demo should scale a replication controller [Conformance]
    [sig-cli] Kubectl client Kubectl describe should check if kubectl describe prints relevant information for rc and
    pods [Conformance]
    [sig-cli] Kubectl client Kubectl expose should create services for rc [Conformance]
    [sig-cli] Kubectl client Kubectl patch should add annotations for pods in rc [Conformance]"""
    controller = make("ReplicationController", "demo", replicas=1)
    orphan = {**controller["spec"]["template"], "apiVersion": "v1", "kind": "Pod"}
    kubectl.apply({**orphan, "metadata": {"name": "orphan", "labels": {"app": "demo"}}})
    kubectl.apply(controller)
    kubectl("wait", "rc/demo", "--for=jsonpath={.status.readyReplicas}=1", f"--timeout={SECONDS}s")
    (adopted,) = kubectl.pods(app="demo").values()
    assert [ref["name"] for ref in adopted["metadata"]["ownerReferences"]] == ["demo"]
    kubectl("label", "pod", "orphan", "app=other", "--overwrite")
    kubectl.until(lambda: "ownerReferences" not in kubectl.get("pod", "orphan")["metadata"])
    kubectl("wait", "rc/demo", "--for=jsonpath={.status.readyReplicas}=1", f"--timeout={SECONDS}s")

    kubectl("create", "quota", "few", "--hard=pods=3")
    kubectl.until(lambda: (kubectl.get("quota", "few")["status"].get("used") or {}).get("pods") == "2")
    kubectl("scale", "rc/demo", "--replicas=3")
    why = "{.status.conditions[?(@.type=='ReplicaFailure')].reason}"
    kubectl("wait", "rc/demo", f"--for=jsonpath={why}=FailedCreate", f"--timeout={SECONDS}s")
    kubectl("scale", "rc/demo", "--replicas=2", "--current-replicas=3")
    kubectl.until(lambda: "conditions" not in kubectl.get("rc", "demo")["status"])

    told = kubectl("describe", "rc", "demo")
    for expected in ("Replicas:     2 current / 2 desired", "Pods Status:  2 Running", "SuccessfulCreate"):
        assert expected in told
    assert "Controlled By:  ReplicationController/demo" in kubectl("describe", "pods", "-l", "app=demo")
    kubectl("expose", "rc", "demo", "--name=first", "--port=1234", "--target-port=6379")
    kubectl("expose", "service", "first", "--name=second", "--port=2345", "--target-port=6379")
    found = kubectl.until(lambda: kubectl.get("endpoints", "second").get("subsets"))
    assert [port["port"] for port in found[0]["ports"]] == [6379]
    for name in kubectl.pods(app="demo"):
        kubectl.patch(f"pod/{name}", {"metadata": {"annotations": {"x": "y"}}})
    notes = [pod["metadata"]["annotations"]["x"] for pod in kubectl.pods(app="demo").values()]
    assert notes == ["y", "y"]
    kubectl("autoscale", "rc/demo", "--min=1", "--max=3", "--cpu=80%")
    kubectl("delete", "hpa/demo", "rc/demo", "--cascade=background")
    kubectl.until(lambda: kubectl.pods(app="demo") == {})


def test_a_deployment(kubectl: Kubectl) -> None:
    """[sig-apps] Deployment deployment should support rollover [Conformance]"""

    kubectl.apply(make("ReplicaSet", "web", replicas=1))
    kubectl("wait", "rs/web", "--for=jsonpath={.status.readyReplicas}=1", f"--timeout={SECONDS}s")
    strategy = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    kubectl.apply(make("Deployment", "web", image=MISSING, replicas=1, minReadySeconds=1, strategy=strategy))
    kubectl.until(lambda: len(kubectl.pods(app="web")) == 2)
    kubectl("set", "image", "deploy/web", f"main={IMAGE}")
    kubectl.rolled_out("deploy/web")
    kubectl.until(lambda: len(kubectl.pods(app="web")) == 1)
    assert sorted(rs["spec"]["replicas"] for rs in kubectl.get("rs", "-l", "app=web")["items"]) == [0, 0, 1]

    kubectl("rollout", "pause", "deploy/web")
    kubectl("set", "env", "deploy/web", "V=2")
    kubectl("scale", "deploy/web", "--replicas=2")
    kubectl("wait", "deploy/web", "--for=jsonpath={.status.readyReplicas}=2", f"--timeout={SECONDS}s")
    assert [*variables(kubectl.pods(app="web")).values()] == ["", ""]
    kubectl("rollout", "resume", "deploy/web")
    kubectl.rolled_out("deploy/web")
    kubectl.until(lambda: [*variables(kubectl.pods(app="web")).values()] == ["2", "2"])
    newest = kubectl.revisions("deploy/web")[-1]
    kubectl("rollout", "undo", "deploy/web")
    kubectl("rollout", "restart", "deploy/web")
    kubectl.rolled_out("deploy/web")
    assert int(kubectl.revisions("deploy/web")[-1]) == int(newest) + 2
    kubectl("autoscale", "deploy/web", "--min=1", "--max=3", "--cpu=80%")
    assert kubectl.get("hpa", "web")["spec"]["scaleTargetRef"]["kind"] == "Deployment"
    kubectl("delete", "hpa/web", "deploy/web")
    kubectl.until(lambda: kubectl.pods(app="web") == {})
