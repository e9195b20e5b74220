"""EndpointSlices follow the pods that a Service selects, with as few writes as can be."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.controllers.endpoint_slice.controller import EndpointSlices
from proa.controllers.endpoint_slice.hints import set_hints
from proa.controllers.endpoint_slice.offers import collect
from proa.controllers.endpoint_slice.packing import MAX_ENDPOINTS, Changes, pack
from proa.controllers.endpoint_slice.topology import is_overloaded, set_shares, shares_of
from proa.objects import meta
from proa.objects.resource import ENDPOINT_SLICES, NODES, PODS, SERVICES

CHANGED = "endpoints.kubernetes.io/last-change-trigger-time"


def make_service(ports: Any = ({"port": 80, "targetPort": 8080},), **spec: Any) -> Any:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "uid": "s", "labels": {"team": "ml"}},
        "spec": {
            "selector": {"app": "web"},
            "ports": list(ports),
            "clusterIP": "10.96.0.9",
            "ipFamilies": ["IPv4"],
            **spec,
        },
    }


def make_pod(
    number: int,
    *,
    ready: bool = True,
    deleting: bool = False,
    port: int = 8080,
    node: str = "proa-1",
    **spec: Any,
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
        "spec": {"nodeName": node, "containers": containers, **spec},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": conditions},
    }


def make_node(name: str = "proa-1", zone: str = "", cpu: str = "4") -> Any:
    return {
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone} if zone else {}},
        "status": {"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": "True"}]},
    }


def plan(service: Any, pods: Any, slices: Any = (), family: str = "IPv4", zone: str = "") -> Changes:
    """Return what changes, hints apart; every pod's node is there, in that zone."""
    offers = collect(service, pods, [family], lambda name: make_node(name, zone), {})
    return pack(service, family, offers.endpoints, slices)


def stored(made: Any) -> list[Any]:
    """Return slices as the API server keeps them."""
    return [
        {**s, "metadata": {**s["metadata"], "name": f"web-{n}", "uid": f"s{n}", "resourceVersion": "1"}}
        for n, s in enumerate(made)
    ]


def sizes(changes: Changes) -> tuple[list[int], list[tuple[str, int]], list[str]]:
    """Return how large the new slices are, how large the changed ones become, and which go."""
    return (
        [len(s["endpoints"]) for s in changes.create],
        sorted((meta.name(s), len(s["endpoints"])) for s in changes.update),
        sorted(meta.name(s) for s in changes.delete),
    )


NOTHING: Any = ([], [], [])


