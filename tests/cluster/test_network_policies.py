"""NetworkPolicies hold between real pods of two nodes: who reaches whom, by table, as upstream's e2e suite asks it.

Three namespaces (x, y, z) have three pods each (a, b, c), labelled with their names, on two ports by TCP and UDP. The
cases are those of test/e2e/network/netpol; each says which of all connections are to be.
"""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from support.clusters import Cluster, ProaCommand
from support.processes import find_processes

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("network policies")]

NAMESPACES, NAMES = "xyz", "abc"
PORTS, PROTOCOLS = (80, 81), ("TCP", "UDP")
PATIENCE_SECONDS = 90
AGENT = """
import json, socket, sys, threading
def serve_tcp(port):
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    server = socket.create_server(("", port), family=family, dualstack_ipv6=both)
    while True:
        made, _ = server.accept()
        made.sendall(b"hello")
        threading.Thread(target=echo, args=(made,), daemon=True).start()
def echo(made):
    with made:
        made.sendall(made.recv(5))
def serve_udp(port):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("", port))
    while True:
        data, who = server.recvfrom(100)
        server.sendto(b"hello", who)
for port in (80, 81):
    for serve in (serve_tcp, serve_udp):
        threading.Thread(target=serve, args=(port,), daemon=True).start()
print("ready", flush=True)
threading.Event().wait()
"""
PROBER = """
import json, socket, sys, threading
kept = {}
def reach(target, seconds, told):
    host, port, protocol = target
    kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as made:
        made.settimeout(seconds)
        try:
            made.connect((host, port))
            if protocol == "UDP":
                made.send(b"x")
            told.append(target) if made.recv(5) == b"hello" else None
        except OSError:
            pass
for line in sys.stdin:
    asked, told = json.loads(line), []
    if "keep" in asked:
        kept["one"] = socket.create_connection(asked["keep"], 5)
        told = kept["one"].recv(5).decode()
    elif "use" in asked:
        kept["one"].sendall(b"again")
        told = kept["one"].recv(5).decode()
    else:
        work = [threading.Thread(target=reach, args=(t, asked["seconds"], told)) for t in asked["targets"]]
        [thread.start() for thread in work]
        [thread.join() for thread in work]
    print(json.dumps(told), flush=True)
"""


class Pod(NamedTuple):
    """A pod of the table."""

    namespace: str
    name: str


class Way(NamedTuple):
    """From a pod to another, at a port."""

    source: Pod
    target: Pod
    port: int
    protocol: str


PODS = [Pod(*pair) for pair in itertools.product(NAMESPACES, NAMES)]
WAYS = [Way(*way) for way in itertools.product(PODS, PODS, PORTS, PROTOCOLS) if way[0] != way[1]]
Allowed = Callable[[Way], bool]


