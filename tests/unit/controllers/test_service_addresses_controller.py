"""ClusterIPs and IPAddress objects are kept in step."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proa.client.protocol import Object
from proa.controllers import service_addresses
from proa.controllers.service_addresses import check_address, check_service
from proa.objects.ip_addresses import make_ip_address
from proa.objects.resource import IP_ADDRESSES, SERVICE_CIDRS, SERVICES

CIDRS = ["10.96.0.0/16"]
IP = "10.96.0.7"


def make_service(name: str = "web", *ips: str) -> Object:
    ips = ips or (IP,)
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"clusterIP": ips[0], "clusterIPs": [*ips]},
    }


def make_address(service: str = "web", **labels: Any) -> Object:
    made = make_ip_address(IP, "default", service)
    made["metadata"]["labels"] |= labels
    return made


def gateway_address(**labels: str) -> Object:
    parent = {"group": "gateway.networking.k8s.io", "resource": "gateways", "name": "g"}
    return {"metadata": {"name": IP, "labels": labels}, "spec": {"parentRef": parent}}


@pytest.mark.parametrize(
    ("ip", "address", "holder", "found"),
    [
        pytest.param(IP, make_address(), make_service(), None, id="in-step"),
        pytest.param(IP, None, None, ("create", "ClusterIPNotAllocated"), id="none"),
        pytest.param("10.97.0.7", None, None, ("tell", "ClusterIPOutOfRange"), id="out-of-range"),
        pytest.param(IP, gateway_address(), None, ("replace", "ClusterIPNotAllocated"), id="of-a-gateway"),
        pytest.param(IP, make_address("gone"), None, ("replace", "ClusterIPNotAllocated"), id="of-one-gone"),
        pytest.param(
            IP,
            make_address("other"),
            make_service("other", "10.96.0.8"),
            ("replace", "ClusterIPNotAllocated"),
            id="of-one-that-has-another",
        ),
        pytest.param(
            IP,
            make_address("other"),
            make_service("other"),
            ("tell", "ClusterIPAlreadyAllocated"),
            id="of-two",
        ),
        pytest.param(
            IP,
            make_address(**{"ipaddress.kubernetes.io/managed-by": "me"}),
            make_service(),
            ("replace", ""),
            id="label",
        ),
    ],
)
def test_what_is_wrong_with_a_services_address_is_found(ip, address, holder, found):
    finding = check_service(make_service("web", ip), ip, CIDRS, address, holder)
    assert (finding[:2] if finding else None) == found


@pytest.mark.parametrize(
    ("address", "service", "reason"),
    [
        pytest.param(make_address(), make_service(), None, id="in-step"),
        pytest.param(make_address(), None, "IPAddressNotAllocated", id="leaked"),
        pytest.param(make_address(), make_service("web", "10.96.0.8"), "IPAddressWrongReference", id="wrong"),
        pytest.param(gateway_address(), None, None, id="somebody-else's"),
        pytest.param(
            gateway_address(**{"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}),
            None,
            "IPAddressNotAllocated",
            id="said-to-be-ours",
        ),
    ],
)
def test_what_is_wrong_with_an_address_object_is_found(address, service, reason):
    finding = check_address(address, service)
    assert (finding.reason if finding else None) == reason


def test_what_was_deleted_comes_back_and_what_was_leaked_goes_after_a_minute(world: Any) -> None:
    async def main() -> None:
        async with world([service_addresses]) as made:
            made.client.add(SERVICE_CIDRS, {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": CIDRS}})
            made.client.add(SERVICES, make_service())
            await made.settle()
            address = made.client.peek(IP_ADDRESSES, IP)
            assert address["spec"]["parentRef"]["name"] == "web"
            assert [reason for _, reason, _ in made.events] == ["ClusterIPNotAllocated"]
            await made.client.delete(IP_ADDRESSES, IP)
            await made.settle()
            assert made.client.peek(IP_ADDRESSES, IP)["metadata"]["uid"] != address["metadata"]["uid"]
            writes = len(made.client.calls)
            await made.reconcile_all()
            assert len(made.client.calls) == writes
            await made.client.delete(SERVICES, "web", "default")
            await made.settle()
            assert made.client.peek(IP_ADDRESSES, IP) is not None
            made.advance(61)
            await made.reconcile_all()
            assert made.client.peek(IP_ADDRESSES, IP) is None
            assert made.events[-1][1] == "IPAddressNotAllocated"

    asyncio.run(main())


def test_before_there_is_a_range_nothing_is_out_of_it(world: Any) -> None:
    async def main() -> None:
        async with world([service_addresses]) as made:
            made.client.add(SERVICES, make_service())
            await made.settle()
            assert (made.events, made.client.calls) == ([], [])
            made.client.add(SERVICE_CIDRS, {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": CIDRS}})
            await made.settle()
            assert made.client.peek(IP_ADDRESSES, IP) is not None

    asyncio.run(main())
