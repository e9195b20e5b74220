"""EndpointSlices and Endpoints follow the pods that a Service selects."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proa.controllers import endpoints, endpointslice
from proa.objects import meta
from proa.objects.resource import ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES

CONTROLLERS = (endpointslice, endpoints)


def make_service(ports: Any = ({"port": 80, "targetPort": 8080},), **spec: Any) -> Any:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "uid": "s", "labels": {"team": "ml"}},
        "spec": {"selector": {"app": "web"}, "ports": list(ports), "clusterIP": "10.96.0.9", **spec},
    }


def make_pod(
    number: int, *, ready: bool = True, deleting: bool = False, port: int = 8080, **spec: Any
) -> Any:
    metadata: Any = {
        "name": f"web-{number}",
        "namespace": "default",
        "uid": f"u{number}",
        "labels": {"app": "web"},
    }
    if deleting:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    ip = f"10.244.{number // 250}.{number % 250 + 2}"
    containers = [{"name": "main", "ports": [{"name": "http", "containerPort": port}]}]
    conditions = [{"type": "Ready", "status": str(ready)}]
    return {
        "metadata": metadata,
        "spec": {"nodeName": "proa-1", "containers": containers, **spec},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": conditions},
    }


def no_zone(_: str) -> str:
    return ""


def plan(service: Any, pods: Any, slices: Any = ()) -> endpointslice.Plan:
    return endpointslice.plan(service, pods, slices, no_zone)


def test_a_slice_tells_where_a_pod_is_and_how_it_stands() -> None:
    made = endpointslice.plan(make_service(), [make_pod(1)], [], lambda node: "z1").create[0]
    assert made["metadata"]["labels"] == {
        "team": "ml",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    assert made["ports"] == [{"name": "", "port": 8080, "protocol": "TCP"}]
    assert made["endpoints"] == [
        {
            "addresses": ["10.244.0.3"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": {"kind": "Pod", "namespace": "default", "name": "web-1", "uid": "u1"},
            "nodeName": "proa-1",
            "zone": "z1",
        }
    ]


CONDITIONS = [
    ("ready", {}, {}, (True, True, False)),
    ("not ready", {}, {"ready": False}, (False, False, False)),
    ("going, still serving", {}, {"deleting": True}, (False, True, True)),
    ("published anyway", {"publishNotReadyAddresses": True}, {"ready": False}, (True, False, False)),
]


@pytest.mark.parametrize(("_name", "spec", "pod", "expected"), CONDITIONS, ids=[c[0] for c in CONDITIONS])
def test_conditions_of_an_endpoint(_name: str, spec: Any, pod: Any, expected: Any) -> None:
    made = plan(make_service(**spec), [make_pod(1, **pod)]).create[0]
    assert tuple(made["endpoints"][0]["conditions"].values()) == expected


def test_named_ports_are_looked_up_in_each_pod() -> None:
    service = make_service(ports=[{"name": "web", "port": 80, "targetPort": "http"}])
    made = plan(service, [make_pod(1, port=8080), make_pod(2, port=9090), make_pod(3, port=8080)]).create
    assert {s["ports"][0]["port"]: len(s["endpoints"]) for s in made} == {8080: 2, 9090: 1}


def test_a_headless_service_without_ports_has_its_pods_addresses() -> None:
    made = plan(make_service(ports=(), clusterIP="None"), [make_pod(1)]).create[0]
    assert made["ports"] == []
    assert len(made["endpoints"]) == 1
    assert made["metadata"]["labels"]["service.kubernetes.io/headless"] == ""


def test_a_service_without_pods_has_one_empty_slice() -> None:
    created = plan(make_service(), []).create
    assert [(s["endpoints"], s["ports"]) for s in created] == [([], [])]


def test_slices_hold_a_hundred_and_change_as_little_as_they_can() -> None:
    pods = [make_pod(number) for number in range(250)]
    made = [
        {**s, "metadata": {**s["metadata"], "name": f"web-{n}", "uid": f"s{n}"}}
        for n, s in enumerate(plan(make_service(), pods).create)
    ]
    assert [len(s["endpoints"]) for s in made] == [100, 100, 50]
    assert plan(make_service(), pods, made) == endpointslice.Plan()
    grown = plan(make_service(), [*pods, make_pod(250)], made)
    assert ([meta.name(s) for s in grown.update], grown.create, grown.delete) == (["web-2"], (), ())
    shrunk = plan(make_service(), pods[:200], made)
    assert ([meta.name(s) for s in shrunk.delete], shrunk.create, shrunk.update) == (["web-2"], (), ())


def test_both_follow_pods_as_they_come_and_go(world: Any) -> None:
    async def scenario() -> None:
        async with world(CONTROLLERS) as w:
            w.client.add(SERVICES, make_service())
            w.client.add(PODS, make_pod(1))
            w.client.add(PODS, make_pod(2, ready=False))
            await w.settle()
            found = w.client.peek(ENDPOINTS, "web", "default")
            subset = found["subsets"][0]
            assert [a["ip"] for a in subset["addresses"]] == ["10.244.0.3"]
            assert [a["ip"] for a in subset["notReadyAddresses"]] == ["10.244.0.4"]
            assert subset["ports"] == [{"port": 8080, "protocol": "TCP"}]
            slices = w.client.all(ENDPOINT_SLICES)
            assert [len(s["endpoints"]) for s in slices] == [2]
            calls = len(w.client.calls)
            await w.reconcile_all()
            assert w.client.calls[calls:] == []
            w.client.add(
                PODS, {**make_pod(2), "metadata": {**make_pod(2)["metadata"], "labels": {"app": "db"}}}
            )
            await w.settle()
            assert [len(s["endpoints"]) for s in w.client.all(ENDPOINT_SLICES)] == [1]
            await w.client.delete(SERVICES, "web", "default")
            await w.settle()
            assert w.client.all(ENDPOINTS) == []

    asyncio.run(scenario())


def test_services_without_a_selector_are_left_alone(world: Any) -> None:
    async def scenario() -> None:
        async with world(CONTROLLERS) as w:
            w.client.add(SERVICES, make_service(selector=None))
            w.client.add(SERVICES, {**make_service(type="ExternalName"), "metadata": {"name": "other"}})
            await w.settle()
            assert w.client.calls == []

    asyncio.run(scenario())