class Prober:
    """A program in a pod that tells what it reaches."""

    def __init__(self, cluster: Cluster, pod: Pod) -> None:
        words = ("exec", "-i", pod.name, "-n", pod.namespace, "--", "python3", "-u", "-c", PROBER)
        self._program = subprocess.Popen(
            cluster.kubectl_command(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, question: dict[str, Any]) -> Any:
        assert self._program.stdin
        assert self._program.stdout
        self._program.stdin.write(json.dumps(question) + "\n")
        self._program.stdin.flush()
        return json.loads(self._program.stdout.readline())

    def close(self) -> None:
        self._program.communicate()


class Table:
    """The pods, and what each reaches."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.addresses = {pod: self._get(pod)["status"]["podIP"] for pod in PODS}
        self._pods = {address: pod for pod, address in self.addresses.items()}
        self.probers = {pod: Prober(cluster, pod) for pod in PODS}

    def _get(self, pod: Pod) -> dict[str, Any]:
        return self.cluster.get("pod", pod.name, "-n", pod.namespace)

    def reached(self, seconds: float) -> set[Way]:
        """Return which ways there are; what takes longer is none."""
        found: set[Way] = set()

        def ask(pod: Pod) -> None:
            targets = [(self.addresses[w.target], w.port, w.protocol) for w in WAYS if w.source == pod]
            told = self.probers[pod].ask({"targets": targets, "seconds": seconds})
            found.update(Way(pod, self._pods[host], port, protocol) for host, port, protocol in told)

        threads = [threading.Thread(target=ask, args=(pod,)) for pod in PODS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    def expect(self, allowed: Allowed) -> None:
        """Wait until exactly these ways are there: rules come a moment after policies."""
        wanted = {way for way in WAYS if allowed(way)}
        deadline, seconds = time.monotonic() + PATIENCE_SECONDS, 0.4
        while (reached := self.reached(seconds)) != wanted and time.monotonic() < deadline:
            seconds = min(4.0, seconds * 1.6)
        assert sorted(reached - wanted) == []
        assert sorted(wanted - reached) == []

    def close(self) -> None:
        for prober in self.probers.values():
            prober.close()


@pytest.fixture(scope="module")
def cluster(kubectl_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of two nodes, with the nine pods on them in turn."""
    proa = ProaCommand(tmp_path_factory.mktemp("policies") / "home", sys.executable)
    proa("up", "--detach", "--port", "0", "--nodes", "2")
    made = Cluster(proa, kubectl_path)
    if told := made.get("events", "-A", "--field-selector=reason=NoOutsideNetwork")["items"]:
        proa("reset", "--yes")
        pytest.skip(f"not on this machine: {told[0]['message']}")
    names = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n, "labels": {"ns": n}}}
        for n in NAMESPACES
    ]
    apply(made, *names, *(make_pod(pod, number) for number, pod in enumerate(PODS)))
    made.kubectl("wait", "pod", "--all", "-A", "--for=condition=Ready", "--timeout=90s", timeout=120)
    yield made
    proa("reset", "--yes")
    assert not find_processes(str(proa.home))


@pytest.fixture(scope="module")
def table(cluster: Cluster) -> Iterator[Table]:
    found = Table(cluster)
    yield found
    found.close()


def make_pod(pod: Pod, number: int) -> dict[str, Any]:
    ports = [{"containerPort": port, "name": f"serve-{port}-{protocol.lower()}", "protocol": protocol}
             for port in PORTS for protocol in PROTOCOLS]  # fmt: skip
    container = {
        "name": "c",
        "image": "proa.local/python",
        "command": ["python3", "-u", "-c", AGENT],
        "ports": ports,
        "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1},
    }
    metadata = {"name": pod.name, "namespace": pod.namespace, "labels": {"pod": pod.name}}
    spec = {
        "containers": [container],
        "nodeName": f"proa-{1 + number % 2}",
        "terminationGracePeriodSeconds": 0,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def make_policy(name: str, spec: dict[str, Any], namespace: str = "x") -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def apply(cluster: Cluster, *bodies: dict[str, Any]) -> None:
    items = {"apiVersion": "v1", "kind": "List", "items": list(bodies)}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(items))


ALL: dict[str, Any] = {}
IN_X_A = {"matchLabels": {"pod": "a"}}
B_OR_C = {"matchExpressions": [{"key": "pod", "operator": "In", "values": ["b", "c"]}]}
NOT_X = {"matchExpressions": [{"key": "ns", "operator": "NotIn", "values": ["x"]}]}
ONLY_Z = {"matchLabels": {"ns": "z"}}
A_OF_X = Pod("x", "a")
EVERY_POD = "10.244.0.0/16"


def into(pod: Pod, allowed: Allowed) -> Allowed:
    """Return what is allowed where one pod is judged for what comes in."""
    return lambda way: way.target != pod or allowed(way)


def out_of(pod: Pod, allowed: Allowed) -> Allowed:
    """Return what is allowed where one pod is judged for what goes out."""
    return lambda way: way.source != pod or allowed(way)


