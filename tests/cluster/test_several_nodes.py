"""Three real nodes on one machine: traffic across them, one that loses its power, and fewer of them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.clusters import Cluster, ProaCommand
from support.processes import find_processes

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("several nodes")]

GRACE = "8s"
TOLERATED_SECONDS = 1
WEB = """
import http.server, socket
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(socket.gethostname().encode())
    def log_message(self, *arguments): pass
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""
ASK = """
import json, ssl, time, urllib.request
names, deadline = set(), time.monotonic() + 90
while len(names) < {count} and time.monotonic() < deadline:
    names.add(urllib.request.urlopen("http://{service}", timeout=5).read().decode())
context = ssl.create_default_context(cafile="/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")
ready = urllib.request.urlopen("https://kubernetes.default.svc/readyz", context=context, timeout=5).read()
print(json.dumps({{"names": sorted(names), "api": ready.decode()}}))
"""


@pytest.fixture(scope="module")
def three(kubectl_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of three nodes that gives a silent one up soon."""
    proa = ProaCommand(tmp_path_factory.mktemp("three") / "home", sys.executable)
    proa("up", "--detach", "--port", "0", "--nodes", "3", "--node-monitor-grace-period", GRACE)
    yield Cluster(proa, kubectl_path)
    proa("reset", "--yes")
    assert not find_processes(str(proa.home))


def make_deployment(name: str, replicas: int) -> dict[str, Any]:
    """Return a Deployment of web servers that say who they are, and leave an unreachable node soon."""
    tolerations = [
        {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute"}
        | {"tolerationSeconds": TOLERATED_SECONDS}
        for key in ("not-ready", "unreachable")
    ]
    container = {
        "name": "web",
        "image": "proa.local/python",
        "command": ["python3", "-c", WEB],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    pod = {
        "containers": [container],
        "tolerations": tolerations,
        "terminationGracePeriodSeconds": 1,
        "topologySpreadConstraints": [spread | {"labelSelector": {"matchLabels": {"app": name}}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
        },
    }


def make_stateful_set(name: str, replicas: int) -> dict[str, Any]:
    """Return a StatefulSet with a pod on each node."""
    deployment = make_deployment(name, replicas)
    spread = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"][0]
    spread["whenUnsatisfiable"] = "DoNotSchedule"
    more = {"serviceName": name, "podManagementPolicy": "Parallel"}
    return {**deployment, "kind": "StatefulSet", "spec": {**deployment["spec"], **more}}


def make_pod(name: str, *, seconds: int | None = None, **spec: Any) -> dict[str, Any]:
    """Return a pod that waits, and tolerates the taint `kept=clean` (for so many seconds)."""
    toleration = {"key": "kept", "value": "clean", "effect": "NoExecute", "tolerationSeconds": seconds}
    container = {"name": "main", "image": "proa.local/python", "command": ["sleep", "3600"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "containers": [container],
            "terminationGracePeriodSeconds": 0,
            "tolerations": [] if seconds is None else [toleration],
            **spec,
        },
    }


def make_service(name: str, **spec: Any) -> dict[str, Any]:
    """Return a NodePort Service of the web servers."""
    port = {"port": 80, "targetPort": 8080}
    body = {"type": "NodePort", "selector": {"app": "web"}, "ports": [port], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": body}


def wait_until(is_so: Callable[[], Any], seconds: float = 120) -> Any:
    """Return what is_so says once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)
    return found


