"""Both data paths (nftables and userspace) bring real connections in real network namespaces to the right endpoint.

Needs root, `unshare` and `ip`. The node is a network namespace with a bridge; each
pod is another, with an address on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from proa.client.fake import FakeClient
from proa.network.data_path import DataPath, Endpoint, ServiceKey, ServicePort
from proa.network.dns import service_object
from proa.network.host import HostEntrance
from proa.network.hostports import HostPorts
from proa.network.network import Network
from proa.network.nftables import NftablesDataPath
from proa.network.protocol import NetworkSettings
from proa.network.userspace import UserspaceDataPath
from proa.node.noded import netfilter
from proa.objects.resource import ENDPOINT_SLICES, SERVICES
from proa.reconcile.informer import InformerFactory
from support.etcd import free_port

NODE_IP = "10.243.0.1"
CLUSTER_IP = "10.96.0.77"
GATEWAY = "10.244.1.1"
EXTERNAL, MACHINE = "198.51.100.7", "192.0.2.9"
WEB = ServiceKey("default", "web")
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


HAS_IPV6 = os.path.exists("/proc/net/if_inet6")
ANY = "::" if HAS_IPV6 else "0.0.0.0"
NODE_IPV6, CLUSTER_IPV6 = "fd00:10:243::1", "fd00:10:96::77"
NO_UVLOOP = "not on this machine: uvloop is not installed"


def in_ipv6(address: str) -> str:
    """Return the other address of what has this one: 10.244.1.2 is fd00:10:244:1::2 too."""
    _, _, third, last = address.split(".")
    return f"fd00:10:244:{third}::{last}"


def why_not(backend: str) -> str:
    if os.geteuid() != 0:
        return "not on this machine: needs root to make network namespaces"
    for program in ("unshare", "ip"):
        if shutil.which(program) is None:
            return f"not on this machine: {program} is not installed"
    probe = subprocess.run(["unshare", "--net", "ip", "link", "add", "type", "veth"], capture_output=True)
    return (
        ""
        if probe.returncode == 0
        else f"not on this machine: network namespaces do not work: {probe.stderr.decode().strip()}"
    )


class Namespace:
    """A network namespace, held by a process that waits, and a thread that makes sockets in it."""

    def __init__(self) -> None:
        command = ["unshare", "--net", "sh", "-c", "echo; exec cat"]
        self.holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.holder.stdout
        self.holder.stdout.readline()
        self.thread = ThreadPoolExecutor(1)
        self.thread.submit(self._enter).result()

    def _enter(self) -> None:
        fd = os.open(f"/proc/{self.holder.pid}/ns/net", os.O_RDONLY)
        if _libc.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        os.close(fd)

    def run(self, command: str, stdin: str = "") -> None:
        program = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", *command.split()]
        done = subprocess.run(program, input=stdin.encode(), capture_output=True)
        assert done.returncode == 0, f"{command}: {done.stderr.decode()}\n{stdin}"

    def socket(self, kind: str, host: str = "", port: int = 0) -> socket.socket:
        return self.thread.submit(self._socket, kind, host, port).result()

    @staticmethod
    def _socket(kind: str, host: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
        try:
            if host not in ("", "::") or port:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind((host, port))
            if kind == "tcp-listen":
                made.listen(1024)
        except OSError:
            made.close()
            raise
        made.setblocking(False)
        return made

    def close(self) -> None:
        self.thread.shutdown()
        self.holder.communicate()


@dataclass
class Node:
    """A NodeNetwork, with pods."""

    namespace: Namespace = field(default_factory=Namespace)
    pods: dict[str, Namespace] = field(default_factory=dict)
    servers: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        for command in (
            "ip link set lo up",
            "ip link add br0 type bridge",
            "ip link set br0 up",
            f"ip addr add {GATEWAY}/24 dev br0",
            f"ip addr add {NODE_IP}/32 dev lo",
            "sysctl -qw net.ipv4.ip_forward=1",
            f"ip route add local 10.96.0.0/16 dev lo src {NODE_IP}",
        ):
            self.namespace.run(command)
        if HAS_IPV6:
            for command in (
                "sysctl -qw net.ipv6.conf.all.forwarding=1",
                f"ip addr add {in_ipv6(GATEWAY)}/64 dev br0 nodad",
                f"ip addr add {NODE_IPV6}/128 dev lo nodad",
                f"ip route add local fd00:10:96::/112 dev lo src {NODE_IPV6}",
            ):
                self.namespace.run(command)

    def add_pod(self, address: str) -> Namespace:
        pod = self.pods[address] = Namespace()
        name = f"v{len(self.pods)}"
        self.namespace.run(f"ip link add {name} type veth peer name eth0 netns {pod.holder.pid}")
        self.namespace.run(f"ip link set {name} master br0 up")
        self.namespace.run(f"bridge link set dev {name} hairpin on")
        for command in (
            "ip link set lo up",
            f"ip addr add {address}/24 dev eth0",
            "ip link set eth0 up",
            f"ip route add default via {GATEWAY}",
        ):
            pod.run(command)
        if HAS_IPV6:
            pod.run("sysctl -qw net.ipv6.conf.eth0.accept_redirects=0")
            pod.run(f"ip addr add {in_ipv6(address)}/128 dev eth0 nodad")
            pod.run(f"ip route add {in_ipv6(GATEWAY)}/128 dev eth0")
            pod.run(f"ip route add default via {in_ipv6(GATEWAY)}")
        return pod

    async def serve(self, address: str, port: int = 8080) -> None:
        """Answer each TCP connection and datagram in the pod with the pod's address and the client's."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            client = writer.get_extra_info("peername")[0].removeprefix("::ffff:")
            sent = await reader.read()
            writer.write(f"{address} {client} {len(sent)}".encode())
            await writer.drain()
            writer.close()

        class Echo(asyncio.DatagramProtocol):
            def connection_made(self, transport: Any) -> None:
                self.transport = transport

            def datagram_received(self, data: bytes, addr: Any) -> None:
                self.transport.sendto(
                    f"{address} {addr[0].removeprefix('::ffff:')} {len(data)}".encode(), addr
                )

        pod = self.pods[address]
        self.servers.append(await asyncio.start_server(answer, sock=pod.socket("tcp-listen", ANY, port)))
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Echo, sock=pod.socket("udp", ANY, port))
        self.servers.append(transport)

    async def open_socket(self, kind: str, host: str = "", port: int = 0) -> socket.socket:
        return self.namespace.socket(kind, host, port)

    async def add_addresses(self, addresses: list[str]) -> None:
        for address in addresses:
            at_once = " nodad" if ":" in address else ""  # as noded adds them: listeners follow in no time
            self.namespace.run(f"ip addr replace {address} dev lo{at_once}")

    async def remove_addresses(self, addresses: list[str]) -> None:
        for address in addresses:
            self.namespace.run(f"ip addr del {address} dev lo")

    async def ask_netfilter(self, request: bytes) -> bytes:
        return self.namespace.thread.submit(netfilter.ask, request).result()

    def close(self) -> None:
        for server in self.servers:
            server.close()
        for namespace in (*self.pods.values(), self.namespace):
            namespace.close()


