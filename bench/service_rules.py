"""How soon is a changed Service in the kernel, with few and with many of them, and what does its hop cost a connection?

As root: a node's network is made as noded makes it, in a namespace of this process, with two pods. Changes are measured
as CPU and wall time of `apply`, which returns when the rules count; the hop as round trips on open connections and as
connection, question and answer, one way beside the other. Ratios count: the machine may be busy.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import threading
import time
from collections.abc import Callable

from proa.network.data_path import Endpoint, ServiceKey, ServicePort
from proa.network.nftables import NftablesDataPath
from proa.node.noded import linux, netfilter
from proa.node.noded.network import NodeNetwork

FEW, MANY = 10, 1000
CHANGES, ROUNDS = 200, 3000
CLUSTER_IP = "10.96.200.1"


class Kernel:
    """The part of a NodeNetwork that rules need."""

    async def ask_netfilter(self, request: bytes) -> bytes:
        return netfilter.ask(request)


def make_port(number: int, endpoints: int = 3) -> ServicePort:
    targets = tuple(Endpoint(f"10.244.2.{2 + (number + n) % 250}", 8080) for n in range(endpoints))
    address = f"10.96.{number // 250}.{1 + number % 250}"
    return ServicePort(
        ServiceKey("d", f"s{number}"),
        "",
        "TCP",
        (address,),
        80,
        0,
        0,
        targets,
        targets,
        cluster_endpoints=targets,
    )


async def measure_changes(services: int) -> tuple[float, float]:
    """Return median CPU and wall milliseconds of a change of one of so many services."""
    path = NftablesDataPath(Kernel(), ["10.243.0.1"], ["10.244.0.0/16"])  # type: ignore[arg-type]
    await path.start()
    await path.apply({ServiceKey("d", f"s{n}"): (make_port(n),) for n in range(services)})
    cpu, wall = [], []
    for change in range(CHANGES):
        before, began = time.process_time(), time.perf_counter()
        await path.apply({ServiceKey("d", "s1"): (make_port(1, 4 - change % 2),)})
        cpu.append(time.process_time() - before)
        wall.append(time.perf_counter() - began)
    return statistics.median(cpu) * 1e3, statistics.median(wall) * 1e3


def make_pod(node: NodeNetwork) -> tuple[int, str]:
    """Return a pod's namespace and address."""
    linux.unshare(linux.CLONE_NEWNET)
    namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    linux.setns(node.namespace)
    return namespace, node.connect_pod(namespace)


def serve(listener: socket.socket) -> None:
    """Echo, a thread a connection."""

    def echo(made: socket.socket) -> None:
        with made:
            while data := made.recv(4096):
                made.sendall(data)

    while True:
        made, _ = listener.accept()
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=echo, args=(made,), daemon=True).start()


def median_of_both(first: Callable[[], None], second: Callable[[], None], rounds: int) -> tuple[float, float]:
    """Return the median microseconds of each, done in turn."""
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for act, times in zip((first, second), took, strict=True):
            began = time.perf_counter()
            act()
            times.append(time.perf_counter() - began)
    return statistics.median(took[0]) * 1e6, statistics.median(took[1]) * 1e6


def measure_hop(node: NodeNetwork) -> None:
    client, _ = make_pod(node)
    server, address = make_pod(node)
    with linux.entered(server, node.namespace):
        listener = socket.create_server((address, 8080), backlog=1024)
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    target = (Endpoint(address, 8080),)
    port = ServicePort(ServiceKey("d", "hop"), "", "TCP", (CLUSTER_IP,), 80, 0, 0, target, target)
    path = NftablesDataPath(Kernel(), ["10.243.0.1"], ["10.244.0.0/16"])  # type: ignore[arg-type]
    asyncio.run(start(path, port))

    def connect(where: tuple[str, int]) -> socket.socket:
        with linux.entered(client, node.namespace):
            made = socket.socket()
        made.connect(where)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def ask(made: socket.socket) -> None:
        made.sendall(b"x" * 64)
        made.recv(4096)

    def visit(where: tuple[str, int]) -> None:
        with connect(where) as made:
            ask(made)

    direct, served = (address, 8080), (CLUSTER_IP, 80)
    with connect(direct) as one, connect(served) as other:
        report("round trip", *median_of_both(lambda: ask(one), lambda: ask(other), ROUNDS))
    report("connect, ask", *median_of_both(lambda: visit(direct), lambda: visit(served), ROUNDS // 3))


async def start(path: NftablesDataPath, port: ServicePort) -> None:
    await path.start()
    many = {ServiceKey("d", f"s{n}"): (make_port(n),) for n in range(MANY)}
    await path.apply({**many, port.service: (port,)})


def report(what: str, direct: float, served: float) -> None:
    print(f"{what}: direct {direct:.1f} us, by a ClusterIP {served:.1f} us, ratio {served / direct:.2f}")


def main() -> None:
    if os.geteuid() != 0:
        raise SystemExit("only root makes network namespaces")
    linux.unshare(linux.CLONE_NEWNET)
    node = NodeNetwork("10.243.0.1", "10.244.1.0/24", "10.96.0.0/16")
    node.set_up()
    few, many = (asyncio.run(measure_changes(count)) for count in (FEW, MANY))
    for count, (cpu, wall) in ((FEW, few), (MANY, many)):
        print(f"a change among {count} services: {cpu:.2f} ms CPU, {wall:.2f} ms")
    print(f"ratio of CPU {MANY} to {FEW} services: {many[0] / few[0]:.2f} (aim: a change under 20 ms)")
    measure_hop(node)


if __name__ == "__main__":
    main()
