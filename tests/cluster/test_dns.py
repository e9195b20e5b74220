"""Pods find Services and one another by name, as upstream's suite asks it of a cluster's DNS."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support.clusters import Cluster

pytestmark = pytest.mark.cluster

PATIENCE_SECONDS = 90
ASK = """
import json, socket, struct, sys
def encode(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + bytes(1)
def read_name(packet, at):
    parts, after = [], 0
    while packet[at]:
        if packet[at] >= 0xC0:
            after = after or at + 2
            at = (packet[at] & 0x3F) << 8 | packet[at + 1]
            continue
        parts.append(packet[at + 1 : at + 1 + packet[at]].decode())
        at += 1 + packet[at]
    return ".".join(parts), after or at + 1
def ask(name, kind, by_tcp):
    packet = struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + encode(name) + struct.pack(">2H", KINDS[kind], 1)
    server = [line.split()[1] for line in open("/etc/resolv.conf") if line.startswith("nameserver")][0]
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM if by_tcp else socket.SOCK_DGRAM)
    made.settimeout(20)
    made.connect((server, 53))
    made.sendall((struct.pack(">H", len(packet)) if by_tcp else b"") + packet)
    answer = made.recv(4096)[2 if by_tcp else 0 :]
    found, (_, at) = [], read_name(answer, 12)
    at += 4
    for _ in range(struct.unpack_from(">H", answer, 6)[0]):
        _, at = read_name(answer, at)
        number, _, _, length = struct.unpack_from(">HHIH", answer, at)
        at += 10
        data = answer[at : at + length]
        if number == 1:
            found.append(socket.inet_ntoa(data))
        elif number in (5, 12):
            found.append(read_name(answer, at)[0])
        elif number == 33:
            found.append(f"{struct.unpack_from('>H', data, 4)[0]} {read_name(answer, at + 6)[0]}")
        at += length
    return [answer[3] & 15, sorted(found)]
KINDS = {"A": 1, "CNAME": 5, "PTR": 12, "SRV": 33}
print(json.dumps([ask(*question) for question in json.loads(sys.argv[1])]))
"""
LIBC = """
import json, socket, sys
def find(name):
    try:
        return sorted({found[4][0] for found in socket.getaddrinfo(name, None, socket.AF_INET)})
    except OSError:
        return []
print(json.dumps([find(name) for name in sys.argv[1:]]))
"""


class Names:
    """A namespace with a pod to ask from."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.svc = f"{namespace}.svc.cluster.local"

    def apply(self, *bodies: dict[str, Any]) -> None:
        items = {"apiVersion": "v1", "kind": "List", "items": list(bodies)}
        self.cluster.kubectl("apply", "-n", self.namespace, "-f", "-", stdin=json.dumps(items))

    def get(self, *words: str) -> dict[str, Any]:
        return self.cluster.get(*words, "-n", self.namespace)

    def run(self, pod: str, *words: str) -> str:
        return self.cluster.kubectl("exec", "-n", self.namespace, pod, "--", *words).stdout

    def ask(self, *questions: tuple[str, str]) -> list[Any]:
        """Return [code, records] for each (name, type): by UDP and by TCP the same."""
        asked = [[*question, by_tcp] for by_tcp in (False, True) for question in questions]
        told = json.loads(self.run("asker", "python3", "-c", ASK, json.dumps(asked)))
        assert told[: len(questions)] == told[len(questions) :]
        return list(told[: len(questions)])

    def expect(self, expected: dict[tuple[str, str], Any]) -> None:
        """Wait until these are the answers: endpoints come a moment after pods."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (told := self.ask(*expected)) != [*expected.values()] and time.monotonic() < deadline:
            pass
        assert dict(zip(expected, told, strict=True)) == expected

    def find(self, *names: str, pod: str = "asker") -> list[list[str]]:
        """Return the addresses that libc finds for each name, by the pod's resolv.conf and hosts."""
        return list(json.loads(self.run(pod, "python3", "-c", LIBC, *names)))


@pytest.fixture(scope="module")
def names(cluster: Cluster) -> Iterator[Names]:
    found = Names(cluster, "dns-names")
    cluster.kubectl("create", "namespace", found.namespace)
    found.apply(
        make_pod("asker"),
        make_pod("one", hostname="first", subdomain="inner"),
        make_pod("two", subdomain="inner"),
        make_service("inner", clusterIP="None"),
        make_service("front"),
        make_service("elsewhere", type="ExternalName", externalName="foo.example.com", ports=None),
    )
    cluster.kubectl("wait", "-n", found.namespace, "pod", "--all", "--for=condition=Ready", "--timeout=120s")
    yield found
    cluster.kubectl("delete", "namespace", found.namespace, "--wait=false")


def make_pod(name: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "proa.local/python", "command": ["sleep", "1000000"]}
    labels = {"app": "named" if "subdomain" in spec else name}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