def test_a_slice_tells_where_a_pod_is_and_how_it_stands() -> None:
    pod = make_pod(1, hostname="first", subdomain="web")
    made = plan(make_service(), [pod], zone="z1").create[0]
    assert made["metadata"]["labels"] == {
        "team": "ml",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    assert made["metadata"]["generateName"] == "web-"
    assert made["ports"] == [{"name": "", "port": 8080, "protocol": "TCP"}]
    assert made["endpoints"] == [
        {
            "addresses": ["10.244.0.3"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": {"kind": "Pod", "namespace": "default", "name": "web-1", "uid": "u1"},
            "nodeName": "proa-1",
            "zone": "z1",
            "hostname": "first",
        }
    ]


CONDITIONS = [
    ("ready", {}, {}, (True, True, False)),
    ("not ready", {}, {"ready": False}, (False, False, False)),
    ("going, still serving", {}, {"deleting": True}, (False, True, True)),
    ("published anyway", {"publishNotReadyAddresses": True}, {"ready": False}, (True, False, False)),
    ("published while going", {"publishNotReadyAddresses": True}, {"deleting": True}, (True, True, True)),
]


@pytest.mark.parametrize(("_name", "spec", "pod", "expected"), CONDITIONS, ids=[c[0] for c in CONDITIONS])
def test_conditions_of_an_endpoint(_name: str, spec: Any, pod: Any, expected: Any) -> None:
    made = plan(make_service(**spec), [make_pod(1, **pod)]).create[0]
    assert tuple(made["endpoints"][0]["conditions"].values()) == expected


def test_named_ports_are_looked_up_in_each_pod() -> None:
    service = make_service(ports=[{"name": "web", "port": 80, "targetPort": "http"}])
    made = plan(service, [make_pod(1, port=8080), make_pod(2, port=9090), make_pod(3, port=8080)]).create
    assert {s["ports"][0]["port"]: len(s["endpoints"]) for s in made} == {8080: 2, 9090: 1}


def test_a_pod_that_does_not_name_the_port_is_there_without_ports() -> None:
    service = make_service(ports=[{"name": "web", "port": 80, "targetPort": "other"}])
    made = plan(service, [make_pod(1)]).create
    assert [(s["ports"], len(s["endpoints"])) for s in made] == [([], 1)]


def test_a_headless_service_without_ports_has_its_pods_addresses() -> None:
    made = plan(make_service(ports=(), clusterIP="None"), [make_pod(1)]).create[0]
    assert made["ports"] == []
    assert len(made["endpoints"]) == 1
    assert made["metadata"]["labels"]["service.kubernetes.io/headless"] == ""


def test_each_family_has_slices_of_its_own() -> None:
    pod = make_pod(1)
    pod["status"]["podIPs"].append({"ip": "fd00::3"})
    service = make_service(ipFamilies=["IPv4", "IPv6"])
    for family, address in (("IPv4", "10.244.0.3"), ("IPv6", "fd00::3")):
        made = plan(service, [pod], family=family).create
        assert [(s["addressType"], s["endpoints"][0]["addresses"]) for s in made] == [(family, [address])]
    only_four = plan(service, [make_pod(1)], family="IPv6").create
    assert [(s["addressType"], s["endpoints"]) for s in only_four] == [("IPv6", [])]


def test_a_service_without_pods_has_one_empty_slice_and_keeps_it() -> None:
    created = plan(make_service(), []).create
    assert [(s["endpoints"], s["ports"]) for s in created] == [([], [])]
    assert not plan(make_service(), [], stored(created))
    grown = plan(make_service(), [make_pod(1)], stored(created))
    assert sizes(grown) == ([], [("web-0", 1)], [])
    assert grown.update[0]["ports"] == [{"name": "", "port": 8080, "protocol": "TCP"}]
    emptied = plan(make_service(), [], grown.update)
    assert [(s["endpoints"], s["ports"]) for s in emptied.update] == [([], [])]


def test_slices_hold_a_hundred_and_change_as_little_as_they_can() -> None:
    pods = [make_pod(number) for number in range(250)]
    made = stored(plan(make_service(), pods).create)
    assert [len(s["endpoints"]) for s in made] == [100, 100, 50]
    assert sizes(plan(make_service(), pods, made)) == NOTHING
    assert sizes(plan(make_service(), [*pods, make_pod(250)], made)) == ([], [("web-2", 51)], [])
    assert sizes(plan(make_service(), pods[:200], made)) == ([], [], ["web-2"])
    other = [*pods[:30], make_pod(30, ready=False), *pods[31:], make_pod(250)]
    assert sizes(plan(make_service(), other, made)) == ([], [("web-0", 100), ("web-2", 51)], [])


def test_what_is_new_goes_into_slices_that_change_anyhow_fullest_first() -> None:
    pods = [make_pod(number) for number in range(300)]
    made = stored(plan(make_service(), pods).create)
    left = [*pods[:90], *pods[110:150], *pods[200:]]  # 90 of the first, 40 of the second
    changes = plan(make_service(), [*left, *(make_pod(n) for n in range(300, 315))], made)
    assert sizes(changes) == ([], [("web-0", 100), ("web-1", 45)], [])


def test_what_is_left_goes_into_the_unchanged_slice_that_it_fills_best() -> None:
    made = []
    for start, count in ((0, 40), (100, 80), (200, 60)):
        (one,) = plan(make_service(), [make_pod(start + n) for n in range(count)]).create
        made.append(one)
    slices = stored(made)
    pods = [make_pod(start + n) for start, count in ((0, 40), (100, 80), (200, 60)) for n in range(count)]
    fifteen = plan(make_service(), [*pods, *(make_pod(300 + n) for n in range(15))], slices)
    assert sizes(fifteen) == ([], [("web-1", 95)], [])
    thirty = plan(make_service(), [*pods, *(make_pod(300 + n) for n in range(30))], slices)
    assert sizes(thirty) == ([], [("web-2", 90)], [])
    seventy = plan(make_service(), [*pods, *(make_pod(300 + n) for n in range(70))], slices)
    assert sizes(seventy) == ([70], [], [])


def test_a_pod_that_is_made_again_under_its_name_keeps_its_place() -> None:
    made = stored(plan(make_service(), [make_pod(1), make_pod(2)]).create)
    again = make_pod(1)
    again["metadata"]["uid"] = "another"
    changes = plan(make_service(), [again, make_pod(2)], made)
    assert sizes(changes) == ([], [("web-0", 2)], [])
    assert changes.update[0]["endpoints"][0]["targetRef"]["uid"] == "another"


def test_labels_of_the_service_are_those_of_its_slices_but_for_ours() -> None:
    made = stored(plan(make_service(), [make_pod(1)]).create)
    renamed = make_service()
    renamed["metadata"]["labels"] = {"team": "web", "kubernetes.io/service-name": "forged"}
    changes = plan(renamed, [make_pod(1)], made)
    assert changes.update[0]["metadata"]["labels"] == {
        "team": "web",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    renamed["metadata"]["labels"] = {"team": "ml", "endpointslice.kubernetes.io/managed-by": "forged"}
    assert sizes(plan(renamed, [make_pod(1)], made)) == NOTHING


def test_slices_of_an_earlier_service_of_that_name_go() -> None:
    made = stored(plan(make_service(), [make_pod(1)]).create)
    made[0]["metadata"]["ownerReferences"][0]["uid"] = "earlier"
    assert sizes(plan(make_service(), [make_pod(1)], made)) == ([1], [], ["web-0"])


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 250), min_size=1, max_size=5))
def test_every_pod_is_in_one_slice_whatever_came_before(seed: int, counts: list[int]) -> None:
    choose = random.Random(seed)
    slices: list[Any] = []
    for step, count in enumerate(counts):
        numbers = sorted(choose.sample(range(300), count))
        pods = [make_pod(number, ready=choose.random() < 0.9) for number in numbers]
        changes = plan(make_service(), pods, slices)
        gone = {meta.name(s) for s in (*changes.delete, *changes.update)}
        fresh = [
            {**s, "metadata": {**s["metadata"], "name": f"web-{step}-{n}"}}
            for n, s in enumerate(changes.create)
        ]
        slices = [*(s for s in slices if meta.name(s) not in gone), *changes.update, *fresh]
        names = [e["targetRef"]["name"] for s in slices for e in s["endpoints"]]
        assert sorted(names) == sorted(f"web-{number}" for number in numbers)
        assert all(len(s["endpoints"]) <= MAX_ENDPOINTS for s in slices)
        assert slices
        assert not plan(make_service(), pods, slices)


