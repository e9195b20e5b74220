"""Services and EndpointSlices become the right ports with the right endpoints."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proa.network.data_path import Endpoint, ServiceKey, plan, plan_service
from proa.network.nftables import NftablesDataPath, render_base, render_changes

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
        pytest.param({"clusterIP": "fd00::1"}, id="IPv6"),
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


def test_rules_of_a_service_come_and_go_without_touching_others() -> None:
    one = plan_service(make_service(), [make_slice(endpoint(2))], HERE)
    two = plan_service(make_service(), [make_slice(endpoint(2), endpoint(3))], HERE)
    assert render_changes([(one, one)]) == ""
    added, grown, removed = (
        render_changes([((), one)]),
        render_changes([(one, two)]),
        render_changes([(two, ())]),
    )
    assert added.count("add chain") == 3
    assert "numgen random mod 2" in grown
    assert grown.count("delete chain") == 0
    assert sum("endpoint_" in line and "chain" in line for line in grown.splitlines()) == 1
    assert "element" not in grown
    assert removed.count("delete chain") == 4
    assert "add" not in removed
    assert "ip daddr 10.243.0.1 meta l4proto" in render_base("10.243.0.1")


def test_after_a_failure_the_whole_table_is_made_again() -> None:
    class Kernel:
        commands: list[str] = []  # noqa: RUF012
        fails = False

        async def apply_nftables(self, commands: str) -> None:
            self.commands.append(commands)
            if self.fails:
                raise RuntimeError("Error: No such file or directory")

    async def main() -> None:
        kernel = Kernel()
        path = NftablesDataPath(kernel, "10.243.0.1")  # type: ignore[arg-type]
        one = plan_service(make_service(), [make_slice(endpoint(2))], HERE)
        two = plan_service(make_service(), [make_slice(endpoint(2), endpoint(3))], HERE)
        web, other = ServiceKey("default", "web"), ServiceKey("default", "other")
        await path.start()
        await path.apply({web: one})
        kernel.fails = True
        with pytest.raises(RuntimeError):
            await path.apply({other: two})
        kernel.fails = False
        await path.apply({web: two})
        assert kernel.commands[-1] == render_base("10.243.0.1") + render_changes([((), two)])
        await path.apply({web: one})
        assert kernel.commands[-1] == render_changes([(two, one)])

    asyncio.run(main())
