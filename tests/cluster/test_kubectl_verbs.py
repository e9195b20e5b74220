"""kubectl's verbs do what they do on any Kubernetes: the newest kubectl, and the oldest that this machine has."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.clusters import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]
DEBIANS = "/usr/bin/kubectl"
Kubectl = Callable[..., str]


@pytest.fixture(params=["newest", "oldest"])
def kubectl(request: pytest.FixtureRequest, cluster: Cluster, namespace: str) -> Kubectl:
    """Return a function that runs a verb in the test's namespace and returns what it printed, errors with it."""
    path = cluster.kubectl_path if request.param == "newest" else shutil.which(DEBIANS)
    if path is None:
        pytest.skip(f"not on this machine: {DEBIANS} is not installed")
    at_hand = Cluster(cluster.proa, path)

    def call(*arguments: str, stdin: str | None = None, check: bool = True) -> str:
        done = at_hand.kubectl("-n", namespace, *arguments, stdin=stdin, check=check)
        return done.stdout + done.stderr

    return call


CREATED = {
    "deployment": ("deployment", "x", "--image=proa.local/python", "--replicas=0", "--port=80"),
    "job": ("job", "x", "--image=proa.local/python", "--", "true"),
    "cronjob": ("cronjob", "x", "--image=proa.local/python", "--schedule=0 0 1 1 *", "--", "true"),
    "clusterip": ("service", "clusterip", "x", "--tcp=80:8080"),
    "nodeport": ("service", "nodeport", "x", "--tcp=80"),
    "externalname": ("service", "externalname", "x", "--external-name=example.org"),
    "loadbalancer": ("service", "loadbalancer", "x", "--tcp=80:80"),
    "configmap": ("configmap", "x", "--from-literal=a=b"),
    "secret": ("secret", "generic", "x", "--from-literal=a=b"),
    "registry secret": (
        "secret", "docker-registry", "x", "--docker-server=r.example", "--docker-username=u", "--docker-password=p",
    ),
    "serviceaccount": ("serviceaccount", "x"),
    "role": ("role", "x", "--verb=get,list", "--resource=pods,deployments.apps"),
    "rolebinding": ("rolebinding", "x", "--clusterrole=view", "--user=ann"),
    "quota": ("quota", "x", "--hard=pods=3,requests.cpu=2"),
    "poddisruptionbudget": ("poddisruptionbudget", "x", "--selector=app=x", "--min-available=1"),
    "ingress": ("ingress", "x", "--rule=example.org/*=web:80"),
}  # fmt: skip


@pytest.mark.parametrize("arguments", CREATED.values(), ids=CREATED)
def test_create_makes_each_kind(kubectl: Kubectl, arguments: tuple[str, ...]) -> None:
    shown = kubectl("create", *arguments[:2], "--dry-run=server", "-o", "name", *arguments[2:])
    assert shown.splitlines()[0].endswith("/x"), "below it may be warnings"
    assert " created" in kubectl("create", *arguments)
    again = kubectl("create", *arguments, check=False)
    assert "already exists" in again


def test_cluster_wide_kinds_are_created_and_deleted(kubectl: Kubectl, namespace: str) -> None:
    for arguments in (
        ("clusterrole", namespace, "--verb=get", "--resource=nodes"),
        ("clusterrolebinding", namespace, "--clusterrole=view", "--user=ann"),
        ("priorityclass", namespace, "--value=7", "--description=test"),
    ):
        assert " created" in kubectl("create", *arguments)
        assert " deleted" in kubectl("delete", *arguments[:2])


def test_run_expose_autoscale_and_set(kubectl: Kubectl) -> None:
    assert "pod/one created" in kubectl(
        "run", "one", "--image=proa.local/python", "--port=80", "--", "sleep", "60"
    )
    assert "service/one exposed" in kubectl("expose", "pod/one", "--port=80")
    kubectl("create", "deployment", "web", "--image=proa.local/python", "--replicas=0")
    assert "autoscaled" in kubectl("autoscale", "deployment/web", "--min=1", "--max=3", "--cpu-percent=50")
    assert "web" in kubectl("get", "hpa")
    for what, value in (("env", "A=b"), ("resources", "--limits=cpu=100m"), ("image", "python=python:3.12")):
        assert "updated" in kubectl("set", what, "deployment/web", value)
    assert "updated" in kubectl("set", "serviceaccount", "deployment/web", "default")
    container = json.loads(kubectl("get", "deployment/web", "-o", "json"))["spec"]["template"]["spec"][
        "containers"
    ][0]
    assert (container["image"], container["env"], container["resources"]) == (
        "python:3.12",
        [{"name": "A", "value": "b"}],
        {"limits": {"cpu": "100m"}},
    )
    kubectl("delete", "pod/one", "--now")


