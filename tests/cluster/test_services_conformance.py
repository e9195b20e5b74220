"""What upstream's conformance suite asks of Services and pods' network, on real pods of two nodes.

And what it does not ask: both address families, load balancers, traffic policies. A docstring names the lines that its
test stands for.
"""

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
from support.pods_api import Api, ApiRefused
from support.processes import find_processes

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("services")]

Object = dict[str, Any]
PATIENCE_SECONDS = 90
SERVICES = "/api/v1/namespaces/default/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
SERVER = """
import http.server, os, socket, threading
name = os.environ["NAME"]
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        said = f"{name} {self.client_address[0].removeprefix('::ffff:')} {self.command} {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else said)
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer
    def log_message(self, *words): pass
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
def echo():
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as made:
        made.bind(("::", 8080))
        while True:
            data, who = made.recvfrom(100)
            made.sendto(name.encode(), who)
threading.Thread(target=echo, daemon=True).start()
threading.Thread(target=Server(("::", 8081), Handler).serve_forever, daemon=True).start()
Server(("::", 8080), Handler).serve_forever()
"""
CLIENT = """
import json, socket, sys, urllib.request
lasting = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
lasting.settimeout(2)
for line in sys.stdin:
    way, host, port, times = json.loads(line)
    told = []
    for _ in range(times):
        try:
            if way == "http":
                name = f"[{host}]" if ":" in host else host
                told.append(urllib.request.urlopen(f"http://{name}:{port}/", timeout=2).read().decode().split()[:2])
            else:
                made = lasting if way == "lasting" else socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                made.settimeout(2)
                made.sendto(b"x", (host, port))
                told.append([made.recvfrom(100)[0].decode()])
        except OSError as error:
            told.append([str(getattr(error, "reason", error))])
    print(json.dumps(told), flush=True)
"""


