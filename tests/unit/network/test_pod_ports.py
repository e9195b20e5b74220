"""Which ports of the node lead to pods that take them."""

from __future__ import annotations

from typing import Any

import pytest

from proa.network.data_path import Endpoint, ServiceKey
from proa.network.pod_ports import plan_pod, takes_ports

KEY = ServiceKey("default", "pod:web")


def make_pod(*ports: dict[str, Any], ips: tuple[str, ...] = ("10.244.1.2",), **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "default", "name": "web"},
        "spec": {"nodeName": "proa-1", "containers": [{"name": "c", "ports": [*ports]}], **spec},
        "status": {"phase": "Running", "podIPs": [{"ip": ip} for ip in ips]},
    }


def described(pod: dict[str, Any] | None, node: str) -> list[tuple[Any, ...]]:
    return [
        (p.protocol, p.node_port or p.port, bool(p.node_port), p.host_addresses, p.is_external_local)
        for p in plan_pod(pod, node)
    ]


@pytest.mark.parametrize(
    ("port", "node", "expected"),
    [
        ({}, "proa-1", [("TCP", 8080, True, (), True), ("TCP", 8080, False, ("127.0.0.1",), False)]),
        ({}, "", [("TCP", 8080, True, (), True)]),
        ({}, "proa-2", []),
        ({"hostIP": "0.0.0.0"}, "", [("TCP", 8080, True, (), True)]),
        ({"hostIP": "127.0.0.2"}, "proa-1", [("TCP", 8080, False, ("127.0.0.2",), False)]),
        ({"hostIP": "10.243.0.1"}, "proa-1", [("TCP", 8080, False, ("10.243.0.1",), True)]),
        ({"hostIP": "::1"}, "proa-1", []),
        ({"protocol": "UDP"}, "", [("UDP", 8080, True, (), True)]),
        ({"protocol": "SCTP"}, "proa-1", []),
        ({"hostPort": None}, "proa-1", []),
    ],
)
def test_a_host_port_leads_to_its_pod(
    port: dict[str, Any], node: str, expected: list[tuple[Any, ...]]
) -> None:
    pod = make_pod({"containerPort": 80, "hostPort": 8080, **port})

    assert described(pod, node) == expected
    for found in plan_pod(pod, node):
        assert found.service == KEY
        assert found.node_port_endpoints == (Endpoint("10.244.1.2", 80),)


def test_each_family_has_its_own() -> None:
    pod = make_pod({"containerPort": 80, "hostPort": 8080}, ips=("10.244.1.2", "fd00::2"))

    assert [(p.family, p.host_addresses) for p in plan_pod(pod, "proa-1")] == [
        ("IPv4", ()), ("IPv4", ("127.0.0.1",)), ("IPv6", ()), ("IPv6", ("::1",)),
    ]  # fmt: skip


def test_a_pod_that_has_ended_or_is_the_nodes_own_takes_none() -> None:
    port = {"containerPort": 80, "hostPort": 80}
    ended = {**make_pod(port), "status": {"phase": "Succeeded", "podIPs": [{"ip": "10.244.1.2"}]}}

    assert plan_pod(ended, "proa-1") == ()
    assert plan_pod(None, "proa-1") == ()
    assert not takes_ports(make_pod(port, hostNetwork=True))