def test_label_annotate_and_every_kind_of_patch(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "web", "--image=proa.local/python", "--replicas=0")
    kubectl("label", "deployment/web", "tier=front")
    refused = kubectl("label", "deployment/web", "tier=back", check=False)
    assert "'tier' already has a value (front), and --overwrite is false" in refused
    kubectl("label", "deployment/web", "tier=back", "--overwrite")
    kubectl("annotate", "deployment/web", "note=mine")
    containers = '{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"python"}]}}}}'
    kubectl("patch", "deployment/web", "-p", containers)
    kubectl(
        "patch",
        "deployment/web",
        "--type=json",
        "-p",
        '[{"op":"remove","path":"/metadata/annotations/note"}]',
    )
    kubectl("patch", "deployment/web", "--type=merge", "-p", '{"metadata":{"labels":{"tier":null}}}')
    found = json.loads(kubectl("get", "deployment/web", "-o", "json"))
    assert sorted(c["name"] for c in found["spec"]["template"]["spec"]["containers"]) == ["python", "side"]
    assert "note" not in found["metadata"]["annotations"]
    assert found["metadata"]["labels"] == {"app": "web"}
    scaled = kubectl(
        "patch", "deployment/web", "--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":0}}'
    )
    assert "patched" in scaled


def test_replace_diff_and_edit(kubectl: Kubectl, cluster: Cluster, namespace: str) -> None:
    kubectl("create", "configmap", "chart", "--from-literal=depth=3")
    changed = kubectl("get", "configmap/chart", "-o", "yaml").replace('depth: "3"', 'depth: "4"')
    shown = kubectl("diff", "-f", "-", stdin=changed, check=False)
    assert '-  depth: "3"' in shown
    assert '+  depth: "4"' in shown
    assert "replaced" in kubectl("replace", "-f", "-", stdin=changed)
    assert "Conflict" in kubectl("replace", "-f", "-", stdin=changed.replace('"4"', '"5"'), check=False)
    forced = kubectl("get", "configmap/chart", "-o", "yaml").replace('"4"', "deep")
    assert "replaced" in kubectl("replace", "--force", "-f", "-", stdin=forced)
    program = (
        "import sys; p = sys.argv[1]; t = open(p).read(); open(p, 'w').write(t.replace('deep', 'deeper'))"
    )
    editor = f'{sys.executable} -c "{program}"'
    done = subprocess.run(
        cluster.kubectl_command("-n", namespace, "edit", "configmap/chart"),
        env={**os.environ, "EDITOR": editor},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "edited" in done.stdout, done.stderr
    assert kubectl("get", "configmap/chart", "-o", "jsonpath={.data.depth}") == "deeper"


def test_kustomize_overlays_and_generators_are_applied_and_pruned(kubectl: Kubectl) -> None:
    overlay = str(Path(__file__).parent / "kustomize" / "overlay")
    made = kubectl("apply", "-k", overlay)
    assert made.count(" created") == 3
    assert kubectl("apply", "-k", overlay).count(" unchanged") == 3
    found = json.loads(kubectl("get", "deployment/blue-web", "-o", "json"))
    container = found["spec"]["template"]["spec"]["containers"][0]
    settings = container["envFrom"][0]["configMapRef"]["name"]
    assert container["image"] == "python"
    assert settings.startswith("blue-settings-")
    assert kubectl("get", f"configmap/{settings}", "-o", "jsonpath={.data.depth}") == "5"
    assert kubectl("delete", "-k", overlay).count("deleted") == 3


def test_apply_prunes_what_is_no_longer_there(kubectl: Kubectl) -> None:
    def manifest(*names: str) -> str:
        return "---\n".join(
            f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{set: s}}}}\n"
            for name in names
        )

    kubectl("apply", "-f", "-", "-l", "set=s", "--prune", stdin=manifest("a", "b"))
    assert "configmap/b pruned" in kubectl("apply", "-f", "-", "-l", "set=s", "--prune", stdin=manifest("a"))


