"""Ways lead to the nodes of other machines that say where they are, and to none that says it is another."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proa.local_nodes.addresses import JOINED_NUMBERS, MAX_NODES, Place, joined_pod_cidrs, place_of
from proa.local_nodes.overlay import choose_vni, make_annotation, plan_ways, read_annotation, words_of
from proa.node.noded.overlay import PORT


def make_node(
    name: str, number: int, address: str = "192.0.2.2", *, age: int = 0, **metadata: Any
) -> dict[str, Any]:
    annotations = {"proa.local/overlay": make_annotation(address, 7)} if address else {}
    created = f"2026-01-01T00:00:{age:02}Z"
    return {
        "metadata": {"name": name, "creationTimestamp": created, "annotations": annotations, **metadata},
        "spec": {"podCIDR": f"10.244.{number}.0/24"},
    }


def test_each_node_of_another_machine_has_a_way() -> None:
    nodes = [
        make_node("proa-1", 1, "192.0.2.1"),
        make_node("far", 33),
        make_node("silent", 34, ""),
        make_node("going", 35, deletionTimestamp="2026-01-01T00:00:00Z"),
        {"metadata": {"name": "fake", "creationTimestamp": ""}, "spec": {}},
    ]
    (way,) = plan_ways(nodes, {"proa-1"})
    assert (way.name, way.node_ip, way.pod_cidr, way.address, way.port, way.vni) == (
        "far", "10.243.0.33", "10.244.33.0/24", "192.0.2.2", PORT, 7,
    )  # fmt: skip
    assert way.peer("10.243.0.1")["source"] == "10.243.0.1"


def test_ipv6_leads_where_both_nodes_have_it() -> None:
    far = make_node("far", 33)
    far["spec"]["podCIDRs"] = ["10.244.33.0/24", "fd00:10:244:21::/64"]
    (way,) = plan_ways([far], {"proa-1"})
    assert (way.node_ipv6, way.pod_cidr_v6) == ("fd00:10:243::21", "fd00:10:244:21::/64")
    assert way.peer("10.243.0.1", "fd00:10:243::1")["node_ipv6"] == "fd00:10:243::21"
    assert way.peer("10.243.0.1")["node_ipv6"] == ""
    assert joined_pod_cidrs(is_dual=True)[0] == ("10.244.33.0/24", "fd00:10:244:21::/64")


def test_of_two_nodes_with_the_same_addresses_the_older_is_reached_and_our_own_always() -> None:
    nodes = [make_node("late", 33, age=9), make_node("early", 33, age=1), make_node("sly", 1, age=0)]
    ways = plan_ways([*nodes, make_node("proa-1", 1, age=5)], {"proa-1"})
    assert [way.name for way in ways] == ["early"]


@pytest.mark.parametrize(
    "said",
    [
        pytest.param("", id="nothing"),
        pytest.param("[]", id="no-object"),
        pytest.param(
            json.dumps({"type": "wireguard", "address": "192.0.2.2", "port": 1, "vni": 1}), id="another-kind"
        ),
        pytest.param(
            json.dumps({"type": "vxlan", "address": "far.example", "port": 1, "vni": 1}), id="no-address"
        ),
        pytest.param(
            json.dumps({"type": "vxlan", "address": "192.0.2.2", "port": 0, "vni": 1}), id="no-port"
        ),
        pytest.param(
            json.dumps({"type": "vxlan", "address": "192.0.2.2", "port": 1, "vni": 1 << 24}), id="no-number"
        ),
        pytest.param(json.dumps({"type": "vxlan", "address": "192.0.2.2"}), id="half"),
    ],
)
def test_what_a_node_says_is_taken_where_it_can_be_used(said: str) -> None:
    assert read_annotation({"metadata": {"annotations": {"proa.local/overlay": said}}}) is None


def test_a_way_by_ipv6_is_one() -> None:
    node = make_node("far", 33, "2001:db8::2")
    assert read_annotation(node) == ("2001:db8::2", PORT, 7)


def test_numbers_of_devices_differ_with_the_folder_and_fit() -> None:
    found = {choose_vni(f"/home/{number}") for number in range(100)}
    assert len(found) == 100
    assert len({choose_vni("/home", attempt) for attempt in range(100)}) == 100
    assert all(0 < number < 1 << 24 for number in found)


def test_nodes_of_other_machines_have_numbers_that_ours_never_have() -> None:
    assert min(JOINED_NUMBERS) > MAX_NODES
    assert joined_pod_cidrs()[0] == ("10.244.33.0/24",)
    assert place_of("far", "10.244.33.0/24") == Place(33, "far")
    assert Place(33, "far").name == "far"
    for cidr in ("10.244.0.0/24", "10.244.33.0/25", "10.245.33.0/24", "fd00::/64", ""):
        assert place_of("far", cidr) is None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(1, "Operation not permitted"), "run Proa as root"),
        (OSError(95, "Operation not supported"), "load the module vxlan"),
        (FileExistsError(17, "File exists"), "the same number on UDP port 8472"),
        (OSError(101, "Network is unreachable"), "Network is unreachable"),
    ],
)
def test_why_there_is_no_way_is_said_with_what_helps(error: OSError, words: str) -> None:
    assert words in words_of(error)