def hints_of(changes: Changes) -> list[Any]:
    slices = [*changes.create, *changes.update, *changes.unchanged]
    return [endpoint.get("hints") for s in slices for endpoint in s["endpoints"]]


def test_traffic_distribution_means_an_endpoint_for_its_own_zone_or_node() -> None:
    pods = [make_pod(1), make_pod(2, ready=False)]
    zone, node = {"forZones": [{"name": "a"}]}, {"forNodes": [{"name": "proa-1"}]}
    slices: list[Any] = []
    for distribution, expected in (
        ("PreferClose", [zone, None]),
        ("PreferSameZone", [zone, None]),
        ("PreferSameNode", [zone | node, None]),
        (None, [None, None]),
    ):
        service = make_service(trafficDistribution=distribution)
        changes = plan(service, pods, slices, zone="a")
        set_hints(service, changes)
        assert hints_of(changes) == expected
        slices = stored([*changes.create, *changes.update, *changes.unchanged])
        again = plan(service, pods, slices, zone="a")
        set_hints(service, again)
        assert sizes(again) == NOTHING


def test_without_zones_only_nodes_are_hinted_at() -> None:
    for distribution, expected in (
        ("PreferClose", None),
        ("PreferSameNode", {"forNodes": [{"name": "proa-1"}]}),
    ):
        service = make_service(trafficDistribution=distribution)
        changes = plan(service, [make_pod(1)])
        set_hints(service, changes)
        assert hints_of(changes) == [expected]


