"""This machine's nodes: their names and addresses, their switches, the wires between them, and taking some out."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proa.client.fake import FakeClient
from proa.home import Home
from proa.local_nodes import power
from proa.local_nodes.addresses import find_number, places
from proa.local_nodes.any_node import AnyNode
from proa.local_nodes.links import Links
from proa.local_nodes.node_set import LocalNodes
from proa.local_nodes.removal import remove_nodes
from proa.node.runtimes.protocol import RuntimeFailure
from proa.objects.resource import NODES, PODS


def test_what_follows_from_a_nodes_number() -> None:
    assert [(place.name, place.ip, place.pod_cidr) for place in places(2)] == [
        ("proa-1", "10.243.0.1", "10.244.1.0/24"),
        ("proa-2", "10.243.0.2", "10.244.2.0/24"),
    ]


@pytest.mark.parametrize(
    ("name", "number"), [("proa-7", 7), ("proa-", 0), ("proa-x", 0), ("other-7", 0), ("proa-1٣", 0)]
)
def test_a_nodes_number_by_its_name(name: str, number: int) -> None:
    assert find_number(name) == number


def test_a_switch_stays_as_it_was_turned(tmp_path: Path) -> None:
    directory = tmp_path / "nodes" / "proa-2"
    assert not power.is_off(directory)
    for _ in range(2):
        power.switch_off(directory)
        assert power.is_off(directory)
    for _ in range(2):
        power.switch_on(directory)
        assert not power.is_off(directory)


def test_nodes_beyond_the_number_that_is_wanted_are_surplus(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for name in ("proa-1", "proa-2", "proa-3", "elsewhere"):
        home.node(name).mkdir(parents=True)
    assert LocalNodes(home, 1).surplus == ["proa-2", "proa-3"]
    assert LocalNodes(home, 3).surplus == []
    assert LocalNodes(Home(tmp_path / "new"), 3).surplus == []


class Noded:
    """A supervisor that can be wired, or cannot."""

    def __init__(self, failure: str = "") -> None:
        self.failure = failure
        self.linked: list[int] = []

    async def link(self, other: Noded, here: Any, there: Any) -> None:
        if self.failure:
            raise RuntimeFailure("LinkError", self.failure)
        self.linked.append(there["number"])


def make_node(number: int, noded: Noded, *, has_own_network: bool = True) -> Any:
    return SimpleNamespace(
        name=f"proa-{number}", noded=noded, has_own_network=has_own_network, end={"number": number}
    )


def conditions(client: FakeClient, name: str) -> dict[str, tuple[str, str, str]]:
    found = (client.peek(NODES, name) or {}).get("status") or {}
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in found.get("conditions") or ()}


def test_each_node_is_wired_to_every_one_before_it_and_says_when_it_cannot_be() -> None:
    client = FakeClient()
    nodeds = [Noded(), Noded("refused"), Noded()]
    nodes = [make_node(number, noded) for number, noded in enumerate(nodeds, 1)]
    for node in nodes:
        client.add(NODES, {"metadata": {"name": node.name}})
    links = Links(lambda name: client)

    asyncio.run(links.link(nodes))
    assert [noded.linked for noded in nodeds] == [[], [], [1, 2]]
    assert conditions(client, "proa-2") == {
        "NetworkUnavailable": ("True", "NoRouteCreated", "proa-1: refused")
    }
    assert conditions(client, "proa-1") == conditions(client, "proa-3") == {}

    nodeds[1].failure = ""
    asyncio.run(links.link(nodes))
    assert conditions(client, "proa-2")["NetworkUnavailable"][:2] == ("False", "RouteCreated")


def test_nodes_that_share_the_hosts_network_need_no_wires() -> None:
    nodeds = [Noded("never asked"), Noded("never asked")]
    nodes = [make_node(number, noded, has_own_network=False) for number, noded in enumerate(nodeds, 1)]
    asyncio.run(Links(lambda name: FakeClient()).link(nodes))


def test_without_a_node_that_is_up_there_is_no_network_to_lend() -> None:
    with pytest.raises(RuntimeFailure, match="no node of this machine is up"):
        asyncio.run(AnyNode(lambda: None).open_socket("tcp"))


def test_what_is_taken_out_leaves_no_node_no_pods_and_no_folder(tmp_path: Path) -> None:
    home, client = Home(tmp_path), FakeClient()
    for name in ("proa-1", "proa-2", "proa-3"):
        (home.node(name) / "state").mkdir(parents=True)
        if name != "proa-3":  # that one was deleted by somebody before
            client.add(NODES, {"metadata": {"name": name}})
        client.add(PODS, {"metadata": {"name": f"on-{name}"}, "spec": {"nodeName": name}})

    asyncio.run(remove_nodes(home, ["proa-2", "proa-3"], client))

    assert [node["metadata"]["name"] for node in client.all(NODES)] == ["proa-1"]
    assert [pod["metadata"]["name"] for pod in client.all(PODS)] == ["on-proa-1"]
    assert [path.name for path in home.nodes.iterdir()] == ["proa-1"]