def pods_of(cluster: Cluster, app: str) -> list[dict[str, Any]]:
    """Return the pods of an app that are not on their way out."""
    found = cluster.get("pods", "-l", f"app={app}")["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def nodes_of(pods: list[dict[str, Any]]) -> set[str]:
    """Return where pods are, those apart that wait for a node."""
    return {pod["spec"]["nodeName"] for pod in pods if "nodeName" in pod["spec"]}


def node_of(cluster: Cluster, name: str) -> tuple[str, set[tuple[str, str]]]:
    """Return a node's Ready and its taints."""
    node = cluster.get("node", name)
    ready = next(c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready")
    return ready, {(taint["key"], taint["effect"]) for taint in node["spec"].get("taints") or []}


def test_pods_of_three_nodes_serve_one_another_and_outlive_a_node(three: Cluster) -> None:
    near = make_service("near", trafficDistribution="PreferSameNode")
    apply(three, make_deployment("web", 6), make_service("web"), near, make_stateful_set("db", 3))
    three.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
    three.kubectl("rollout", "status", "statefulset/db", "--timeout=120s")
    pods = pods_of(three, "web")
    names = sorted(pod["metadata"]["name"] for pod in pods)
    assert nodes_of(pods) == {"proa-1", "proa-2", "proa-3"}
    one_a_node = {pod["spec"]["nodeName"]: pod["metadata"]["name"] for pod in pods}
    for node, name in one_a_node.items():
        assert ask_from(three, name, "web.default.svc.cluster.local", 6) == {"names": names, "api": "ok"}
        here = sorted(pod["metadata"]["name"] for pod in pods if pod["spec"]["nodeName"] == node)
        for _ in range(3):
            assert ask_from(three, name, "near", len(here))["names"] == here
    port = three.get("service", "web")["spec"]["ports"][0]["nodePort"]
    seen: set[str] = set()
    wait_until(lambda: seen.add(ask_host(port)) or len(seen) == 6)
    lost = {pod["metadata"]["name"] for pod in pods if pod["spec"]["nodeName"] == "proa-1"}
    (member,) = (pod for pod in pods_of(three, "db") if pod["spec"]["nodeName"] == "proa-1")

    listed = json.loads(three.proa("nodes", "stop", "proa-1", "-o", "json").stdout)["nodes"]
    assert [(node["name"], node["switch"], node["running"]) for node in listed] == [
        ("proa-1", "off", False),
        ("proa-2", "on", True),
        ("proa-3", "on", True),
    ]
    wait_until(lambda: node_of(three, "proa-1")[0] == "Unknown")
    wait_until(
        lambda: len(pods_of(three, "web")) == 6 and nodes_of(pods_of(three, "web")) == {"proa-2", "proa-3"}
    )
    three.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
    assert node_of(three, "proa-1")[1] == {
        ("node.kubernetes.io/unreachable", "NoSchedule"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
    }
    there = {pod["metadata"]["name"] for pod in three.get("pods", "-l", "app=web")["items"]}
    assert lost <= there, "nobody has confirmed that they ended"
    assert wait_until(lambda: ask_host(port)) in there - lost
    still = wait_until(lambda: find_deleting(three, member["metadata"]["name"]))
    assert still["metadata"]["uid"] == member["metadata"]["uid"], "it may still run: it has no successor"
    refused = three.kubectl("logs", min(lost), check=False)
    assert 'the kubelet of node "proa-1" cannot be reached' in refused.stderr

    three.proa("nodes", "start", "proa-1")
    wait_until(lambda: node_of(three, "proa-1") == ("True", set()))
    wait_until(
        lambda: not lost & {pod["metadata"]["name"] for pod in three.get("pods", "-l", "app=web")["items"]}
    )
    wait_until(lambda: len(pods_of(three, "db")) == 3)
    three.kubectl("rollout", "status", "statefulset/db", "--timeout=120s")
    again = three.get("pod", member["metadata"]["name"])
    assert (again["spec"]["nodeName"], again["metadata"]["uid"] != member["metadata"]["uid"]) == (
        "proa-1",
        True,
    )


def apply(cluster: Cluster, *bodies: dict[str, Any]) -> None:
    """Have these objects there."""
    items = {"apiVersion": "v1", "kind": "List", "items": list(bodies)}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(items))


def find_deleting(cluster: Cluster, name: str) -> dict[str, Any] | None:
    """Return a pod that is on its way out."""
    pod = cluster.get("pod", name)
    return pod if "deletionTimestamp" in pod["metadata"] else None


def ask_from(cluster: Cluster, pod: str, service: str, count: int) -> dict[str, Any]:
    """Return which pods answer to one behind a Service, asked until so many have, and what the API says there."""
    program = ASK.format(count=count, service=service)
    told: dict[str, Any] = json.loads(cluster.kubectl("exec", pod, "--", "python3", "-c", program).stdout)
    return told


def ask_host(port: int) -> str:
    """Return which pod answers on the host's side of a NodePort, "" where it does not."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=2) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def test_a_tainted_node_keeps_pods_for_as_long_as_they_bear_it(three: Cluster) -> None:
    """[sig-node] NoExecuteTaintManager Multiple Pods evicts pods with minTolerationSeconds
    [sig-node] NoExecuteTaintManager Single Pod removing taint cancels eviction
    """
    here = {"nodeName": "proa-3"}
    seconds = {"none": None, "short": 1, "long": 3600}
    apply(three, *(make_pod(name, seconds=limit, **here) for name, limit in seconds.items()))
    for name in seconds:
        three.kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=120s")
    three.kubectl("taint", "node", "proa-3", "kept=clean:NoExecute")
    for name in ("none", "short"):
        three.kubectl("wait", f"pod/{name}", "--for=delete", "--timeout=120s")
    assert "deletionTimestamp" not in three.get("pod", "long")["metadata"]
    assert "proa-3" not in nodes_of(pods_of(three, "web"))
    three.kubectl("taint", "node", "proa-3", "kept=clean:NoExecute-")

    def spared() -> bool:
        chosen = "--field-selector=involvedObject.name=long,reason=TaintManagerEviction"
        events = three.get("events", chosen)["items"]
        return any(event["message"] == "Cancelling deletion of Pod default/long" for event in events)

    wait_until(spared)
    assert "deletionTimestamp" not in three.get("pod", "long")["metadata"]
    three.kubectl("delete", "pod", "long", "--now")


def test_draining_a_node_keeps_to_the_budget_and_daemons_stay(three: Cluster) -> None:
    """[sig-architecture] Conformance Tests should have at least two untainted nodes"""
    daemon = make_deployment("daemon", 0)
    del daemon["spec"]["replicas"], daemon["spec"]["template"]["spec"]["topologySpreadConstraints"]
    budget = {"minAvailable": 5, "selector": {"matchLabels": {"app": "web"}}}
    metadata = {"name": "web"}
    apply(
        three,
        {**daemon, "kind": "DaemonSet"},
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": budget},
    )
    three.kubectl("rollout", "status", "daemonset/daemon", "--timeout=120s")
    assert sorted(nodes_of(pods_of(three, "daemon"))) == ["proa-1", "proa-2", "proa-3"]
    assert not [taint for node in three.get("nodes")["items"] for taint in node["spec"].get("taints") or ()]
    three.kubectl("rollout", "restart", "deployment/web")
    three.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    wait_until(lambda: three.get("pdb", "web")["status"]["disruptionsAllowed"] == 1)

    shown = "jsonpath={.status.readyReplicas} "
    watching = three.kubectl_command("get", "deployment/web", "--watch", "-o", shown)
    with subprocess.Popen(watching, stdout=subprocess.PIPE, text=True) as watch:
        try:
            three.kubectl("drain", "proa-2", "--ignore-daemonsets", "--timeout=90s", timeout=120)
        finally:
            watch.terminate()
        ready = [int(number) for number in watch.communicate()[0].split()]
    assert min(ready) >= 5
    assert "proa-2" not in nodes_of(pods_of(three, "web")) | nodes_of(pods_of(three, "db"))
    assert "proa-2" in nodes_of(pods_of(three, "daemon"))
    assert node_of(three, "proa-2")[1] == {("node.kubernetes.io/unschedulable", "NoSchedule")}
    assert "Ready,SchedulingDisabled" in three.kubectl("get", "node", "proa-2").stdout
    three.kubectl("uncordon", "proa-2")
    wait_until(lambda: node_of(three, "proa-2") == ("True", set()))
    wait_until(
        lambda: "proa-2" in nodes_of([pod for pod in pods_of(three, "db") if pod["spec"].get("nodeName")])
    )


def test_what_nodes_have_and_what_they_are_given(three: Cluster) -> None:
    """[sig-node] Pods should get a host IP
    [sig-network] Service endpoints latency should not be very high
    """
    for number, node in enumerate(three.get("nodes")["items"], 1):
        status, name = node["status"], node["metadata"]["name"]
        of_ipv4 = [address for address in status["addresses"] if ":" not in address["address"]]
        assert of_ipv4 == [
            {"type": "InternalIP", "address": f"10.243.0.{number}"},
            {"type": "Hostname", "address": name},
        ]
        assert node["spec"]["podCIDRs"][0] == f"10.244.{number}.0/24"
        assert {"cpu", "memory", "ephemeral-storage", "pods"} <= status["allocatable"].keys()
        assert status["nodeInfo"]["kubeletVersion"].startswith("v1.36")
        assert any("proa.local/python" in name for image in status["images"] for name in image["names"])
        types = {condition["type"] for condition in status["conditions"]}
        assert types == {"MemoryPressure", "DiskPressure", "PIDPressure", "Ready"}
        assert node["metadata"]["labels"]["kubernetes.io/hostname"] == name

    patch = '{"status": {"capacity": {"example.com/dongle": "1"}}}'
    three.kubectl("patch", "node", "proa-3", "--subresource=status", "-p", patch)
    wait_until(lambda: three.get("node", "proa-3")["status"]["allocatable"].get("example.com/dongle"))
    three.kubectl("label", "node", "proa-3", "topology.kubernetes.io/zone=b")
    asking = make_pod("dongle")
    asking["spec"]["containers"][0]["resources"] = {"limits": {"example.com/dongle": "1"}}
    apply(three, asking)
    three.kubectl("wait", "pod/dongle", "--for=condition=Ready", "--timeout=120s")
    pod = three.get("pod", "dongle")
    assert (pod["spec"]["nodeName"], pod["status"]["hostIP"]) == ("proa-3", "10.243.0.3")
    assert pod["metadata"]["labels"]["topology.kubernetes.io/zone"] == "b"
    three.kubectl("delete", "pod", "dongle", "--now")

    names = [f"quick-{number}" for number in range(20)]
    apply(three, *(make_service(name, type="ClusterIP") for name in names))

    def all_have_endpoints() -> bool:
        slices = three.get("endpointslices")["items"]
        served = {s["metadata"]["labels"]["kubernetes.io/service-name"] for s in slices if s.get("endpoints")}
        return served >= set(names)

    wait_until(all_have_endpoints)
    three.kubectl("delete", "service", *names)


def test_with_fewer_nodes_the_last_ones_go_and_a_node_that_is_off_stays_off(three: Cluster) -> None:
    three.proa("nodes", "stop", "proa-2")
    three.proa("down")
    assert three.proa("nodes", "stop", check=False).returncode == 2
    assert "--nodes 0" in three.proa("up", "--detach", "--nodes", "0", check=False).stderr
    assert three.proa("up", "--detach", "--nodes", "2").stdout.endswith("  removed: proa-3\n")
    try:
        assert [node["metadata"]["name"] for node in three.get("nodes")["items"]] == ["proa-1", "proa-2"]
        listed = json.loads(three.proa("nodes", "-o", "json").stdout)["nodes"]
        assert [(node["name"], node["running"]) for node in listed] == [("proa-1", True), ("proa-2", False)]
        refused = three.proa("up", "--detach", "--nodes", "3", check=False)
        assert "needs another start: --nodes 3" in refused.stderr
        assert not [pod for pod in pods_of(three, "web") if pod["spec"].get("nodeName") == "proa-3"]
    finally:
        three.proa("nodes", "start", "proa-2")