async def ask(
    namespace: Namespace | None,
    address: str,
    port: int,
    data: bytes = b"hello",
    *,
    timeout_seconds: float = 20,
) -> list[str]:
    """Connect from a namespace (None: the host's), send, end, and return the words of the answer."""
    sock = namespace.socket("tcp", "::" if ":" in address else "") if namespace else socket.socket()
    sock.setblocking(False)
    async with asyncio.timeout(timeout_seconds):
        try:
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
        except BaseException:
            sock.close()
            raise
        reader, writer = await asyncio.open_connection(sock=sock)
        writer.write(data)
        writer.write_eof()
        answer = await reader.read()
    writer.close()
    return answer.decode().split()


async def ask_udp(sock: socket.socket, address: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(60):
        sock.connect((address, port))
        await loop.sock_sendall(sock, b"hello")
        return (await loop.sock_recv(sock, 100)).decode().split()


def make_port(*endpoints: str, protocol: str = "TCP", affinity_seconds: int = 0) -> ServicePort:
    targets = tuple(Endpoint(address, 8080) for address in endpoints)
    return ServicePort(WEB, "", protocol, (CLUSTER_IP,), 80, 30080, affinity_seconds, targets, targets)


def changed(*ports: ServicePort) -> DataPath:
    return {WEB: ports}


A, B, C = "10.244.1.2", "10.244.1.3", "10.244.1.4"
Scenario = Callable[[Node, Any], Coroutine[Any, Any, None]]


@pytest.fixture(params=["userspace", "userspace-uvloop", "nftables"])
def run(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    """Run a scenario with a node that has serving pods A and B and an idle pod C, and a started data path."""
    backend, _, loop = request.param.partition("-")
    loop_factory = pytest.importorskip("uvloop", reason=NO_UVLOOP).new_event_loop if loop else None
    if reason := why_not(backend):
        pytest.skip(reason)
    problems: list[str] = []

    @contextlib.asynccontextmanager
    async def started() -> AsyncIterator[tuple[Node, Any]]:
        node = Node()
        try:
            for address in (A, B, C):
                node.add_pod(address)
            await node.serve(A)
            await node.serve(B)
            if backend == "userspace":
                path: Any = UserspaceDataPath(
                    node, [NODE_IP, NODE_IPV6], lambda *problem: problems.append(str(problem))
                )
            else:
                path = NftablesDataPath(node, [NODE_IP, NODE_IPV6], ["10.244.0.0/16", "fd00:10:244::/48"])
            await path.start()
            try:
                yield node, path
            finally:
                await path.stop()
        finally:
            node.close()
            await asyncio.sleep(0)
        assert not problems

    def go(scenario: Scenario) -> None:
        async def main() -> None:
            async with started() as (node, path):
                await scenario(node, path)

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main())

    return go


def test_connections_from_pods_and_the_node_spread_over_all_endpoints(
    run: Callable[[Scenario], None],
) -> None:
    async def scenario(node: Node, path: Any) -> None:
        await path.apply(changed(make_port(A, B)))
        for client in (node.pods[C], node.namespace):
            answers = [await ask(client, CLUSTER_IP, 80, b"x" * 100_000) for _ in range(30)]
            assert {answer[0] for answer in answers} == {A, B}
            assert {answer[2] for answer in answers} == {"100000"}

    run(scenario)


def test_the_node_port_answers_on_the_nodes_address(run: Callable[[Scenario], None]) -> None:
    async def scenario(node: Node, path: Any) -> None:
        await path.apply(changed(make_port(A)))
        assert (await ask(node.pods[C], NODE_IP, 30080))[0] == A
        assert (await ask(node.namespace, NODE_IP, 30080))[0] == A

    run(scenario)


@pytest.mark.parametrize("run", ["nftables"], indirect=True)
def test_no_pod_reaches_the_loopback_of_its_node(run: Callable[[Scenario], None]) -> None:
    async def scenario(node: Node, path: Any) -> None:
        node.namespace.run("sysctl -qw net.ipv4.conf.all.route_localnet=1")
        pod = node.pods[C]
        for command in (
            "sysctl -qw net.ipv4.conf.all.route_localnet=1",
            "ip addr del 127.0.0.1/8 dev lo",
            f"ip route add 127.0.0.0/8 via {GATEWAY}",
        ):
            pod.run(command)
        with node.namespace.socket("udp", "0.0.0.0", 9999) as heard, pod.socket("udp") as client:
            client.sendto(b"to loopback", ("127.0.0.1", 9999))
            client.sendto(b"to the node", (NODE_IP, 9999))
            async with asyncio.timeout(60):
                assert await asyncio.get_running_loop().sock_recv(heard, 100) == b"to the node"

    run(scenario)


def test_a_pod_reaches_itself_through_its_own_service(run: Callable[[Scenario], None]) -> None:
    async def scenario(node: Node, path: Any) -> None:
        await path.apply(changed(make_port(A)))
        assert (await ask(node.pods[A], CLUSTER_IP, 80))[0] == A

    run(scenario)


def test_new_connections_follow_the_endpoints_and_are_refused_without_any(
    run: Callable[[Scenario], None],
) -> None:
    async def scenario(node: Node, path: Any) -> None:
        await path.apply(changed(make_port(A, B)))
        await path.apply(changed(make_port(B)))
        assert {(await ask(node.pods[C], CLUSTER_IP, 80))[0] for _ in range(10)} == {B}
        await path.apply(changed(make_port()))
        for address, port in ((CLUSTER_IP, 80), (NODE_IP, 30080)):
            with pytest.raises(ConnectionRefusedError):
                await ask(node.pods[C], address, port)
        await path.apply(changed(make_port(A)))
        assert (await ask(node.pods[C], CLUSTER_IP, 80))[0] == A
        await path.apply({WEB: ()})
        with pytest.raises(ConnectionRefusedError):
            await ask(node.pods[C], CLUSTER_IP, 80)

    run(scenario)


def test_an_open_connection_outlives_its_endpoints_removal(run: Callable[[Scenario], None]) -> None:
    async def scenario(node: Node, path: Any) -> None:
        await path.apply(changed(make_port(A)))
        sock = node.pods[C].socket("tcp")
        await asyncio.get_running_loop().sock_connect(sock, (CLUSTER_IP, 80))
        reader, writer = await asyncio.open_connection(sock=sock)
        writer.write(b"first")
        await writer.drain()
        await ask(node.pods[C], CLUSTER_IP, 80)
        await path.apply(changed(make_port()))
        writer.write(b"second")
        writer.write_eof()
        assert (await reader.read()).decode().split()[::2] == [A, "11"]
        writer.close()

    run(scenario)


def test_client_ip_affinity_keeps_each_client_at_one_endpoint(run: Callable[[Scenario], None]) -> None:
    async def scenario(node: Node, path: Any) -> None:
        await path.apply(changed(make_port(A, B, affinity_seconds=60)))
        for client in (node.pods[C], node.pods[A]):
            assert len({(await ask(client, CLUSTER_IP, 80))[0] for _ in range(15)}) == 1
        kept = (await ask(node.pods[C], CLUSTER_IP, 80))[0]
        other = B if kept == A else A
        await path.apply(changed(make_port(other, affinity_seconds=60)))
        assert (await ask(node.pods[C], CLUSTER_IP, 80))[0] == other

    run(scenario)


def test_datagrams_reach_an_endpoint_and_answers_come_back(run: Callable[[Scenario], None]) -> None:
    async def scenario(node: Node, path: Any) -> None:
        await path.apply(changed(make_port(A, B, protocol="UDP")))
        seen: Counter[str] = Counter()
        for _ in range(20):
            with node.pods[C].socket("udp") as sock:
                first = await ask_udp(sock, CLUSTER_IP, 80)
                assert first == await ask_udp(sock, CLUSTER_IP, 80)
                seen[first[0]] += 1
        assert seen.keys() == {A, B}

    run(scenario)


def test_services_are_served_by_ipv6_too(run: Callable[[Scenario], None]) -> None:
    if not HAS_IPV6:
        pytest.skip("not on this machine: the kernel has no IPv6")

    async def scenario(node: Node, path: Any) -> None:
        def both(*pods: str, protocol: str = "TCP", affinity_seconds: int = 0) -> DataPath:
            port = make_port(*pods, protocol=protocol, affinity_seconds=affinity_seconds)
            targets = tuple(Endpoint(in_ipv6(pod), 8080) for pod in pods)
            second = replace(
                port,
                family="IPv6",
                addresses=(CLUSTER_IPV6,),
                endpoints=targets,
                node_port_endpoints=targets,
            )
            return changed(port, second)

        await path.apply(both(A, B))
        for client in (node.pods[C], node.namespace):
            for address, number in ((CLUSTER_IPV6, 80), (NODE_IPV6, 30080), (CLUSTER_IP, 80)):
                assert {(await ask(client, address, number))[0] for _ in range(60)} == {A, B}
        await path.apply(both(A, affinity_seconds=60))
        assert (await ask(node.pods[A], CLUSTER_IPV6, 80))[0] == A
        await path.apply(both(A, B, affinity_seconds=60))
        assert {(await ask(node.pods[A], CLUSTER_IPV6, 80))[0] for _ in range(10)} == {A}
        await path.apply(both())
        with pytest.raises(ConnectionRefusedError):
            await ask(node.pods[C], CLUSTER_IPV6, 80)
        await path.apply(both(A, protocol="UDP"))
        with node.pods[C].socket("udp", "::") as sock:
            assert (await ask_udp(sock, CLUSTER_IPV6, 80))[0] == A
            await path.apply(both(B, protocol="UDP"))
            assert (await ask_udp(sock, CLUSTER_IPV6, 80))[0] == B

    run(scenario)


def outside_of(node: Node) -> Namespace:
    """Return a machine beside the node, which reaches what the node is asked to serve."""
    machine = Namespace()
    node.namespace.run(f"ip link add out0 type veth peer name eth0 netns {machine.holder.pid}")
    node.namespace.run("ip addr add 192.0.2.1/24 dev out0")
    node.namespace.run("ip link set out0 up")
    node.namespace.run(f"ip route add default via {MACHINE}")
    for command in (
        "ip link set lo up",
        f"ip addr add {MACHINE}/24 dev eth0",
        "ip link set eth0 up",
        "ip route add default via 192.0.2.1",
    ):
        machine.run(command)
    return machine


def test_datagrams_leave_an_endpoint_that_is_gone(run: Callable[[Scenario], None]) -> None:
    async def scenario(node: Node, path: Any) -> None:
        with node.pods[C].socket("udp") as sock:
            await path.apply(changed(make_port(A, protocol="UDP")))
            assert (await ask_udp(sock, CLUSTER_IP, 80))[0] == A
            await path.apply(changed(make_port(B, protocol="UDP")))
            assert (await ask_udp(sock, CLUSTER_IP, 80))[0] == B

    run(scenario)


def test_from_outside_externals_are_served_as_the_policy_says(run: Callable[[Scenario], None]) -> None:
    async def scenario(node: Node, path: Any) -> None:
        if not isinstance(path, NftablesDataPath):
            return  # listeners can be at the node's own addresses only
        machine = outside_of(node)
        try:
            port = replace(make_port(A, B), external_addresses=(EXTERNAL,), cluster_endpoints=both)
            await path.apply(changed(port))
            for address, number in ((EXTERNAL, 80), (NODE_IP, 30080)):
                assert (await ask(machine, address, number))[1] == GATEWAY
            local = replace(port, is_external_local=True, node_port_endpoints=(Endpoint(A, 8080),))
            await path.apply(changed(local))
            for address, number in ((EXTERNAL, 80), (NODE_IP, 30080)):
                assert {(*(await ask(machine, address, number))[:2],) for _ in range(8)} == {(A, MACHINE)}
                inside = {(*(await ask(node.pods[C], address, number))[:2],) for _ in range(60)}
                assert inside == {(A, C), (B, C)}
            await path.apply(changed(replace(local, node_port_endpoints=())))
            for address, number in ((EXTERNAL, 80), (NODE_IP, 30080)):
                assert (await ask(node.pods[C], address, number))[0] in (A, B)
                with pytest.raises(TimeoutError):
                    await ask(machine, address, number, timeout_seconds=0.2)
            await path.apply(changed(replace(make_port(), external_addresses=(EXTERNAL,))))
            with pytest.raises(ConnectionRefusedError):
                await ask(machine, EXTERNAL, 80)
        finally:
            machine.close()

    both = (Endpoint(A, 8080), Endpoint(B, 8080))
    run(scenario)


def test_a_load_balancers_address_may_be_used_from_its_networks_only(run: Callable[[Scenario], None]) -> None:
    async def scenario(node: Node, path: Any) -> None:
        if not isinstance(path, NftablesDataPath):
            return
        machine = outside_of(node)
        try:
            port = replace(make_port(A), balancer_addresses=(EXTERNAL,))
            await path.apply(changed(replace(port, source_ranges=("192.0.2.8/29", "10.9.0.0/16"))))
            assert (await ask(machine, EXTERNAL, 80))[0] == A
            await path.apply(changed(replace(port, source_ranges=("10.9.0.0/16",))))
            with pytest.raises(TimeoutError):
                await ask(machine, EXTERNAL, 80, timeout_seconds=0.2)
            assert (await ask(machine, NODE_IP, 30080))[0] == A
            await path.apply(changed(port))
            assert (await ask(machine, EXTERNAL, 80))[0] == A
        finally:
            machine.close()

    run(scenario)


def test_stopping_leaves_nothing_and_a_restart_begins_anew(run: Callable[[Scenario], None]) -> None:
    async def scenario(node: Node, path: Any) -> None:
        await path.apply(changed(make_port(A)))
        await path.stop()
        with pytest.raises(ConnectionRefusedError):
            await ask(node.pods[C], CLUSTER_IP, 80)
        await path.start()
        await path.start()
        await path.apply(changed(make_port(B)))
        assert (await ask(node.pods[C], CLUSTER_IP, 80))[0] == B

    run(scenario)


def test_many_services_change_in_one_go(run: Callable[[Scenario], None]) -> None:
    def others(*endpoints: str) -> DataPath:
        targets = tuple(Endpoint(address, 8080) for address in endpoints)
        keys = [ServiceKey("many", f"s{i}") for i in range(40)]
        return {
            key: (ServicePort(key, "http", "TCP", (f"10.96.1.{i}",), 80, 0, 0, targets, targets),)
            for i, key in enumerate(keys)
        }

    async def scenario(node: Node, path: Any) -> None:
        await path.apply(others(A))
        await path.apply(others(B))
        assert (await ask(node.pods[C], "10.96.1.39", 80))[0] == B
        await path.apply(dict.fromkeys(others(), ()))

    run(scenario)


@dataclass(frozen=True)
class Status:
    """A RuntimeStatus."""

    features: Mapping[str, str]
    node_ip: str = NODE_IP


class Recorder:
    """An EventRecorder that expects nothing."""

    def event(self, obj: Any, type: str, reason: str, message: str) -> None:
        raise AssertionError(f"{reason}: {message}")


@pytest.mark.parametrize(
    "features", [{"netfilter": "not there"}, {"netfilter": ""}], ids=["userspace", "nftables"]
)
def test_a_nodes_network_follows_the_api_and_leaves_nothing(features: dict[str, str]) -> None:
    if reason := why_not("userspace" if features["netfilter"] else "nftables"):
        pytest.skip(reason)

    def make_slice(*ready: str, draining: str = "") -> dict[str, Any]:
        endpoints = [{"addresses": [address], "conditions": {"ready": True}} for address in ready]
        if draining:
            conditions = {"ready": False, "serving": True, "terminating": True}
            endpoints.append({"addresses": [draining], "conditions": conditions})
        return {
            "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
            "endpoints": endpoints,
        }

    async def until(namespace: Namespace | None, address: str, port: int, seen: set[str]) -> None:
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(ConnectionRefusedError):
                    if {(await ask(namespace, address, port))[0] for _ in range(12)} == seen:
                        return
                await asyncio.sleep(0.01)

    async def resolve(node: Node, name: str) -> bytes:
        question = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
        packet = bytes.fromhex("1234 0100 0001 0000 0000 0000") + question + bytes.fromhex("00 0001 0001")
        with node.pods[C].socket("udp") as sock:
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(60):
                await loop.sock_sendto(sock, packet, ("10.96.0.10", 53))
                return await loop.sock_recv(sock, 512)

    async def main() -> None:
        node = Node()
        for address in (A, B, C):
            node.add_pod(address)
        await node.serve(A)
        await node.serve(B)
        client = FakeClient()
        informers = InformerFactory(client)
        node_port = free_port()
        settings = NetworkSettings("proa-1", resolv_conf="/nonexistent")
        network = Network(informers, node, Status(features), Recorder(), settings)
        host = HostEntrance(informers, node, Recorder(), "127.0.0.1")
        informers.start()
        await network.start()
        await host.start()
        try:
            ports = [{"port": 80, "protocol": "TCP", "nodePort": node_port}]
            spec = {"type": "NodePort", "clusterIP": CLUSTER_IP, "ports": ports}
            await client.create(SERVICES, {"metadata": {"name": "web"}, "spec": spec}, "default")
            await client.create(SERVICES, service_object(), "kube-system")
            slice_ = await client.create(ENDPOINT_SLICES, make_slice(A, B), "default")
            for namespace, address, port in (
                (node.pods[C], CLUSTER_IP, 80),
                (node.pods[C], NODE_IP, node_port),
                (None, "127.0.0.1", node_port),
            ):
                await until(namespace, address, port, {A, B})
            slice_ = await client.update(
                ENDPOINT_SLICES, {**make_slice(B, draining=A), "metadata": slice_["metadata"]}
            )
            await until(None, "127.0.0.1", node_port, {B})
            await until(node.pods[C], CLUSTER_IP, 80, {B})
            assert (await resolve(node, "web.default.svc.cluster.local"))[-4:] == socket.inet_aton(CLUSTER_IP)
            assert (await resolve(node, "pypi.org"))[3] & 0xF == 2  # no resolver of the host: SERVFAIL
        finally:
            await host.stop()
            await network.stop()
            await informers.stop()
        with pytest.raises(ConnectionRefusedError):
            await ask(None, "127.0.0.1", node_port)
        with pytest.raises(ConnectionRefusedError):
            await ask(node.pods[C], CLUSTER_IP, 80)
        node.close()

    asyncio.run(main())


def test_the_host_offers_node_ports_on_loopback_and_says_when_one_is_taken() -> None:
    if reason := why_not("userspace"):
        pytest.skip(reason)
    problems: list[tuple[Any, ...]] = []

    async def scenario(node: Node, hosts: HostPorts, free: int, taken: int) -> None:
        targets = (Endpoint(A, 8080),)
        await hosts.apply({WEB: (ServicePort(WEB, "", "TCP", (CLUSTER_IP,), 80, free, 0, targets, targets),)})
        assert (await ask(None, "127.0.0.1", free, b"x" * 1_000_000))[::2] == [A, "1000000"]
        other = ServiceKey("default", "other")
        port = ServicePort(other, "", "TCP", ("10.96.0.78",), 80, taken, 0, targets, targets)
        await hosts.apply({other: (port,)})
        await hosts.apply({other: (port,)})
        assert [(service, reason) for service, reason, _ in problems] == [(other, "HostPortUnavailable")]
        dead_first = (Endpoint("10.244.1.2", 1), Endpoint(A, 8080))
        await hosts.apply(
            {WEB: (ServicePort(WEB, "", "TCP", (CLUSTER_IP,), 80, free, 0, dead_first, dead_first),)}
        )
        assert {(await ask(None, "127.0.0.1", free))[0] for _ in range(10)} == {A}

    async def main() -> None:
        node = Node()
        node.add_pod(A)
        await node.serve(A)
        hosts = HostPorts(node, "127.0.0.1", lambda *problem: problems.append(problem))
        with socket.create_server(("127.0.0.1", 0)) as occupant:
            try:
                await scenario(node, hosts, free_port(), occupant.getsockname()[1])
            finally:
                await hosts.stop()
                node.close()

    asyncio.run(main())