@pytest.mark.parametrize(
    ("field", "kind"),
    [("pods.spec.containers.ports", "<[]ContainerPort>"), ("cronjobs.spec.schedule", "<string>"),
     ("hpa.spec.metrics", "<[]MetricSpec>"), ("ingress.spec.rules.http.paths", "<[]HTTPIngressPath>"),
     ("networkpolicy.spec.policyTypes", "<[]string>"), ("clusterrole.rules.verbs", "<[]string>")],
)  # fmt: skip
def test_explain_knows_every_kind(kubectl: Kubectl, field: str, kind: str) -> None:
    assert kind in kubectl("explain", field)


def test_wait_events_and_debug(kubectl: Kubectl, namespace: str) -> None:
    kubectl("run", "one", "--image=proa.local/python", "--restart=Never", "--", "sleep", "60")
    kubectl("wait", "pod/one", "--for=condition=Ready", "--timeout=120s")
    kubectl("wait", "pod/one", "--for=jsonpath={.status.phase}=Running", "--timeout=5s")
    while "Started" not in kubectl("events", "--for", "pod/one"):
        pass  # events are written beside
    kubectl("debug", "pod/one", "--image=python", "--copy-to=copy", "--", "true")
    assert "pod/copy" in kubectl("get", "pod/copy", "-o", "name")
    kubectl("delete", "pods", "--all", "--now")
    kubectl("wait", "pod/one", "--for=delete", "--timeout=120s")


def test_debug_adds_an_ephemeral_container_that_nothing_changes(kubectl: Kubectl) -> None:
    kubectl("run", "one", "--image=proa.local/python", "--restart=Never", "--", "sleep", "60")
    debug = ("debug", "pod/one", "--image=proa.local/python", "-c", "look", "--profile=general", "--")
    kubectl(*debug, "true")
    found = json.loads(kubectl("get", "pod/one", "-o", "json"))["spec"]["ephemeralContainers"]
    assert [(each["name"], each["command"]) for each in found] == [("look", ["true"])]
    refused = kubectl(*debug, "false", check=False)
    assert (
        'The Pod "one" is invalid: spec.ephemeralContainers: Forbidden: '
        'existing ephemeral containers "look" may not be changed' in refused
    )
    patch = '{"spec":{"ephemeralContainers":[{"name":"look","image":"other"}]}}'
    refused = kubectl("patch", "pod/one", "-p", patch, check=False)
    assert "Forbidden: pod updates may not change fields other than" in refused
    kubectl("delete", "pod/one", "--now")


def test_nodes_are_cordoned_tainted_and_described(kubectl: Kubectl) -> None:
    node = kubectl("get", "nodes", "-o", "name").strip()
    try:
        assert "cordoned" in kubectl("cordon", node)
        assert "SchedulingDisabled" in kubectl("get", node)
        assert "Unschedulable:      true" in kubectl("describe", node)
    finally:
        kubectl("uncordon", node)
    name = node.removeprefix("node/")
    assert "tainted" in kubectl("taint", "nodes", name, "berth=taken:PreferNoSchedule")
    assert "untainted" in kubectl("taint", "nodes", name, "berth:PreferNoSchedule-")


def test_the_cluster_introduces_itself(kubectl: Kubectl) -> None:
    """[sig-cli] Kubectl client Kubectl cluster-info should check if Kubernetes control plane services is included in
    cluster-info [Conformance]
    [sig-cli] Kubectl client Kubectl api-versions should check if v1 is in available api versions [Conformance]
    [sig-cli] Kubectl client Kubectl version should check is all data is printed [Conformance]"""
    assert re.search(r"Kubernetes control plane.* is running at .*https://", kubectl("cluster-info"))
    assert {"v1", "apps/v1"} <= set(kubectl("api-versions").split())
    assert {"Client Version", "Server Version"} <= {
        line.partition(":")[0] for line in kubectl("version").splitlines()
    }
    listed = kubectl("api-resources", "--namespaced=false", "-o", "name").split()
    assert {"nodes", "clusterroles.rbac.authorization.k8s.io", "priorityclasses.scheduling.k8s.io"} <= set(
        listed
    )
    assert kubectl("get", "--raw", "/readyz") == "ok"
    assert kubectl("auth", "can-i", "create", "pods").strip() == "yes"
    assert kubectl("auth", "can-i", "create", "pods", "--as=nobody", check=False).strip() == "no"


def test_a_kind_that_is_not_known_is_told_as_such(kubectl: Kubectl) -> None:
    manifest = "apiVersion: sea.example/v1\nkind: Ship\nmetadata: {name: x}\n"
    said = kubectl("apply", "-f", "-", stdin=manifest, check=False)
    assert 'no matches for kind "Ship" in version "sea.example/v1"' in said
    assert "ensure CRDs are installed first" in said
