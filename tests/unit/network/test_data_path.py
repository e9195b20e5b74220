"""Services and EndpointSlices become the right ports with the right endpoints."""

from __future__ import annotations

from typing import Any

import pytest

from proa.network.data_path import Endpoint, ServiceKey, plan, plan_service

Object = dict[str, Any]
HERE, THERE = "proa-1", "proa-2"


def make_service(**spec: Any) -> Object:
    port = {"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080}
    return {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.7", "type": "NodePort", "ports": [port], **spec},
    }


def make_slice(*endpoints: Object, port: Object | None = None, service: str = "web", **fields: Any) -> Object:
    return {
        "metadata": {
            "name": "web-abc",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": [port or {"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": list(endpoints),
        **fields,
    }


def endpoint(last: int, node: str = HERE, **conditions: bool) -> Object:
    return {"addresses": [f"10.244.1.{last}"], "nodeName": node, "conditions": conditions or {"ready": True}}


READY = {"ready": True, "serving": True, "terminating": False}
DRAINING = {"ready": False, "serving": True, "terminating": True}
DONE = {"ready": False, "serving": False, "terminating": True}


def addresses(*lasts: int) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(f"10.244.1.{last}", 8080) for last in lasts)


def hinted(
    last: int, *, zones: tuple[str, ...] = (), nodes: tuple[str, ...] = (), **conditions: bool
) -> Object:
    hints = {"forZones": [{"name": z} for z in zones], "forNodes": [{"name": n} for n in nodes]}
    return {**endpoint(last, **conditions), "hints": {key: value for key, value in hints.items() if value}}


ZONES = (hinted(2, zones=("a",)), hinted(3, zones=("b",)))
NODES = (hinted(2, zones=("a",), nodes=(HERE,)), hinted(3, zones=("a",), nodes=(THERE,)))
HINTS = [
    ("own zone", ZONES, HERE, "a", (2,)),
    ("another zone", ZONES, HERE, "c", (2, 3)),
    ("no zone", ZONES, HERE, "", (2, 3)),
    ("one without a hint", (*ZONES, endpoint(4)), HERE, "a", (2, 3, 4)),
    ("one without a hint that is not ready", (*ZONES, endpoint(4, ready=False)), HERE, "a", (2,)),
    ("own node", NODES, HERE, "a", (2,)),
    ("not on this node, then its zone", NODES, "proa-3", "a", (2, 3)),
    ("for several zones", (hinted(2, zones=("a", "b")), hinted(3, zones=("b",))), HERE, "b", (2, 3)),
    ("all draining", (hinted(2, zones=("b",), **DRAINING),), HERE, "a", (2,)),
    ("every node", ZONES, "", "a", (2, 3)),
]


@pytest.mark.parametrize(("_name", "endpoints", "node", "zone", "expected"), HINTS, ids=[c[0] for c in HINTS])
def test_hints_keep_connections_near(
    _name: str, endpoints: Any, node: str, zone: str, expected: tuple[int, ...]
) -> None:
    (port,) = plan_service(make_service(), [make_slice(*endpoints)], node, zone)
    assert port.endpoints == port.node_port_endpoints == addresses(*expected)


def test_hints_mean_nothing_to_a_policy_of_local() -> None:
    (port,) = plan_service(make_service(externalTrafficPolicy="Local"), [make_slice(*ZONES)], HERE, "a")
    assert (port.endpoints, port.node_port_endpoints) == (addresses(2), addresses(2, 3))


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        pytest.param([], (), id="no slice"),
        pytest.param([make_slice(endpoint(3), endpoint(2))], addresses(2, 3), id="sorted"),
        pytest.param(
            [make_slice(endpoint(2)), make_slice(endpoint(2), endpoint(4))], addresses(2, 4), id="once each"
        ),
        pytest.param(
            [make_slice(endpoint(2, **READY), endpoint(3, **DRAINING))], addresses(2), id="draining is out"
        ),
        pytest.param(
            [make_slice(endpoint(3, **DRAINING), endpoint(4, **DONE))], addresses(3), id="draining, alone"
        ),
        pytest.param([make_slice(endpoint(3, ready=False))], (), id="not ready"),
        pytest.param([make_slice(endpoint(3), addressType="IPv6")], (), id="other family"),
        pytest.param([make_slice(endpoint(3), port={"name": "admin", "port": 1})], (), id="other port"),
        pytest.param(
            [make_slice(endpoint(3), port={"name": "http", "port": 1, "protocol": "UDP"})], (), id="UDP"
        ),
        pytest.param(
            [make_slice({"addresses": ["10.244.1.9"]})], addresses(9), id="no conditions mean ready"
        ),
    ],
)
def test_endpoints_of_a_port(slices: list[Object], expected: tuple[Endpoint, ...]) -> None:
    (port,) = plan_service(make_service(), slices, HERE)
    assert port.endpoints == port.node_port_endpoints == expected


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"clusterIP": "None"}, id="headless"),
        pytest.param({"clusterIP": "", "type": "ExternalName"}, id="external name"),
        pytest.param({"clusterIP": ""}, id="not allocated"),
    ],
)
def test_services_without_a_data_path(spec: Object) -> None:
    assert plan_service(make_service(**spec), [make_slice(endpoint(2))], HERE) == ()