class Client:
    """A program in a pod that asks others."""

    def __init__(self, cluster: Cluster, pod: str) -> None:
        words = ("exec", "-i", pod, "--", "python3", "-u", "-c", CLIENT)
        self._program = subprocess.Popen(
            cluster.kubectl_command(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, host: str, port: int, *, times: int = 1, way: str = "http") -> list[list[str]]:
        """Return the answers, each as words: who answered, and whom that saw; or what went wrong."""
        assert self._program.stdin
        assert self._program.stdout
        self._program.stdin.write(json.dumps([way, host, port, times]) + "\n")
        self._program.stdin.flush()
        told: list[list[str]] = json.loads(self._program.stdout.readline())
        return told

    def expect(self, host: str, port: int, names: set[str], *, way: str = "http") -> None:
        """Wait until exactly these answer."""
        times = 1 if len(names) == 1 else 20
        until(
            lambda: {words[0] for words in self.ask(host, port, times=times, way=way)} == names, (host, names)
        )

    def sticks(self, host: str, port: int) -> bool:
        """Tell whether one answers many times in a row."""
        return len({words[0] for words in self.ask(host, port, times=15)}) == 1

    def close(self) -> None:
        self._program.communicate()


def until(holds: Callable[[], object], what: object) -> None:
    """Return when it holds; fail when that takes too long."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end, what


class Place:
    """The cluster: servers a and b (nodes 1 and 2), clients on both nodes, one on node 1's own network."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.api = Api(cluster.kubeconfig)
        self.pods: dict[str, Object] = {}
        self.one: Client
        self.two: Client
        self.host: Client

    def ip(self, pod: str, family: int = 0) -> str:
        """Return a pod's address."""
        return str(self.pods[pod]["status"]["podIPs"][family]["ip"])

    def node_ip(self, number: int) -> str:
        """Return a node's address."""
        status = self.api.get(f"/api/v1/nodes/proa-{number}")["status"]
        return str(status["addresses"][0]["address"])

    def service(self, name: str, *ports: Object, **spec: Any) -> Object:
        """Create a Service in front of the servers."""
        body = {"selector": {"app": "server"}, "ports": list(ports) or [port()], **spec}
        return self.api.post(SERVICES, {"metadata": {"name": name}, "spec": body})["spec"]

    def change(self, name: str, **spec: Any) -> Object:
        """Change a Service."""
        return self.api.patch(f"{SERVICES}/{name}", {"spec": spec}, "merge")["spec"]


def port(name: str = "", number: int = 80, target: int = 8080, protocol: str = "TCP") -> Object:
    return {"name": name, "port": number, "targetPort": target, "protocol": protocol}


def make_pod(name: str, number: int, program: str, app: str = "client", **spec: Any) -> Object:
    container: Object = {
        "name": "c",
        "image": "proa.local/python",
        "command": ["python3", "-u", "-c", program],
        "env": [{"name": "NAME", "value": name}],
    }
    if app == "server":
        container["readinessProbe"] = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    spec = {
        "nodeName": f"proa-{number}",
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
        **spec,
    }
    return {"metadata": {"name": name, "labels": {"app": app, "name": name}}, "spec": spec}


@pytest.fixture(scope="module")
def place(kubectl_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    proa = ProaCommand(tmp_path_factory.mktemp("services") / "home", sys.executable)
    proa("up", "--detach", "--port", "0", "--nodes", "2")
    cluster = Cluster(proa, kubectl_path)
    made = Place(cluster)
    idle = "import threading; threading.Event().wait()"
    for body in (
        make_pod("a", 1, SERVER, "server"),
        make_pod("b", 2, SERVER, "server"),
        make_pod("client-1", 1, idle),
        make_pod("client-2", 2, idle),
        make_pod("on-node", 1, idle, hostNetwork=True),
    ):
        made.api.post("/api/v1/namespaces/default/pods", body)
    cluster.kubectl("wait", "pod", "--all", "--for=condition=Ready", "--timeout=90s", timeout=120)
    made.pods = {pod["metadata"]["name"]: pod for pod in cluster.get("pods")["items"]}
    made.one, made.two, made.host = (Client(cluster, name) for name in ("client-1", "client-2", "on-node"))
    yield made
    for client in (made.one, made.two, made.host):
        client.close()
    made.api.close()
    proa("reset", "--yes")
    assert not find_processes(str(proa.home))


def test_pods_and_nodes_reach_pods(place: Place) -> None:
    """[sig-network] Networking Granular Checks: Pods should function for intra-pod communication: http [Conformance]

    [sig-network] Networking Granular Checks: Pods should function for intra-pod communication: udp [Conformance]

    [sig-network] Networking Granular Checks: Pods should function for node-pod communication: http [Conformance]

    [sig-network] Networking Granular Checks: Pods should function for node-pod communication: udp [Conformance]
    """
    for client in (place.one, place.two, place.host):
        for name in ("a", "b"):
            assert client.ask(place.ip(name), 8080)[0][0] == name
            assert client.ask(place.ip(name), 8080, way="udp") == [[name]]


def test_services_serve_their_pods(place: Place) -> None:
    """[sig-network] Services should serve a basic endpoint from pods [Conformance]

    [sig-network] Services should serve multiport endpoints from pods [Conformance]

    [sig-network] Services should serve endpoints on same port and different protocols [Conformance]
    """
    ports = [port("one"), port("two", 81, 8081), port("three", 80, 8080, "UDP")]
    address = place.service("multiport", *ports)["clusterIP"]
    for client in (place.one, place.two, place.host):
        client.expect(address, 80, {"a", "b"})
        client.expect(address, 81, {"a", "b"})
        client.expect(address, 80, {"a", "b"}, way="udp")
    assert {words[0] for words in place.one.ask("multiport", 80, times=3)} <= {"a", "b"}
    place.change("multiport", ports=[port("two", 81, 8081)])
    place.one.expect(address, 80, {"[Errno 111] Connection refused"})
    place.one.expect(address, 81, {"a", "b"})
    for name in ("a", "b"):
        place.change("multiport", selector={"name": name})
        place.one.expect(address, 81, {name})


def test_affinity_keeps_clients_where_they_are_and_can_be_switched(place: Place) -> None:
    """[sig-network] Services should have session affinity work for service with type clusterIP [Conformance]

    [sig-network] Services should be able to switch session affinity for service with type clusterIP [Conformance]

    [sig-network] Services should have session affinity work for NodePort service [Conformance]

    [sig-network] Services should be able to switch session affinity for NodePort service [Conformance]
    """
    spec = place.service("sticky", sessionAffinity="ClientIP", type="NodePort")
    ways = [(spec["clusterIP"], 80), (place.node_ip(1), spec["ports"][0]["nodePort"])]
    for host, number in ways:
        until(lambda host=host, number=number: place.one.ask(host, number)[0][0] in "ab", "served")
        assert place.one.sticks(host, number)
    place.change("sticky", sessionAffinity="None", sessionAffinityConfig=None)
    for host, number in ways:
        place.one.expect(host, number, {"a", "b"})
    place.change("sticky", sessionAffinity="ClientIP")
    for host, number in ways:
        until(lambda host=host, number=number: place.one.sticks(host, number), "sticks again")


def test_types_of_services_change(place: Place) -> None:
    """[sig-network] Services should be able to change the type from ExternalName to ClusterIP [Conformance]

    [sig-network] Services should be able to change the type from ExternalName to NodePort [Conformance]

    [sig-network] Services should be able to change the type from NodePort to ExternalName [Conformance]

    [sig-network] Services should be able to create a functioning NodePort service [Conformance]
    """
    place.service("target")
    name = "target.default.svc.cluster.local"
    place.service("changing", type="ExternalName", externalName=name, selector=None)
    selector = {"app": "server"}
    spec = place.change("changing", type="ClusterIP", externalName=None, selector=selector)
    place.one.expect(spec["clusterIP"], 80, {"a", "b"})
    place.change("changing", type="ExternalName", externalName=name, clusterIP="", clusterIPs=None)
    spec = place.change("changing", type="NodePort", externalName=None)
    number = spec["ports"][0]["nodePort"]
    for client in (place.one, place.two):
        client.expect(spec["clusterIP"], 80, {"a", "b"})
        for node in (1, 2):
            client.expect(place.node_ip(node), number, {"a", "b"})
    until(lambda: ask_from_host(f"http://127.0.0.1:{number}/")[:1] in (["a"], ["b"]), "on the host")
    place.change("changing", type="ExternalName", externalName=name, clusterIP="", clusterIPs=None)
    place.one.expect(place.node_ip(1), number, {"[Errno 111] Connection refused"})
    until(lambda: place.one.ask("changing", 80)[0][0] in ("a", "b"), "the name leads to the other service")


def ask_from_host(url: str) -> list[str]:
    """Return the words of an answer that this machine gets, or of what went wrong."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode()).split()
    except OSError as error:
        return ["refused", str(error)]


def test_services_of_many_slices(place: Place) -> None:
    """[sig-network] EndpointSlice should support a Service with multiple endpoint IPs specified in multiple
    EndpointSlices [Conformance]

    [sig-network] EndpointSlice should support a Service with multiple ports specified in multiple EndpointSlices
    [Conformance]
    """
    ports = [port("one"), port("two", 81, 8081)]
    address = place.service("sliced", *ports, selector=None)["clusterIP"]
    for name, pod, entry, number in (
        ("first", "a", "one", 8080),
        ("second", "b", "one", 8080),
        ("third", "b", "two", 8081),
    ):
        place.api.post(
            SLICES,
            {
                "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "sliced"}},
                "addressType": "IPv4",
                "ports": [{"name": entry, "port": number, "protocol": "TCP"}],
                "endpoints": [{"addresses": [place.ip(pod)]}],
            },
        )
    place.one.expect(address, 80, {"a", "b"})
    place.one.expect(address, 81, {"b"})


def test_the_api_servers_proxy_reaches_services_and_pods(place: Place) -> None:
    """[sig-network] Proxy version v1 should proxy through a service and a pod [Conformance]

    [sig-network] Proxy version v1 A set of valid responses are returned for both pod and service Proxy [Conformance]

    [sig-network] Proxy version v1 A set of valid responses are returned for both pod and service ProxyWithPath
    [Conformance]
    """
    place.service("proxied", port("http"), port("other", 81, 8081))
    pods = "/api/v1/namespaces/default/pods"
    until(lambda: proxied(place, f"{SERVICES}/http:proxied:http/proxy/"), "endpoints")
    for path in (
        *(f"{pods}/{pod}/proxy" for pod in ("a:8080", "http:a:8081")),
        *(f"{SERVICES}/{service}/proxy" for service in ("proxied:http", "http:proxied:other", "proxied:81")),
    ):
        assert proxied(place, f"{path}/some/path?q=1")[2:] == ["GET", "/some/path?q=1"]
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            assert proxied(place, f"{path}/x", method)[2:] == [method, "/x"]
        assert proxied(place, f"{path}/", "HEAD") == []


def proxied(place: Place, path: str, method: str = "GET") -> list[str]:
    try:
        return place.api.send(method, path).decode().split()
    except ApiRefused as refused:
        if refused.code == 503:
            return []
        raise


def test_services_of_both_families_are_served_in_both(place: Place) -> None:
    if len(place.pods["a"]["status"]["podIPs"]) < 2:
        pytest.skip("not on this machine: the kernel has no IPv6")
    spec = place.service("dual", ipFamilyPolicy="RequireDualStack", type="NodePort")
    assert spec["ipFamilies"] == ["IPv4", "IPv6"]
    node = place.api.get("/api/v1/nodes/proa-2")
    second = node["status"]["addresses"][1]["address"]
    assert len(node["spec"]["podCIDRs"]) == 2
    for client in (place.one, place.two, place.host):
        for address in spec["clusterIPs"]:
            client.expect(address, 80, {"a", "b"})
        client.expect(second, spec["ports"][0]["nodePort"], {"a", "b"})
        assert client.ask(place.ip("b", 1), 8081)[0][0] == "b"
    assert place.one.ask(place.ip("a", 1), 8080) == [["a", place.ip("client-1", 1)]]


def test_load_balancers_have_an_address_on_the_host(place: Place) -> None:
    place.service("balanced", port("", 40080), type="LoadBalancer")
    until(lambda: place.api.get(f"{SERVICES}/balanced")["status"]["loadBalancer"], "an address")
    (ingress,) = place.api.get(f"{SERVICES}/balanced")["status"]["loadBalancer"]["ingress"]
    assert ingress["ipMode"] == "Proxy"
    url = f"http://{ingress['ip']}:40080/"
    until(lambda: {ask_from_host(url)[0] for _ in range(20)} == {"a", "b"}, "both answer")
    place.change("balanced", loadBalancerSourceRanges=["192.0.2.0/24"])
    until(lambda: ask_from_host(url)[0] == "refused", "this machine may not")
    place.change("balanced", type="ClusterIP", loadBalancerSourceRanges=None)
    until(lambda: not place.api.get(f"{SERVICES}/balanced")["status"].get("loadBalancer"), "the address goes")


def test_policies_keep_traffic_on_nodes(place: Place) -> None:
    spec = place.service(
        "local", type="LoadBalancer", externalTrafficPolicy="Local", internalTrafficPolicy="Local"
    )
    place.one.expect(spec["clusterIP"], 80, {"a"})
    place.two.expect(spec["clusterIP"], 80, {"b"})
    number = spec["healthCheckNodePort"]
    place.change("local", selector={"name": "a"})
    place.two.expect(place.node_ip(1), spec["ports"][0]["nodePort"], {"a"})
    place.host.expect(place.node_ip(2), number, {"Service Unavailable"})


def test_a_client_by_udp_leaves_an_endpoint_that_is_gone(place: Place) -> None:
    address = place.service("datagrams", port("", 80, 8080, "UDP"), selector={"name": "a"})["clusterIP"]
    place.two.expect(address, 80, {"a"}, way="lasting")
    place.change("datagrams", selector={"name": "b"})
    place.two.expect(address, 80, {"b"}, way="lasting")
