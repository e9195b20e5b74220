"""Services of type LoadBalancer get addresses of the machine's loopback, which their statuses tell."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from proa.client.fake import FakeClient
from proa.network.data_path import Endpoint, ServiceKey, plan_service
from proa.network.load_balancers import (
    NOT_PERMITTED,
    UNAVAILABLE,
    LoadBalancers,
    Problem,
    choose_address,
    is_ours,
    make_status,
    port_on_host,
)
from proa.objects.resource import SERVICES

Object = dict[str, Any]
WEB = ServiceKey("default", "web")


def make_service(name: str = "web", *, address: str = "", **spec: Any) -> Object:
    made: Object = {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid of {name}"},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.9", "ports": [{"port": 80}], **spec},
    }
    return {**made, "status": {"loadBalancer": {"ingress": [{"ip": address}]}}} if address else made


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, True),
        ({"loadBalancerClass": "proa.local/loopback"}, True),
        ({"loadBalancerClass": "metallb.io/metallb"}, False),
        ({"type": "NodePort"}, False),
    ],
)
def test_balancers_of_other_classes_are_left_alone(spec: Object, expected: bool) -> None:
    assert is_ours(make_service(**spec)) is expected


def test_an_address_is_the_services_for_good_and_no_others() -> None:
    first = choose_address(make_service(), ())
    assert first.startswith("127.96.")
    assert first == choose_address(make_service(), ()) != choose_address(make_service("other"), ())
    assert choose_address(make_service(), {first}) not in ("", first)
    assert choose_address(make_service(address="127.96.1.2"), ()) == "127.96.1.2"
    assert choose_address(make_service(loadBalancerIP="127.3.2.1"), ()) == "127.3.2.1"
    for not_ours in ("10.0.0.1", "127.0.0.1", "::1", "x"):
        assert choose_address(make_service(address=not_ours, loadBalancerIP=not_ours), ()) == first


@pytest.mark.parametrize(
    ("port", "others", "lowest", "expected"),
    [(80, {80}, 1, 80), (8080, {8080}, 1024, 8080), (80, {80}, 1024, 8080), (80, {80, 8080}, 1024, 9080)],
)
def test_a_port_that_may_not_be_bound_is_offered_higher(
    port: int, others: set[int], lowest: int, expected: int
) -> None:
    assert port_on_host(port, others, lowest) == expected


def test_a_status_names_ports_only_where_one_is_not_where_it_should_be() -> None:
    fine, moved = (443, "TCP", 443, None), (80, "TCP", 8080, Problem(NOT_PERMITTED, "…"))
    assert make_status("127.96.0.1", [fine]) == {"ingress": [{"ip": "127.96.0.1", "ipMode": "Proxy"}]}
    (ingress,) = make_status("127.96.0.1", [fine, moved])["ingress"]
    assert ingress["ports"] == [
        {"port": 443, "protocol": "TCP"},
        {"port": 80, "protocol": "TCP", "error": NOT_PERMITTED},
        {"port": 8080, "protocol": "TCP"},
    ]


class Host:
    """A NodeNetwork whose node is this machine, the events and Services of a cluster."""

    def __init__(self) -> None:
        self.client = FakeClient()
        self.events: list[tuple[str, str]] = []
        self.services: dict[ServiceKey, Object] = {}

    async def open_socket(self, kind: str, host: str = "", port: int = 0) -> socket.socket:
        made = socket.socket()
        made.setblocking(False)
        return made

    def event(self, obj: Object, type: str, reason: str, message: str, field_path: str = "") -> None:
        self.events.append((type, reason))

    async def store(self, service: Object) -> None:
        key = ServiceKey("default", service["metadata"]["name"])
        self.services[key] = await self.client.create(SERVICES, service, "default")

    async def refresh(self, key: ServiceKey = WEB) -> Object:
        self.services[key] = await self.client.get(SERVICES, key.name, key.namespace)
        return self.services[key]["status"].get("loadBalancer") or {}


def slice_to(port: int) -> Object:
    return {
        "addressType": "IPv4",
        "ports": [{"port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
    }


async def ask(address: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        return await reader.read()
    finally:
        writer.close()


def test_what_comes_to_the_address_reaches_the_endpoints_from_the_networks_that_may() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    async def main() -> None:
        host, server = Host(), await asyncio.start_server(greet, "127.0.0.1", 0)
        slices = [slice_to(server.sockets[0].getsockname()[1])]
        balancers = LoadBalancers(host, host.services.get, host.client, host, 1024)  # type: ignore[arg-type]
        await balancers.start()
        try:
            await host.store(make_service())
            await balancers.apply({WEB: plan_service(host.services[WEB], slices, "")})
            (ingress,) = (await host.refresh())["ingress"]
            assert [entry["port"] for entry in ingress["ports"]] == [80, 8080]
            assert await ask(ingress["ip"], 8080) == b"hello"
            assert host.events == [("Warning", "LoadBalancerPortMoved"), ("Normal", "EnsuredLoadBalancer")]
            service = make_service(loadBalancerSourceRanges=["10.0.0.0/8"], ports=[{"port": 4080}])
            service["status"] = host.services[WEB]["status"]
            host.services[WEB] = service
            await balancers.apply({WEB: plan_service(service, slices, "")})
            with pytest.raises(ConnectionResetError):
                await ask(ingress["ip"], 4080)
            assert "ports" not in (await host.refresh())["ingress"][0]
            host.services[WEB] = {**host.services[WEB], "spec": {**service["spec"], "type": "ClusterIP"}}
            await balancers.apply({WEB: ()})
            assert not await host.refresh()
            with pytest.raises(ConnectionRefusedError):
                await ask(ingress["ip"], 4080)
        finally:
            await balancers.stop()
            server.close()

    asyncio.run(main())


def test_a_port_that_another_program_has_is_told() -> None:
    async def main() -> None:
        host = Host()
        balancers = LoadBalancers(host, host.services.get, host.client, host, 1024)  # type: ignore[arg-type]
        await host.store(make_service(loadBalancerIP="127.96.255.254", ports=[{"port": 40080}]))
        with socket.create_server(("127.96.255.254", 40080)):
            await balancers.apply({WEB: plan_service(host.services[WEB], [slice_to(1)], "")})
            (ingress,) = (await host.refresh())["ingress"]
            assert ingress["ports"] == [{"port": 40080, "protocol": "TCP", "error": UNAVAILABLE}]
            assert host.events == [("Warning", "HostPortUnavailable"), ("Normal", "EnsuredLoadBalancer")]
            await balancers.stop()

    asyncio.run(main())


def test_two_families_of_a_port_share_its_place() -> None:
    service = make_service(clusterIPs=["10.96.0.9", "fd00::9"])
    ports = plan_service(service, [slice_to(8080)], "")
    assert [(port.family, port.node_port_endpoints) for port in ports] == [
        ("IPv4", (Endpoint("127.0.0.1", 8080),)),
        ("IPv6", ()),
    ]