def test_traffic_policies_keep_to_this_nodes_endpoints() -> None:
    slices = [make_slice(endpoint(2), endpoint(3, THERE))]
    (internal,) = plan_service(make_service(internalTrafficPolicy="Local"), slices, HERE)
    assert (internal.endpoints, internal.node_port_endpoints) == (addresses(2), addresses(2, 3))
    (external,) = plan_service(make_service(externalTrafficPolicy="Local"), slices, THERE)
    assert (external.endpoints, external.node_port_endpoints) == (addresses(2, 3), addresses(3))


def test_session_affinity_has_upstreams_default_timeout() -> None:
    (default,) = plan_service(make_service(sessionAffinity="ClientIP"), [], HERE)
    config = {"clientIP": {"timeoutSeconds": 60}}
    (set_,) = plan_service(make_service(sessionAffinity="ClientIP", sessionAffinityConfig=config), [], HERE)
    assert (default.affinity_seconds, set_.affinity_seconds) == (10800, 60)


def test_the_whole_plan_joins_slices_to_their_services() -> None:
    slices = [
        make_slice(endpoint(2)),
        make_slice(endpoint(3), service="other"),
        {"metadata": {"name": "loose"}},
    ]
    path = plan([make_service()], slices, HERE)
    assert path.keys() == {ServiceKey("default", "web")}
    assert path["default", "web"][0].endpoints == addresses(2)  # type: ignore[index]


def test_a_service_of_both_families_has_each_port_twice() -> None:
    service = make_service(clusterIPs=["10.96.0.7", "fd00:10:96::7"])
    ipv6 = make_slice({"addresses": ["fd00:10:244:1::2"], "conditions": READY}, addressType="IPv6")
    first, second = plan_service(service, [make_slice(endpoint(2)), ipv6], HERE)
    assert (first.family, first.addresses, first.endpoints) == ("IPv4", ("10.96.0.7",), addresses(2))
    assert (second.family, second.addresses) == ("IPv6", ("fd00:10:96::7",))
    assert second.endpoints == (Endpoint("fd00:10:244:1::2", 8080),)


def test_addresses_from_outside_are_served_as_the_service_says() -> None:
    ingress = [{"ip": "203.0.113.1", "ipMode": "VIP"}, {"ip": "203.0.113.2", "ipMode": "Proxy"}]
    service = make_service(
        type="LoadBalancer",
        externalIPs=["192.0.2.1", "2001:db8::1"],
        externalTrafficPolicy="Local",
        loadBalancerSourceRanges=[" 10.0.0.0/8 ", "fd00::/8"],
    )
    service["status"] = {"loadBalancer": {"ingress": ingress}}
    (port,) = plan_service(service, [make_slice(endpoint(2), endpoint(3, THERE))], HERE)
    assert (port.external_addresses, port.balancer_addresses) == (("192.0.2.1",), ("203.0.113.1",))
    assert (port.source_ranges, port.is_external_local) == (("10.0.0.0/8",), True)
    assert (port.node_port_endpoints, port.cluster_endpoints) == (addresses(2), addresses(2, 3))


def test_services_of_another_proxy_are_left_to_it() -> None:
    service = make_service()
    service["metadata"]["labels"] = {"service.kubernetes.io/service-proxy-name": "mine"}
    assert plan_service(service, [make_slice(endpoint(2))], HERE) == ()
