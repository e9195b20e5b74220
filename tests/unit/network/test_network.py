"""A node that cannot have the cluster's addresses still offers NodePorts on the host."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proa.client.fake import FakeClient
from proa.network.host import HostEntrance
from proa.network.network import Network
from proa.network.protocol import NetworkSettings
from proa.objects.resource import ENDPOINT_SLICES, SERVICES
from proa.reconcile.informer import InformerFactory
from support.etcd import free_port


@dataclass(frozen=True)
class Status:
    """A RuntimeStatus of plain processes."""

    node_ip: str = "127.0.0.1"
    features: Mapping[str, str] = field(default_factory=lambda: {"netfilter": "no", "pod-network": "no"})


class ProcessNetwork:
    """A NodeNetwork that is the host's own."""

    async def open_socket(self, kind: str, host: str = "", port: int = 0) -> socket.socket:
        assert (kind, host) == ("tcp", "")
        made = socket.socket()
        made.setblocking(False)
        return made

    async def add_addresses(self, addresses: list[str]) -> None:
        raise RuntimeError("the host's network is not ours to change")

    async def remove_addresses(self, addresses: list[str]) -> None:
        raise AssertionError(addresses)


class Recorder:
    """An EventRecorder."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def event(self, obj: Any, type: str, reason: str, message: str) -> None:
        self.events.append((obj["metadata"]["name"], reason))


def make_slice(name: str, port: int) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "", "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
    }


def make_service(name: str, node_port: int) -> dict[str, Any]:
    ports = [{"port": 80, "protocol": "TCP", "nodePort": node_port}]
    return {
        "metadata": {"name": name},
        "spec": {"type": "NodePort", "clusterIP": "10.96.0.9", "ports": ports},
    }


def test_without_cluster_addresses_node_ports_are_offered_and_taken_ones_are_told() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    async def ask(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answer = await reader.read()
        writer.close()
        return answer

    async def main() -> None:
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        target = server.sockets[0].getsockname()[1]
        free = free_port()
        client, recorder = FakeClient(), Recorder()
        informers = InformerFactory(client)
        network = Network(informers, ProcessNetwork(), Status(), recorder, NetworkSettings("proa-1"))
        host = HostEntrance(informers, ProcessNetwork(), recorder, "127.0.0.1")
        with socket.create_server(("127.0.0.1", 0)) as occupant:
            await client.create(SERVICES, make_service("taken", occupant.getsockname()[1]), "default")
            await client.create(ENDPOINT_SLICES, make_slice("taken", target), "default")
            await client.create(SERVICES, make_service("web", free), "default")
            await client.create(ENDPOINT_SLICES, make_slice("web", target), "default")
            informers.start()
            await network.start()
            await host.start()
            try:
                async with asyncio.timeout(60):
                    while True:
                        try:
                            answer = await ask(free)
                        except ConnectionRefusedError:
                            answer = b""
                        if answer and recorder.events:
                            break
                        await asyncio.sleep(0.005)
                assert answer == b"hello"
                assert recorder.events == [("taken", "HostPortUnavailable")]
            finally:
                await host.stop()
                await network.stop()
                await informers.stop()
                server.close()

    asyncio.run(main())