def make_service(name: str, **spec: Any) -> dict[str, Any]:
    ports = [
        {"name": "http", "port": 80, "targetPort": 8080},
        {"name": "names", "port": 53, "protocol": "UDP"},
    ]
    spec = {"selector": {"app": "named"}, "ports": ports, **spec}
    spec = {key: value for key, value in spec.items() if value is not None}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def test_services_have_addresses_ports_and_names_back(names: Names) -> None:
    """[sig-network] DNS should provide DNS for the cluster
    [sig-network] DNS should provide DNS for services
    """
    svc, api = names.svc, "kubernetes.default.svc.cluster.local"
    front = names.get("service", "front")["spec"]["clusterIP"]
    first, second = (names.get("pod", pod)["status"]["podIP"] for pod in ("one", "two"))
    dashed = second.replace(".", "-")
    hosts = [f"first.inner.{svc}", f"{dashed}.inner.{svc}"]
    names.expect(
        {
            (api, "A"): [0, ["10.96.0.1"]],
            ("1.0.96.10.in-addr.arpa", "PTR"): [0, [api]],
            (f"front.{svc}", "A"): [0, [front]],
            (f"inner.{svc}", "A"): [0, sorted([first, second])],
            (f"_http._tcp.front.{svc}", "SRV"): [0, [f"80 front.{svc}"]],
            (f"_names._udp.front.{svc}", "SRV"): [0, [f"53 front.{svc}"]],
            (f"_http._udp.front.{svc}", "SRV"): [3, []],
            (f"_http._tcp.inner.{svc}", "SRV"): [0, sorted(f"8080 {host}" for host in hosts)],
            (ipaddress.ip_address(front).reverse_pointer, "PTR"): [0, [f"front.{svc}"]],
            (f"{dashed}.{names.namespace}.pod.cluster.local", "A"): [0, [second]],
            (f"nobody.{svc}", "A"): [3, []],
        }
    )


def test_partial_names_are_searched_for(names: Names) -> None:
    """[sig-network] DNS should resolve DNS of partial qualified names for services"""
    front = names.get("service", "front")["spec"]["clusterIP"]
    place = names.namespace
    partial = ["front", f"front.{place}", f"front.{place}.svc", f"front.{names.svc}", f"front.{names.svc}."]
    assert names.find(*partial, "nobody") == [[front]] * len(partial) + [[]]
    conf = names.run("asker", "cat", "/etc/resolv.conf").splitlines()
    assert "nameserver 10.96.0.10" in conf
    assert "options ndots:5" in conf
    assert any(line.startswith(f"search {names.svc} svc.cluster.local cluster.local") for line in conf)


def test_pods_have_names_of_their_own(names: Names) -> None:
    """[sig-network] DNS should provide DNS for pods for Hostname
    [sig-network] DNS should provide DNS for pods for Subdomain
    [sig-network] DNS should provide /etc/hosts entries for the cluster
    """
    first, second = (names.get("pod", pod)["status"]["podIP"] for pod in ("one", "two"))
    svc = names.svc
    names.expect(
        {
            (f"first.inner.{svc}", "A"): [0, [first]],
            (f"one.inner.{svc}", "A"): [3, []],
            (ipaddress.ip_address(first).reverse_pointer, "PTR"): [
                0,
                sorted([f"first.inner.{svc}", f"{first.replace('.', '-')}.front.{svc}"]),
            ],
        }
    )
    assert names.find("first", f"first.inner.{svc}", pod="one") == [[first]] * 2
    hosts = [line.split() for line in names.run("two", "cat", "/etc/hosts").splitlines()]
    assert [second, f"two.inner.{svc}", "two"] in hosts
    assert names.find("two", pod="two") == [[second]]
    assert names.run("one", "hostname", "-f") == f"first.inner.{svc}\n"


def test_names_of_elsewhere_are_aliases_until_they_are_services(names: Names) -> None:
    """[sig-network] DNS should provide DNS for ExternalName services"""
    name = f"elsewhere.{names.svc}"
    names.expect({(name, "CNAME"): [0, ["foo.example.com"]]})
    names.apply(make_service("elsewhere", type="ExternalName", externalName=f"front.{names.svc}", ports=None))
    names.expect({(name, "CNAME"): [0, [f"front.{names.svc}"]]})
    front = names.get("service", "front")["spec"]["clusterIP"]
    names.expect({(name, "A"): [0, sorted([front, f"front.{names.svc}"])]})
    patch = {"spec": {"type": "ClusterIP", "externalName": None, "ports": [{"port": 80}]}}
    names.cluster.kubectl("patch", "-n", names.namespace, "service", "elsewhere", "-p", json.dumps(patch))
    names.expect({(name, "A"): [0, [names.get("service", "elsewhere")["spec"]["clusterIP"]]]})


def test_pods_choose_their_resolvers(names: Names) -> None:
    """[sig-network] DNS should support configurable pod DNS nameservers"""
    config = {
        "nameservers": ["1.1.1.1"],
        "searches": ["resolv.conf.local"],
        "options": [{"name": "ndots", "value": "2"}],
    }
    names.apply(make_pod("own", dnsPolicy="None", dnsConfig=config), make_pod("hosts", dnsPolicy="Default"))
    names.cluster.kubectl(
        "wait", "-n", names.namespace, "pod/own", "pod/hosts", "--for=condition=Ready", "--timeout=120s"
    )
    found = names.run("own", "cat", "/etc/resolv.conf").splitlines()
    assert sorted(found) == ["nameserver 1.1.1.1", "options ndots:2", "search resolv.conf.local"]
    assert "svc.cluster.local" not in names.run("hosts", "cat", "/etc/resolv.conf")


def test_names_below_localhost_are_the_pods_own_but_the_gateways(names: Names) -> None:
    """Other tests may have had the gateway started: its names are then those of its Service."""
    gateway = names.cluster.kubectl(
        "get",
        "service",
        "proa-gateway",
        "-n",
        "kube-system",
        "--ignore-not-found",
        "-o",
        "jsonpath={.spec.clusterIP}",
    ).stdout
    known = [0, [gateway]] if gateway else [3, []]
    names.expect({("some.localhost", "A"): [0, ["127.0.0.1"]], ("web.proa.localhost", "A"): known})