def ingress(selector: dict[str, Any], *rules: dict[str, Any]) -> dict[str, Any]:
    return {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": list(rules)}


def egress(selector: dict[str, Any], *rules: dict[str, Any]) -> dict[str, Any]:
    return {"podSelector": selector, "policyTypes": ["Egress"], "egress": list(rules)}


UDP_80_BY_NAME = {"port": "serve-80-udp", "protocol": "UDP"}
NOT_80 = [{"port": 81, "endPort": 90}, {"port": 70, "endPort": 79}]
ANYWHERE = [{"namespaceSelector": NOT_X}, {"podSelector": {}}]
ANY_BY_UDP = {"ports": [{"protocol": "UDP"}]}

CASES: dict[str, tuple[list[dict[str, Any]], Allowed]] = {
    "default deny of what comes in": ([ingress(ALL)], lambda way: way.target.namespace != "x"),
    "default deny of what goes out": ([egress(ALL)], lambda way: way.source.namespace != "x"),
    "default deny of both": (
        [{"podSelector": ALL, "policyTypes": ["Ingress", "Egress"]}],
        lambda way: "x" not in (way.source.namespace, way.target.namespace),
    ),
    "allow all": ([ingress(ALL, {}), egress(ALL, {})], lambda way: True),
    "pods of its own namespace by label": (
        [ingress(IN_X_A, {"from": [{"podSelector": B_OR_C}]})],
        into(A_OF_X, lambda way: way.source.namespace == "x"),
    ),
    "namespaces by expression": (
        [ingress(IN_X_A, {"from": [{"namespaceSelector": NOT_X}]})],
        into(A_OF_X, lambda way: way.source.namespace in "yz"),
    ),
    "pods and namespaces together": (
        [ingress(IN_X_A, {"from": [{"namespaceSelector": NOT_X, "podSelector": B_OR_C}]})],
        into(A_OF_X, lambda way: way.source.namespace in "yz" and way.source.name in "bc"),
    ),
    "pods or namespaces": (
        [ingress(IN_X_A, {"from": [{"namespaceSelector": ONLY_Z}, {"podSelector": {"matchLabels": {"pod": "b"}}}]})],
        into(A_OF_X, lambda way: way.source.namespace == "z" or way.source == Pod("x", "b")),
    ),
    "a port, a port's name, and another policy that adds to them": (
        [
            ingress(IN_X_A, {"ports": [{"port": 81}], "from": [{"namespaceSelector": ONLY_Z}]}),
            ingress(IN_X_A, {"ports": [UDP_80_BY_NAME], "from": [{"namespaceSelector": NOT_X}]}),
            ingress(IN_X_A, {"from": [{"podSelector": {"matchLabels": {"pod": "c"}}}]}),
        ],
        into(
            A_OF_X,
            lambda way: (way.source.namespace == "z" and way[2:] == (81, "TCP"))
            or (way.source.namespace in "yz" and way[2:] == (80, "UDP"))
            or way.source == Pod("x", "c"),
        ),
    ),
    "a protocol": ([ingress(ALL, ANY_BY_UDP)], lambda way: way.target.namespace != "x" or way.protocol == "UDP"),
    "a range of ports": (
        [egress(IN_X_A, {"ports": NOT_80, "to": ANYWHERE})],
        out_of(A_OF_X, lambda way: way[2:] == (81, "TCP")),
    ),
    "a way out to a namespace at a port's name": (
        [egress(IN_X_A, {"ports": [{"port": "serve-81-tcp"}], "to": [{"namespaceSelector": ONLY_Z}]})],
        out_of(A_OF_X, lambda way: way.target.namespace == "z" and way[2:] == (81, "TCP")),
    ),
    "both directions of one connection": (
        [egress(IN_X_A, {"to": [{"podSelector": B_OR_C}]}), ingress(B_OR_C, {"ports": [{"port": 80}]})],
        lambda way: (way.source != A_OF_X or way.target in (Pod("x", "b"), Pod("x", "c")))
        and (way.target not in (Pod("x", "b"), Pod("x", "c")) or way[2:] == (80, "TCP")),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_exactly_what_policies_allow_is_reached(table: Table, case: str) -> None:
    policies, allowed = CASES[case]
    bodies = [make_policy(f"p{number}", spec) for number, spec in enumerate(policies)]
    apply(table.cluster, *bodies)
    try:
        table.expect(allowed)
    finally:
        table.cluster.kubectl("delete", "networkpolicy", "--all", "-n", "x")


def test_blocks_of_addresses_are_judged_less_their_exceptions(table: Table) -> None:
    cluster, y = table.cluster, {p: table.addresses[p] for p in PODS if p.namespace == "y"}
    blocks = [
        {"ipBlock": {"cidr": EVERY_POD, "except": [f"{y[Pod('y', 'a')]}/32", f"{y[Pod('y', 'b')]}/32"]}}
    ]
    apply(
        cluster,
        make_policy("in", ingress(IN_X_A, {"from": blocks})),
        make_policy(
            "out",
            egress({"matchLabels": {"pod": "b"}}, {"to": [{"ipBlock": {"cidr": f"{y[Pod('y', 'c')]}/32"}}]}),
        ),
    )
    try:
        b_of_x, hidden = Pod("x", "b"), (Pod("y", "a"), Pod("y", "b"))
        table.expect(
            lambda way: (
                (way.target != A_OF_X or way.source not in hidden)
                and (way.source != b_of_x or way.target == Pod("y", "c"))
            )
        )
    finally:
        cluster.kubectl("delete", "networkpolicy", "--all", "-n", "x")


def test_labels_policies_and_pods_may_change_and_open_connections_go_on(table: Table) -> None:
    cluster = table.cluster
    table.probers[Pod("y", "a")].ask({"keep": [table.addresses[A_OF_X], 80]})
    peer = {
        "namespaceSelector": {"matchLabels": {"team": "red"}},
        "podSelector": {"matchLabels": {"pod": "b"}},
    }
    apply(cluster, make_policy("p", ingress(IN_X_A, {"from": [peer]})))
    try:
        table.expect(into(A_OF_X, lambda way: False))
        assert table.probers[Pod("y", "a")].ask({"use": True}) == "again"
        cluster.kubectl("label", "namespace", "y", "team=red")
        table.expect(into(A_OF_X, lambda way: way.source == Pod("y", "b")))
        cluster.kubectl("label", "pod", "-n", "y", "c", "pod=b", "--overwrite")
        table.expect(into(A_OF_X, lambda way: way.source in (Pod("y", "b"), Pod("y", "c"))))
        apply(cluster, make_policy("p", ingress(IN_X_A, {"from": [peer], "ports": [{"port": 81}]})))
        table.expect(
            into(A_OF_X, lambda way: way.source in (Pod("y", "b"), Pod("y", "c")) and way[2:] == (81, "TCP"))
        )
        cluster.kubectl("label", "pod", "-n", "x", "a", "pod=free", "--overwrite")
        table.expect(lambda way: True)
    finally:
        cluster.kubectl("delete", "networkpolicy", "--all", "-n", "x")
        cluster.kubectl("label", "pod", "-n", "y", "c", "pod=c", "--overwrite")
        cluster.kubectl("label", "pod", "-n", "x", "a", "pod=a", "--overwrite")
        cluster.kubectl("label", "namespace", "y", "team-")


def reaches(table: Table, pod: Pod, host: str, port: int, protocol: str = "TCP") -> bool:
    told = table.probers[pod].ask({"targets": [[host, port, protocol]], "seconds": 2})
    return bool(told)


def test_services_the_host_and_the_node_itself_are_judged_by_where_it_goes(table: Table) -> None:
    cluster = table.cluster
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("not on this machine: it has no route to other networks")
        host = probe.getsockname()[0]
    port = {"port": 8080, "targetPort": 80}
    spec = {"selector": {"pod": "b"}, "ports": [port]}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "b", "namespace": "y"},
        "spec": spec,
    }
    apply(cluster, service)
    address = cluster.get("service", "b", "-n", "y")["spec"]["clusterIP"]
    listener = socket.create_server((host, 0))
    outside = listener.getsockname()[1]

    def greet() -> None:
        while True:
            try:
                made, _ = listener.accept()
            except OSError:
                return
            made.sendall(b"hello")
            made.close()

    threading.Thread(target=greet, daemon=True).start()
    try:
        wait_until(lambda: reaches(table, A_OF_X, address, 8080))
        assert reaches(table, A_OF_X, host, outside)
        apply(cluster, make_policy("none", egress(ALL)))
        wait_until(lambda: not reaches(table, A_OF_X, address, 8080))
        assert not reaches(table, A_OF_X, host, outside)
        peers = [{"namespaceSelector": {"matchLabels": {"ns": "y"}}}]
        apply(
            cluster,
            make_policy(
                "some",
                egress(
                    ALL, {"to": peers, "ports": [{"port": 80}]}, {"to": [{"ipBlock": {"cidr": f"{host}/32"}}]}
                ),
            ),
        )
        wait_until(lambda: reaches(table, A_OF_X, address, 8080))
        wait_until(lambda: reaches(table, A_OF_X, host, outside))
        assert table.cluster.get("pod", "a", "-n", "x")["status"]["containerStatuses"][0]["ready"]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        cluster.kubectl("delete", "networkpolicy", "--all", "-n", "x")


def test_second_addresses_are_judged_like_the_first(table: Table) -> None:
    found = {pod: table.cluster.get("pod", pod.name, "-n", pod.namespace)["status"]["podIPs"] for pod in PODS}
    if any(len(addresses) < 2 for addresses in found.values()):
        pytest.skip("not on this machine: pods have no addresses of IPv6")
    second = {pod: addresses[1]["ip"] for pod, addresses in found.items()}
    friend, stranger, far = Pod("x", "b"), Pod("y", "b"), Pod("z", "a")

    def told() -> list[bool]:
        ways = ((friend, A_OF_X), (stranger, A_OF_X), (friend, far), (A_OF_X, A_OF_X))
        return [reaches(table, source, second[target], 80) for source, target in ways]

    wait_until(lambda: told() == [True] * 4)
    apply(
        table.cluster,
        make_policy("in", ingress(IN_X_A, {"from": [{"podSelector": {}}]})),
        make_policy("out", egress({"matchLabels": {"pod": "b"}}, {"to": [{"podSelector": {}}]})),
    )
    try:
        wait_until(lambda: told() == [True, False, False, True])
        block = {"ipBlock": {"cidr": f"{second[far]}/128"}}
        apply(table.cluster, make_policy("more", egress({"matchLabels": {"pod": "b"}}, {"to": [block]})))
        wait_until(lambda: told() == [True, False, True, True])
    finally:
        table.cluster.kubectl("delete", "networkpolicy", "--all", "-n", "x")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline


def test_a_new_pod_is_judged_before_it_runs(table: Table) -> None:
    cluster = table.cluster
    apply(
        cluster,
        make_policy("none", {"podSelector": {"matchLabels": {"pod": "eager"}}, "policyTypes": ["Egress"]}),
    )
    program = f"""
import socket
try:
    socket.create_connection(({table.addresses[A_OF_X]!r}, 80), 2)
    print("reached")
except OSError as error:
    print("not reached", type(error).__name__)
"""
    container = {"name": "c", "image": "proa.local/python", "command": ["python3", "-c", program]}
    pods = [
        {"apiVersion": "v1", "kind": "Pod",
         "metadata": {"name": f"eager-{n}", "namespace": "x", "labels": {"pod": "eager"}},
         "spec": {"containers": [container], "restartPolicy": "Never", "nodeName": f"proa-{1 + n % 2}"}}
        for n in range(4)
    ]  # fmt: skip
    try:
        apply(cluster, *pods)
        for pod in pods:
            name = pod["metadata"]["name"]
            cluster.kubectl(
                "wait", f"pod/{name}", "-n", "x", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s"
            )
            assert cluster.kubectl("logs", "-n", "x", name).stdout == "not reached TimeoutError\n"
    finally:
        cluster.kubectl("delete", "networkpolicy", "--all", "-n", "x")
        cluster.kubectl("delete", "pod", "-n", "x", "-l", "pod=eager", "--now")