def share(zones: dict[str, int], shares: dict[str, float]) -> tuple[Any, Changes]:
    """Give zones with so many endpoints hints by these shares."""
    changes = Changes()
    numbers = iter(range(1000))
    for zone, count in zones.items():
        changes.create += plan(
            make_service(), [make_pod(next(numbers)) for _ in range(count)], zone=zone
        ).create
    return set_shares(changes, shares), changes


def test_zones_get_their_share_of_endpoints() -> None:
    outcome, changes = share({"a": 6, "b": 0}, {"a": 0.5, "b": 0.5})
    assert outcome.counts == {"a": 3, "b": 3}
    assert [hint["forZones"][0]["name"] for hint in hints_of(changes)].count("b") == 3
    outcome, _ = share({"a": 5, "b": 4, "c": 1}, {"a": 0.4, "b": 0.3, "c": 0.3})
    assert outcome.counts == {"a": 4, "b": 3, "c": 3}


FAILURES = [
    (
        {"a": 2},
        {},
        "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes",
    ),
    ({"a": 1}, {"a": 0.5, "b": 0.5}, "Insufficient number of endpoints (1 endpoints, 2 zones)"),
    (
        {"a": 2, "b": 1},
        {"a": 0.5, "b": 0.5},
        "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold "
        "(3 endpoints, 2 zones)",
    ),
    ({"a": 2, "": 2}, {"a": 0.5, "b": 0.5}, "One or more endpoints do not have a zone specified"),
]


@pytest.mark.parametrize(("zones", "shares", "why"), FAILURES)
def test_why_zones_have_no_share(zones: Any, shares: Any, why: str) -> None:
    outcome, changes = share(zones, shares)
    assert (outcome.counts, outcome.failure) == (None, why)
    assert set(hints_of(changes)) == {None}


def test_shares_follow_the_cpu_of_nodes_that_are_ready() -> None:
    nodes = [make_node("1", "a", "6"), make_node("2", "b", "1"), make_node("3", "b", "1000m")]
    lost = make_node("4", "c", "64")
    lost["status"]["conditions"][0]["status"] = "Unknown"
    assert shares_of([*nodes, lost]) == {"a": 0.75, "b": 0.25}
    assert shares_of(nodes[:1]) == {}
    assert shares_of([*nodes, make_node("5")]) == {}
    assert not is_overloaded({"a": 6, "b": 2}, {"a": 0.75, "b": 0.25})
    assert is_overloaded({"a": 6, "b": 2}, {"a": 0.25, "b": 0.75})


def slices_of(w: Any) -> list[Any]:
    found: list[Any] = w.client.all(ENDPOINT_SLICES)
    return found


def test_slices_follow_pods_as_they_come_and_go(world: Any) -> None:
    async def scenario() -> None:
        async with world([EndpointSlices()]) as w:
            w.client.add(NODES, make_node())
            w.client.add(SERVICES, make_service())
            w.client.add(PODS, make_pod(1))
            w.client.add(PODS, make_pod(2, ready=False))
            await w.settle()
            assert [len(s["endpoints"]) for s in slices_of(w)] == [2]
            calls = len(w.client.calls)
            await w.reconcile_all()
            assert w.client.calls[calls:] == []
            pod = make_pod(2)
            w.client.add(PODS, {**pod, "metadata": {**pod["metadata"], "labels": {"app": "db"}}})
            await w.settle()
            assert [len(s["endpoints"]) for s in slices_of(w)] == [1]
            await w.client.delete(ENDPOINT_SLICES, meta.name(slices_of(w)[0]), "default")
            await w.settle()
            assert [len(s["endpoints"]) for s in slices_of(w)] == [1]

    asyncio.run(scenario())


