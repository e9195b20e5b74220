"""Endpoints that somebody writes are mirrored into slices, against a fake API with the real manager."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proa.controllers import endpointslice_mirroring
from proa.controllers.endpointslice_mirroring import MAX_ADDRESSES, is_mirrored, plan
from proa.objects import meta
from proa.objects.resource import ENDPOINT_SLICES, ENDPOINTS, SERVICES


def make_endpoints(*subsets: Any, **metadata: Any) -> dict[str, Any]:
    body = {"name": "db", "namespace": "default", "uid": "u", **metadata}
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": body, "subsets": list(subsets)}


def make_subset(*addresses: str, ready: bool = True, port: int = 5432) -> dict[str, Any]:
    group = "addresses" if ready else "notReadyAddresses"
    return {group: [{"ip": ip} for ip in addresses], "ports": [{"name": "sql", "port": port}]}


def make_service(selector: Any = None) -> dict[str, Any]:
    spec = {"selector": selector} if selector else {}
    return {"metadata": {"name": "db", "namespace": "default"}, "spec": spec}


@pytest.mark.parametrize(
    ("endpoints", "service", "expected"),
    [
        (make_endpoints(), make_service(), True),
        (make_endpoints(), make_service({"app": "db"}), False),
        (make_endpoints(), None, False),
        (None, make_service(), False),
        (make_endpoints(labels={"endpointslice.kubernetes.io/skip-mirror": "true"}), make_service(), False),
        (
            make_endpoints(annotations={"control-plane.alpha.kubernetes.io/leader": "x"}),
            make_service(),
            False,
        ),
    ],
)
def test_what_is_mirrored(endpoints: Any, service: Any, expected: bool) -> None:
    assert is_mirrored(endpoints, service) is expected


def test_a_slice_has_what_its_endpoints_have() -> None:
    notes = {"note": "x", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
    address = {
        "ip": "10.0.0.1",
        "hostname": "db-0",
        "nodeName": "n",
        "targetRef": {"kind": "Pod", "name": "db-0"},
    }
    subset = {"addresses": [address], "ports": [{"port": 5432, "appProtocol": "sql"}]}
    decided = plan(make_endpoints(subset, labels={"app": "db"}, annotations=notes), [])
    (made,) = decided.create
    assert made["metadata"]["generateName"] == "db-"
    assert meta.labels(made) == {
        "app": "db",
        "kubernetes.io/service-name": "db",
        "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
    }
    assert meta.annotations(made) == {"note": "x"}
    assert made["ports"] == [{"name": "", "port": 5432, "protocol": "TCP", "appProtocol": "sql"}]
    kept = {"hostname": "db-0", "nodeName": "n", "targetRef": address["targetRef"]}
    assert made["endpoints"] == [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}, **kept}]


def test_families_and_ports_have_slices_of_their_own() -> None:
    subsets = (
        make_subset("10.0.0.1", "fd00::1"),
        make_subset("10.0.0.2", port=1),
        make_subset("10.0.0.3", ready=False),
    )
    decided = plan(make_endpoints(*subsets), [])
    found = {
        (one["addressType"], one["ports"][0]["port"]): [
            (e["addresses"][0], e["conditions"]["ready"]) for e in one["endpoints"]
        ]
        for one in decided.create
    }
    assert found == {
        ("IPv4", 5432): [("10.0.0.1", True), ("10.0.0.3", False)],
        ("IPv6", 5432): [("fd00::1", True)],
        ("IPv4", 1): [("10.0.0.2", True)],
    }


def test_what_is_wrong_or_too_much_is_left_out() -> None:
    many = [f"10.0.{i // 250}.{i % 250}" for i in range(MAX_ADDRESSES + 5)]
    decided = plan(make_endpoints(make_subset("nowhere", *many)), [])
    assert (len(decided.create[0]["endpoints"]), decided.invalid, decided.skipped) == (MAX_ADDRESSES, 1, 5)


def run(world: Any, scenario: Any) -> None:
    async def all_of_it() -> None:
        async with world([endpointslice_mirroring]) as w:
            await scenario(w)

    asyncio.run(all_of_it())


def addresses(w: Any) -> list[list[str]]:
    slices = w.client.all(ENDPOINT_SLICES)
    return sorted([e["addresses"][0] for e in one["endpoints"]] for one in slices)


def test_slices_follow_the_endpoints(world: Any) -> None:
    async def scenario(w: Any) -> None:
        w.client.add(ENDPOINTS, make_endpoints(make_subset("10.0.0.1")))
        await w.settle()
        assert addresses(w) == []
        w.client.add(SERVICES, make_service())
        await w.settle()
        assert addresses(w) == [["10.0.0.1"]]
        (first,) = w.client.all(ENDPOINT_SLICES)
        calls = len(w.client.calls)
        await w.reconcile_all()
        assert w.client.calls[calls:] == []
        w.client.add(ENDPOINTS, make_endpoints(make_subset("10.0.0.2", port=1)))
        await w.settle()
        assert addresses(w) == [["10.0.0.2"]]
        assert meta.name(w.client.all(ENDPOINT_SLICES)[0]) == meta.name(first)  # written over
        w.client.add(ENDPOINTS, make_endpoints(make_subset("10.0.0.2", port=1), labels={"tier": "x"}))
        await w.settle()
        assert meta.labels(w.client.all(ENDPOINT_SLICES)[0])["tier"] == "x"
        w.client.add(SERVICES, make_service({"app": "db"}))
        await w.settle()
        assert addresses(w) == []

    run(world, scenario)


def test_slices_go_with_the_endpoints_and_wrong_addresses_are_told_of(world: Any) -> None:
    async def scenario(w: Any) -> None:
        w.client.add(SERVICES, make_service())
        w.client.add(ENDPOINTS, make_endpoints(make_subset("10.0.0.1", "nowhere")))
        await w.settle()
        message = "Skipped 1 invalid IP addresses when mirroring to EndpointSlices"
        assert ("Warning", "InvalidIPAddress", message) in w.events
        await w.client.delete(ENDPOINTS, "db", "default")
        await w.settle()
        assert addresses(w) == []

    run(world, scenario)
