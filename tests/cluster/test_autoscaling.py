"""An autoscaler follows the real use of real processes, and what pods expose."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from support.clusters import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

PROGRAM = """
import http.server, threading, time
busy = threading.Event()

def burn():
    while True:
        busy.wait()
        sum(range(20000))

class Handler(http.server.BaseHTTPRequestHandler):
    hits = 0
    def do_GET(self):
        if self.path in ("/busy", "/idle"):
            (busy.set if self.path == "/busy" else busy.clear)()
        Handler.hits += 100
        text = f"# TYPE hits_total counter\\nhits_total {Handler.hits}\\n"
        text += "# TYPE waiting gauge\\nwaiting{queue=\\"a\\"} 8\\n"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

threading.Thread(target=burn, daemon=True).start()
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


def workload(name: str, **annotations: str) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": "proa.local/python",
        "command": ["python", "-c", PROGRAM],
        "ports": [{"containerPort": 8080}],
        "resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": "200m"}},
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
    }
    template = {
        "metadata": {"labels": {"app": name}, "annotations": annotations},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
    }
    spec = {"selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def autoscaler(name: str, metric: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "maxReplicas": 3,
            "metrics": [metric],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
    }


CPU = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}},
}
WAITING = {
    "type": "Pods",
    "pods": {"metric": {"name": "waiting"}, "target": {"type": "AverageValue", "averageValue": "3"}},
}


def replicas(cluster: Cluster, namespace: str, name: str) -> str:
    return cluster.kubectl(
        "get", "deployment", name, "-n", namespace, "-o", "jsonpath={.spec.replicas}/{.status.readyReplicas}"
    ).stdout


def millis(cluster: Cluster, namespace: str, pod: str) -> int:
    top = cluster.kubectl("top", "pod", pod, "-n", namespace, "--no-headers").stdout.split()
    return int(top[1].removesuffix("m"))


def wait_for(cluster: Cluster, namespace: str, name: str, wanted: str) -> None:
    end = time.monotonic() + 150
    while (found := replicas(cluster, namespace, name)) != wanted:
        if time.monotonic() > end:
            said = cluster.kubectl("describe", "hpa", name, "-n", namespace).stdout
            raise AssertionError(f"{name} has {found}, not {wanted}:\n{said}")
        time.sleep(1)


def test_under_load_a_deployment_grows_and_shrinks_again(cluster: Cluster, namespace: str) -> None:
    objects = [
        workload("web"),
        autoscaler("web", CPU),
        workload("queue", **{"prometheus.io/scrape": "true"}),
        autoscaler("queue", WAITING),
    ]
    cluster.kubectl(
        "apply",
        "-n",
        namespace,
        "-f",
        "-",
        stdin=json.dumps({"kind": "List", "apiVersion": "v1", "items": objects}),
    )
    cluster.kubectl("rollout", "status", "deployment", "-n", namespace, "--timeout=120s")
    (first,) = cluster.kubectl(
        "get", "pods", "-n", namespace, "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}"
    ).stdout.split()
    proxy = f"/api/v1/namespaces/{namespace}/pods/{first}/proxy"
    cluster.kubectl("get", "--raw", f"{proxy}/busy")

    wait_for(cluster, namespace, "queue", "3/3")  # eight wait at each pod, three should
    wait_for(cluster, namespace, "web", "3/3")

    end = time.monotonic() + 90
    while not 100 <= (used := millis(cluster, namespace, first)) <= 260:  # it is limited to 200m
        assert time.monotonic() < end, f"{used}m"
        time.sleep(1)
    node = cluster.kubectl("top", "node", "--no-headers").stdout.split()
    assert node[0] == "proa-1"
    cluster.kubectl("get", "--raw", f"{proxy}/idle")
    wait_for(cluster, namespace, "web", "1/1")
    events = cluster.kubectl(
        "get", "events", "-n", namespace, "--field-selector", "involvedObject.name=web"
    ).stdout
    assert "cpu resource utilization (percentage of request) above target" in events
    assert "All metrics below target" in events


def test_what_pods_expose_is_there_for_anybody_who_may_ask(cluster: Cluster, namespace: str) -> None:
    annotations = {"prometheus.io/scrape": "true", "prometheus.io/port": "8080", "prometheus.io/path": "/x"}
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(workload("shop", **annotations)))
    cluster.kubectl("expose", "deployment", "shop", "-n", namespace, "--port", "80")
    cluster.kubectl("rollout", "status", "deployment/shop", "-n", namespace, "--timeout=120s")

    def items(group: str, path: str) -> list[dict[str, Any]]:
        raw = f"/apis/{group}/namespaces/{namespace}/{path}"
        found: list[dict[str, Any]] = json.loads(cluster.kubectl("get", "--raw", raw).stdout)["items"]
        return found

    (waiting,) = items("custom.metrics.k8s.io/v1beta2", "services/shop/waiting")
    assert (waiting["value"], waiting["describedObject"]["kind"]) == ("8", "Service")
    (external,) = items("external.metrics.k8s.io/v1beta1", "waiting?labelSelector=queue%3Da")
    assert (external["value"], external["metricLabels"]) == ("8", {"queue": "a"})
    end = time.monotonic() + 90
    while not (grown := items("custom.metrics.k8s.io/v1beta2", "pods/*/hits_per_second")):
        assert time.monotonic() < end
        time.sleep(1)
    assert float(grown[0]["value"].removesuffix("m")) > 0
    listed = cluster.kubectl("get", "--raw", "/apis/custom.metrics.k8s.io/v1beta2").stdout
    assert "pods/waiting" in listed
    services = cluster.kubectl("get", "apiservices").stdout
    assert all(group in services for group in ("v1beta1.metrics.k8s.io", "v1beta1.external.metrics.k8s.io"))