def test_slices_tell_when_what_they_follow_has_changed(world: Any) -> None:
    async def scenario() -> None:
        async with world([EndpointSlices()]) as w:
            w.client.add(NODES, make_node())
            service = make_service()
            service["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
            w.client.add(SERVICES, service)
            await w.settle()
            assert meta.annotations(slices_of(w)[0])[CHANGED] == "2026-01-01T00:00:00Z"
            pod = make_pod(1)
            pod["status"]["conditions"][0]["lastTransitionTime"] = "2026-01-01T00:00:09Z"
            w.client.add(PODS, pod)
            await w.settle()
            assert meta.annotations(slices_of(w)[0])[CHANGED] == "2026-01-01T00:00:09Z"
            going = {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": "2026-01-01T00:01:00Z"}}
            w.client.add(PODS, going)
            await w.settle()
            assert CHANGED not in meta.annotations(slices_of(w)[0])

    asyncio.run(scenario())


def test_a_pod_waits_for_its_node_and_is_told_of(world: Any) -> None:
    async def scenario() -> None:
        async with world([EndpointSlices()]) as w:
            w.client.add(SERVICES, make_service())
            w.client.add(PODS, make_pod(1, node="late"))
            await w.settle()
            assert [s["endpoints"] for s in slices_of(w)] == [[]]
            words = "skipping Pod web-1 for Service default/web: Node late Not Found"
            message = f"Error updating Endpoint Slices for Service default/web: {words}"
            assert ("Warning", "FailedToUpdateEndpointSlices", message) in w.events
            w.client.add(NODES, make_node("late"))
            await w.settle()
            assert [len(s["endpoints"]) for s in slices_of(w)] == [1]

    asyncio.run(scenario())


def test_hints_by_annotation_come_and_go_with_it(world: Any) -> None:
    async def scenario() -> None:
        async with world([EndpointSlices()]) as w:
            for name, zone in (("a", "za"), ("b", "zb")):
                w.client.add(NODES, make_node(name, zone))
            for number in range(4):
                w.client.add(PODS, make_pod(number, node="ab"[number % 2]))
            service = make_service()
            service["metadata"]["annotations"] = {"service.kubernetes.io/topology-mode": "Auto"}
            w.client.add(SERVICES, service)
            await w.settle()
            zones = [e["hints"]["forZones"][0]["name"] for e in slices_of(w)[0]["endpoints"]]
            assert sorted(zones) == ["za", "za", "zb", "zb"]
            enabled = "Topology Aware Hints has been enabled, addressType: IPv4"
            assert w.events == [("Normal", "TopologyAwareHintsEnabled", enabled)]
            w.client.add(NODES, make_node("b"))
            await w.settle()
            assert all("hints" not in e for e in slices_of(w)[0]["endpoints"])
            assert w.events[-1][1] == "TopologyAwareHintsDisabled"
            w.client.add(SERVICES, make_service())
            await w.settle()

    asyncio.run(scenario())


def test_families_that_a_service_has_no_more_and_ending_namespaces(world: Any) -> None:
    async def scenario() -> None:
        async with world([EndpointSlices()]) as w:
            w.client.add(NODES, make_node())
            w.client.add(PODS, make_pod(1))
            w.client.add(SERVICES, make_service(ipFamilies=["IPv4", "IPv6"]))
            await w.settle()
            assert sorted(s["addressType"] for s in slices_of(w)) == ["IPv4", "IPv6"]
            w.client.add(SERVICES, make_service())
            await w.settle()
            assert [s["addressType"] for s in slices_of(w)] == ["IPv4"]

    asyncio.run(scenario())


def test_services_without_a_selector_are_left_alone(world: Any) -> None:
    async def scenario() -> None:
        async with world([EndpointSlices()]) as w:
            w.client.add(SERVICES, make_service(selector=None))
            w.client.add(SERVICES, {**make_service(type="ExternalName"), "metadata": {"name": "other"}})
            await w.settle()
            assert w.client.calls == []

    asyncio.run(scenario())


def test_one_pod_of_many_is_one_write_of_one_slice(world: Any) -> None:
    async def scenario() -> None:
        async with world([EndpointSlices()]) as w:
            w.client.add(NODES, make_node())
            for number in range(250):
                w.client.add(PODS, make_pod(number))
            await w.settle()
            w.client.add(SERVICES, make_service())
            await w.settle()
            assert len(slices_of(w)) == 3
            calls = len(w.client.calls)
            w.client.add(PODS, make_pod(150, ready=False))
            await w.settle()
            assert [call.verb for call in w.client.calls[calls:]] == ["update"]
            noise = make_pod(151)
            noise["status"]["containerStatuses"] = [{"name": "main", "restartCount": 1}]
            w.client.add(PODS, noise)
            await w.settle()
            assert len(w.client.calls) == calls + 1

    asyncio.run(scenario())
