"""Three real nodes on one machine: traffic across them, one that loses its power, and fewer of them."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.clusters import Cluster, ProaCommand
from support.processes import find_processes

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("several nodes")]

GRACE = "4s"
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
names, deadline = set(), time.monotonic() + 30
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


def make_service(name: str, **spec: Any) -> dict[str, Any]:
    """Return a NodePort Service of the web servers."""
    port = {"port": 80, "targetPort": 8080}
    body = {"type": "NodePort", "selector": {"app": "web"}, "ports": [port], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": body}


def wait_until(is_so: Callable[[], Any], seconds: float = 60) -> Any:
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
    """Return where pods are."""
    return {pod["spec"]["nodeName"] for pod in pods}


def node_of(cluster: Cluster, name: str) -> tuple[str, set[tuple[str, str]]]:
    """Return a node's Ready and its taints."""
    node = cluster.get("node", name)
    ready = next(c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready")
    return ready, {(taint["key"], taint["effect"]) for taint in node["spec"].get("taints") or []}


def test_pods_of_three_nodes_serve_one_another_and_outlive_a_node(three: Cluster) -> None:
    near = make_service("near", trafficDistribution="PreferSameNode")
    for body in (make_deployment("web", 6), make_service("web"), near):
        three.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    three.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
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
    three.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert node_of(three, "proa-1")[1] == {
        ("node.kubernetes.io/unreachable", "NoSchedule"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
    }
    there = {pod["metadata"]["name"] for pod in three.get("pods", "-l", "app=web")["items"]}
    assert lost <= there, "nobody has confirmed that they ended"
    wait_until(lambda: ask_host(port))
    refused = three.kubectl("logs", min(lost), check=False)
    assert 'the kubelet of node "proa-1" cannot be reached' in refused.stderr

    three.proa("nodes", "start", "proa-1")
    wait_until(lambda: node_of(three, "proa-1") == ("True", set()))
    wait_until(
        lambda: not lost & {pod["metadata"]["name"] for pod in three.get("pods", "-l", "app=web")["items"]}
    )


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
