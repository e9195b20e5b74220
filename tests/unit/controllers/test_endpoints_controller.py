"""Endpoints, the older form of EndpointSlices, follow the pods that a Service selects."""

from __future__ import annotations

import asyncio
from typing import Any

from proa.controllers import endpoints
from proa.controllers.endpoints import EndpointsController
from proa.objects import meta
from proa.objects.resource import ENDPOINTS, PODS, SERVICES

CHANGED = "endpoints.kubernetes.io/last-change-trigger-time"


def make_service(ports: Any = ({"port": 80, "targetPort": 8080},), **spec: Any) -> Any:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "uid": "s", "labels": {"team": "ml"}},
        "spec": {"selector": {"app": "web"}, "ports": list(ports), "clusterIP": "10.96.0.9", **spec},
    }


def make_pod(number: int, *, ready: bool = True, deleting: bool = False, **ports: int) -> Any:
    metadata: Any = {"name": f"web-{number}", "namespace": "default", "uid": f"u{number}"}
    if deleting:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    ip = f"10.244.{number // 250}.{number % 250 + 2}"
    offered = [{"name": name, "containerPort": port} for name, port in ports.items()]
    return {
        "metadata": {**metadata, "labels": {"app": "web"}},
        "spec": {"nodeName": "proa-1", "containers": [{"name": "main", "ports": offered}]},
        "status": {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }


def subsets_of(service: Any, pods: Any) -> list[Any]:
    """Return the subsets in short: addresses, those that are not ready, ports."""
    created = endpoints.plan(service, pods, None).create
    assert created is not None
    return [
        (
            [address["ip"] for address in subset.get("addresses", ())],
            [address["ip"] for address in subset.get("notReadyAddresses", ())],
            [port["port"] for port in subset.get("ports", ())],
        )
        for subset in created.get("subsets", ())
    ]


def test_ready_addresses_and_others_are_apart_and_terminating_ones_left_out() -> None:
    pods = [make_pod(2, ready=False), make_pod(1), make_pod(3, deleting=True)]
    assert subsets_of(make_service(), pods) == [(["10.244.0.3"], ["10.244.0.4"], [8080])]
    published = make_service(publishNotReadyAddresses=True)
    assert subsets_of(published, pods) == [(["10.244.0.3", "10.244.0.4", "10.244.0.5"], [], [8080])]


def test_ports_that_the_same_addresses_offer_are_one_subset() -> None:
    ports = [
        {"name": name, "port": number, "targetPort": name} for number, name in ((80, "http"), (81, "metrics"))
    ]
    pods = [make_pod(1, http=8080, metrics=9090), make_pod(2, http=8080, metrics=9091)]
    assert sorted(subsets_of(make_service(ports), pods)) == [
        (["10.244.0.3"], [], [9090]),
        (["10.244.0.3", "10.244.0.4"], [], [8080]),
        (["10.244.0.4"], [], [9091]),
    ]


def test_addresses_are_of_the_services_first_family() -> None:
    pod = make_pod(1)
    pod["status"]["podIPs"].append({"ip": "fd00::3"})
    assert subsets_of(make_service(ipFamilies=["IPv6", "IPv4"]), [pod]) == [(["fd00::3"], [], [8080])]
    assert subsets_of(make_service(ipFamilies=["IPv6"]), [make_pod(1)]) == []


def test_of_more_than_a_thousand_addresses_ready_ones_are_kept() -> None:
    few_ready = [make_pod(number, ready=number < 400) for number in range(1100)]
    ((ready, others, _),) = subsets_of(make_service(), few_ready)
    assert (len(ready), len(others)) == (400, 600)
    made = endpoints.plan(make_service(), few_ready, None).create
    assert made is not None
    assert meta.annotations(made) == {"endpoints.kubernetes.io/over-capacity": "truncated"}
    many_ready = [make_pod(number, ready=number < 1050) for number in range(1100)]
    ((ready, others, _),) = subsets_of(make_service(), many_ready)
    assert (len(ready), len(others)) == (1000, 0)
    calm = endpoints.plan(
        make_service(), many_ready[:900], {**made, "metadata": {**made["metadata"], "name": "web"}}
    )
    assert calm.update is not None
    assert meta.annotations(calm.update) == {}


def test_they_follow_pods_as_they_come_and_go(world: Any) -> None:
    async def scenario() -> None:
        async with world([EndpointsController()]) as w:
            w.client.add(SERVICES, make_service(clusterIP="None"))
            w.client.add(PODS, make_pod(1))
            w.client.add(PODS, make_pod(2, ready=False))
            await w.settle()
            found = w.client.peek(ENDPOINTS, "web", "default")
            assert found["metadata"]["labels"] == {
                "team": "ml",
                "endpoints.kubernetes.io/managed-by": "endpoint-controller",
                "service.kubernetes.io/headless": "",
            }
            subset = found["subsets"][0]
            assert subset["addresses"] == [
                {
                    "ip": "10.244.0.3",
                    "nodeName": "proa-1",
                    "targetRef": {"kind": "Pod", "namespace": "default", "name": "web-1", "uid": "u1"},
                }
            ]
            assert [a["ip"] for a in subset["notReadyAddresses"]] == ["10.244.0.4"]
            assert subset["ports"] == [{"port": 8080, "protocol": "TCP"}]
            calls = len(w.client.calls)
            await w.reconcile_all()
            assert w.client.calls[calls:] == []
            await w.client.delete(SERVICES, "web", "default")
            await w.settle()
            assert w.client.all(ENDPOINTS) == []

    asyncio.run(scenario())


def test_they_tell_when_what_they_follow_has_changed(world: Any) -> None:
    async def scenario() -> None:
        async with world([EndpointsController()]) as w:
            w.client.add(SERVICES, make_service())
            await w.settle()
            pod = make_pod(1)
            pod["status"]["conditions"][0]["lastTransitionTime"] = "2026-01-01T00:00:09Z"
            w.client.add(PODS, pod)
            await w.settle()
            assert (
                meta.annotations(w.client.peek(ENDPOINTS, "web", "default"))[CHANGED]
                == "2026-01-01T00:00:09Z"
            )

    asyncio.run(scenario())


def test_large_ones_are_written_now_and_then(world: Any) -> None:
    async def scenario() -> None:
        async with world([EndpointsController()]) as w:
            w.client.add(SERVICES, make_service())
            for number in range(200):
                w.client.add(PODS, make_pod(number))
            await w.settle()
            calls = len(w.client.calls)
            for number in range(5):
                w.client.add(PODS, make_pod(number, ready=False))
                await w.settle()
            assert len(w.client.calls) == calls
            w.advance(endpoints.WRITES_APART_SECONDS)
            await w.reconcile_all()
            assert len(w.client.calls) == calls + 1
            subset = w.client.peek(ENDPOINTS, "web", "default")["subsets"][0]
            assert len(subset["notReadyAddresses"]) == 5

    asyncio.run(scenario())


def test_services_without_a_selector_are_left_alone(world: Any) -> None:
    async def scenario() -> None:
        async with world([EndpointsController()]) as w:
            w.client.add(SERVICES, make_service(selector=None))
            w.client.add(SERVICES, {**make_service(type="ExternalName"), "metadata": {"name": "other"}})
            await w.settle()
            assert w.client.calls == []

    asyncio.run(scenario())
