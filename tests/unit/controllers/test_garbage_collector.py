"""Owners go, and their dependents with them, after them, before them, or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proa.client.fake import FakeClient
from proa.controllers.garbage_collector.controller import GarbageCollector
from proa.controllers.garbage_collector.following import Feed
from proa.controllers.garbage_collector.graph import FOREGROUND, Graph, Identity, Node, Reference
from proa.controllers.garbage_collector.plan import Plan, plan
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.resource import CONFIG_MAPS, DEPLOYMENTS, NODES, PODS, REPLICA_SETS, SECRETS, Resource

SERVED = (CONFIG_MAPS, SECRETS, PODS, DEPLOYMENTS, REPLICA_SETS, NODES)


class DiscoverableClient(FakeClient):
    """Answers discovery with SERVED."""

    async def request(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        if path == "/apis":
            return {"groups": [{"versions": [{"groupVersion": "apps/v1"}]}]}
        found = [r for r in SERVED if path == r.path().rpartition("/")[0]]
        if not found:
            raise NotFound(path)
        verbs = ["create", "delete", "get", "list", "watch"]
        resources = [
            {"name": r.plural, "kind": r.kind, "namespaced": r.namespaced, "verbs": verbs} for r in found
        ]
        return {"resources": [*resources, {"name": "pods/log", "kind": "Pod", "verbs": ["get"]}]}


def make(resource: Resource, name: str, *owners: dict[str, Any], block: bool = True, **meta_: Any) -> Any:
    references = [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": block,
        }
        for owner in owners
    ]
    metadata = {"name": name, "namespace": "default", "ownerReferences": references, **meta_}
    return {"metadata": metadata, "spec": {}}


def names(w: Any) -> list[str]:
    return sorted(meta.name(obj) for resource in SERVED for obj in w.client.all(resource))


def run(world: Any, scenario: Any) -> None:
    async def body() -> None:
        client = DiscoverableClient(now=lambda: 1_750_000_000.0)
        async with world([GarbageCollector()], client=client) as w:
            await scenario(w, client)

    asyncio.run(body())


def test_dependents_go_in_the_background_generation_by_generation(world: Any) -> None:
    async def scenario(w: Any, client: FakeClient) -> None:
        web = client.add(DEPLOYMENTS, make(DEPLOYMENTS, "web"))
        rs = client.add(REPLICA_SETS, make(REPLICA_SETS, "web-1", web))
        for number in range(5):
            client.add(PODS, make(PODS, f"web-1-{number}", rs))
        client.add(PODS, make(PODS, "lonely"))
        await w.settle()
        await client.delete(DEPLOYMENTS, "web", "default", propagation_policy="Background")
        await w.settle()
        assert names(w) == ["lonely"]

    run(world, scenario)


def test_an_object_whose_owner_never_was_goes_and_costs_one_question(world: Any) -> None:
    async def scenario(w: Any, client: FakeClient) -> None:
        ghost = make(CONFIG_MAPS, "ghost", uid="gone") | {"apiVersion": "v1", "kind": "ConfigMap"}
        for number in range(3):
            client.add(SECRETS, make(SECRETS, f"s{number}", ghost))
            await w.settle()
        assert names(w) == []

    run(world, scenario)


def test_a_namesake_of_the_owner_is_not_the_owner(world: Any) -> None:
    async def scenario(w: Any, client: FakeClient) -> None:
        owner = client.add(CONFIG_MAPS, make(CONFIG_MAPS, "owner"))
        await client.delete(CONFIG_MAPS, "owner", "default")
        client.add(CONFIG_MAPS, make(CONFIG_MAPS, "owner"))
        client.add(SECRETS, make(SECRETS, "dependent", owner))
        await w.settle()
        assert names(w) == ["owner"]

    run(world, scenario)


def test_one_owner_left_keeps_the_object_and_loses_the_reference_to_the_other(world: Any) -> None:
    async def scenario(w: Any, client: FakeClient) -> None:
        first = client.add(CONFIG_MAPS, make(CONFIG_MAPS, "first"))
        second = client.add(CONFIG_MAPS, make(CONFIG_MAPS, "second"))
        client.add(SECRETS, make(SECRETS, "shared", first, second))
        await w.settle()
        await client.delete(CONFIG_MAPS, "first", "default")
        await w.settle()
        shared = client.peek(SECRETS, "shared", "default")
        assert shared is not None
        assert [ref["name"] for ref in meta.owner_references(shared)] == ["second"]

    run(world, scenario)


def test_in_the_foreground_the_owner_goes_last(world: Any) -> None:
    async def scenario(w: Any, client: FakeClient) -> None:
        web = client.add(DEPLOYMENTS, make(DEPLOYMENTS, "web"))
        rs = client.add(REPLICA_SETS, make(REPLICA_SETS, "web-1", web))
        client.add(PODS, make(PODS, "web-1-a", rs, finalizers=["example.com/hold"]))
        await w.settle()
        await client.delete(DEPLOYMENTS, "web", "default", propagation_policy="Foreground")
        await w.settle()
        assert names(w) == ["web", "web-1", "web-1-a"]
        pod = client.peek(PODS, "web-1-a", "default")
        assert pod is not None
        assert meta.is_deleting(pod)
        await client.patch(PODS, "web-1-a", {"metadata": {"finalizers": None}}, "default")
        await w.settle()
        assert names(w) == []

    run(world, scenario)


def test_a_dependent_that_does_not_block_is_not_waited_for(world: Any) -> None:
    async def scenario(w: Any, client: FakeClient) -> None:
        owner = client.add(CONFIG_MAPS, make(CONFIG_MAPS, "owner"))
        client.add(SECRETS, make(SECRETS, "held", owner, block=False, finalizers=["example.com/hold"]))
        await w.settle()
        await client.delete(CONFIG_MAPS, "owner", "default", propagation_policy="Foreground")
        await w.settle()
        assert names(w) == ["held"]

    run(world, scenario)


def test_orphaned_dependents_stay_without_an_owner(world: Any) -> None:
    async def scenario(w: Any, client: FakeClient) -> None:
        owner = client.add(CONFIG_MAPS, make(CONFIG_MAPS, "owner"))
        client.add(SECRETS, make(SECRETS, "dependent", owner))
        await w.settle()
        await client.delete(CONFIG_MAPS, "owner", "default", propagation_policy="Orphan")
        await w.settle()
        assert names(w) == ["dependent"]
        left = client.peek(SECRETS, "dependent", "default")
        assert left is not None
        assert meta.owner_references(left) == []

    run(world, scenario)


def test_an_owner_in_another_namespace_is_none_and_the_dependent_s_namespace_is_told(world: Any) -> None:
    async def scenario(w: Any, client: FakeClient) -> None:
        owner = client.add(CONFIG_MAPS, make(CONFIG_MAPS, "owner", namespace="theirs"))
        client.add(SECRETS, make(SECRETS, "sought", owner))
        await w.settle()
        client.add(SECRETS, make(SECRETS, "right", owner, namespace="theirs"))
        await w.settle()
        client.add(SECRETS, make(SECRETS, "seen", owner))
        await w.settle()
        assert names(w) == ["owner", "right"]
        uid = owner["metadata"]["uid"]
        named = f"[v1/ConfigMap, namespace: default, name: owner, uid: {uid}]"
        text = f'ownerRef {named} does not exist in namespace "default"'
        assert w.events == [("Warning", "OwnerRefInvalidNamespace", text)] * 2

    run(world, scenario)


def test_a_cluster_scoped_object_of_an_owner_in_a_namespace_is_left_alone_and_told_of(world: Any) -> None:
    async def scenario(w: Any, client: FakeClient) -> None:
        owner = client.add(CONFIG_MAPS, make(CONFIG_MAPS, "owner"))
        client.add(NODES, make(NODES, "node", owner, namespace=""))
        await w.settle()
        await client.delete(CONFIG_MAPS, "owner", "default")
        await w.settle()
        assert names(w) == ["node"]
        assert [reason for _, reason, _ in w.events] == ["OwnerRefInvalidNamespace"]

    run(world, scenario)


def test_who_calls_an_owner_by_a_wrong_name_goes_and_does_no_harm_to_who_is_right(world: Any) -> None:
    async def scenario(w: Any, client: FakeClient) -> None:
        owner = client.add(CONFIG_MAPS, make(CONFIG_MAPS, "owner"))
        alias = {**owner, "metadata": {**owner["metadata"], "name": "other"}}
        client.add(SECRETS, make(SECRETS, "wrong", alias))
        client.add(SECRETS, make(SECRETS, "right", owner))
        await w.settle()
        client.add(SECRETS, make(SECRETS, "late", owner))
        client.add(SECRETS, make(SECRETS, "wrong again", alias))
        await w.settle()
        assert names(w) == ["late", "owner", "right"]

    run(world, scenario)


def test_two_that_own_each_other_and_wait_for_each_other_both_go(world: Any) -> None:
    async def scenario(w: Any, client: FakeClient) -> None:
        first = client.add(CONFIG_MAPS, make(CONFIG_MAPS, "first"))
        second = client.add(CONFIG_MAPS, make(CONFIG_MAPS, "second", first))
        await client.patch(
            CONFIG_MAPS,
            "first",
            {"metadata": make(CONFIG_MAPS, "first", second)["metadata"]},
            "default",
        )
        await w.settle()
        for name in ("first", "second"):
            await client.delete(CONFIG_MAPS, name, "default", propagation_policy="Foreground")
        await w.settle()
        assert names(w) == []

    run(world, scenario)


def test_what_went_while_the_watch_was_cut_is_missed_at_the_next_list(world: Any) -> None:
    async def scenario(w: Any, client: FakeClient) -> None:
        owner = client.add(CONFIG_MAPS, make(CONFIG_MAPS, "owner"))
        client.add(SECRETS, make(SECRETS, "dependent", owner))
        client.add(SECRETS, make(SECRETS, "held", owner, finalizers=["example.com/hold"]))
        await w.settle()
        graph = Graph()
        looked: set[str] = set()
        feeds = {
            r: Feed(r, graph, looked.update, lambda uid: None, lambda: None) for r in (CONFIG_MAPS, SECRETS)
        }
        for resource, feed in feeds.items():
            feed.begin()
            feed.page((await client.list(resource)).items)
            feed.finish("1")
        graph.see(meta.uid(owner), Identity(CONFIG_MAPS, "default", "owner"))
        looked.clear()
        await client.delete(CONFIG_MAPS, "owner", "default")
        await w.settle()
        held = meta.uid(client.all(SECRETS)[0])
        feeds[SECRETS].begin()
        feeds[SECRETS].page((await client.list(SECRETS)).items)
        feeds[SECRETS].finish("2")
        feeds[CONFIG_MAPS].begin()
        feeds[CONFIG_MAPS].finish("2")
        assert looked == {held}
        assert graph.seen(meta.uid(owner)) is None
        assert [*graph.nodes] == [held]

    run(world, scenario)


def test_nothing_is_kept_of_what_neither_owns_nor_is_owned() -> None:
    graph = Graph()
    for number in range(10):
        graph.put(make_node(uid=f"loner-{number}", finalizers=(FOREGROUND,)))
    graph.put(make_node(uid="child", owners=("parent",)))
    graph.put(make_node(uid="parent"))
    assert (graph.nodes.keys(), graph.owners.keys()) == ({"child"}, {"parent"})
    graph.put(make_node(uid="child"))
    assert (graph.nodes, graph.owners) == ({}, {})


def test_dependents_of_one_owner_share_what_they_say_of_it() -> None:
    graph = Graph()
    for number in range(3):
        graph.put(make_node(uid=f"pod-{number}", owners=("rs",)))
    assert len({id(node.owners) for node in graph.nodes.values()}) == 1


def reference(uid: str, *, blocks: bool = True) -> Reference:
    return Reference("v1", "Secret", uid, uid, blocks)


def make_node(
    *, uid: str = "a", owners: tuple[str, ...] = (), finalizers: tuple[str, ...] = (), deleting: bool = False
) -> Node:
    return Node(SECRETS, "default", uid, uid, tuple(map(reference, owners)), finalizers, deleting)


CHILD = make_node(uid="c", owners=("a",))
WAITING_CHILD = make_node(uid="c", owners=("a",), finalizers=(FOREGROUND,), deleting=True)
CASES = [
    ("no owners", make_node(), [], {}, Plan()),
    ("solid owner", make_node(owners=("o",)), [], {"o": "solid"}, Plan()),
    ("absent owner", make_node(owners=("o",)), [], {"o": "absent"}, Plan(delete="Background")),
    (
        "one of two",
        make_node(owners=("o", "p")),
        [],
        {"o": "absent", "p": "solid"},
        Plan(drop_owners=(reference("o"),)),
    ),
    (
        "orphans its own",
        make_node(owners=("o",), finalizers=("orphan",)),
        [],
        {"o": "absent"},
        Plan(delete="Orphan"),
    ),
    ("owner waits", make_node(owners=("o",)), [], {"o": "waiting"}, Plan(delete="Background")),
    ("owner waits, has dependents", make_node(owners=("o",)), [CHILD], {"o": "waiting"}, Plan(delete="Foreground")),
    ("circle", make_node(owners=("o",)), [WAITING_CHILD], {"o": "waiting"}, Plan(delete="Foreground", unblock=True)),
    ("going already", make_node(owners=("o",), deleting=True), [], {"o": "absent"}, Plan()),
    ("foreground, done", make_node(finalizers=(FOREGROUND,), deleting=True), [], {}, Plan(remove_finalizer=FOREGROUND)),
    ("foreground, waits", make_node(finalizers=(FOREGROUND,), deleting=True), [CHILD], {}, Plan(look_at=("c",))),
    (
        "orphan",
        make_node(finalizers=("orphan",), deleting=True),
        [CHILD],
        {},
        Plan(orphan=(CHILD,), remove_finalizer="orphan"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("_name", "item", "dependents", "states", "expected"), CASES, ids=[c[0] for c in CASES]
)
def test_plan(_name: str, item: Node, dependents: list[Node], states: Any, expected: Plan) -> None:
    assert plan(item, dependents, {reference(uid): state for uid, state in states.items()}) == expected
