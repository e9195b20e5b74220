"""Who bears a taint, for how long, and when time runs out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proa.controllers.taint_eviction import TaintEviction, seconds_tolerated
from proa.objects import meta
from proa.objects.resource import NODES, PODS

NOT_READY = "node.kubernetes.io/not-ready"


def taint(key: str = NOT_READY, effect: str = "NoExecute") -> dict[str, str]:
    return {"key": key, "effect": effect}


def make_node(*taints: Any) -> Any:
    return {"metadata": {"name": "proa-1"}, "spec": {"taints": [*taints]}}


def tolerating(key: str = NOT_READY, seconds: int | None = None, **more: Any) -> Any:
    limit = {} if seconds is None else {"tolerationSeconds": seconds}
    return {"key": key, "operator": "Exists", "effect": "NoExecute", **limit, **more}


def make_pod(name: str, *tolerations: Any) -> Any:
    spec = {"nodeName": "proa-1", "tolerations": [*tolerations], "terminationGracePeriodSeconds": 0}
    return {"metadata": {"name": name}, "spec": spec}


OTHER = taint("other")
TOLERATIONS = [
    ("none", [], [taint()], 0.0),
    ("for ever", [tolerating()], [taint()], None),
    ("everything", [{"operator": "Exists"}], [taint(), OTHER], None),
    ("for five minutes", [tolerating(seconds=300)], [taint()], 300.0),
    ("the first of two counts", [tolerating(seconds=300), tolerating(seconds=60)], [taint()], 300.0),
    ("for ever first", [tolerating(), tolerating(seconds=60)], [taint()], None),
    ("another effect", [tolerating(effect="NoSchedule")], [taint()], 0.0),
    ("another key", [tolerating("other")], [taint()], 0.0),
    ("by value", [{"key": NOT_READY, "operator": "Equal", "value": ""}], [taint()], None),
    ("negative", [tolerating(seconds=-5)], [taint()], 0.0),
    ("one of two taints", [tolerating()], [taint(), OTHER], 0.0),
    (
        "the shorter of two taints",
        [tolerating(seconds=9), tolerating("other", 7)],
        [taint(), OTHER],
        7.0,
    ),
]


@pytest.mark.parametrize(
    ("_name", "tolerations", "taints", "expected"), TOLERATIONS, ids=[c[0] for c in TOLERATIONS]
)
def test_how_long_a_taint_is_borne(_name: str, tolerations: Any, taints: Any, expected: float | None) -> None:
    assert seconds_tolerated(taints, tolerations) == expected


def names(w: Any) -> list[str]:
    return [meta.name(pod) for pod in w.pods()]


def said(w: Any, name: str) -> list[str]:
    return [message.rpartition(" of ")[0] or "Marking" for _, _, message in w.events if f"/{name}" in message]


def test_pods_are_evicted_when_their_toleration_ends(world: Any) -> None:
    async def scenario() -> None:
        async with world([TaintEviction()]) as w:
            for pod in (
                make_pod("soon"),
                make_pod("later", tolerating(seconds=60)),
                make_pod("never", tolerating()),
            ):
                w.client.add(PODS, pod)
            w.client.add(NODES, make_node(taint()))
            await w.settle()
            assert names(w) == ["later", "never"]
            w.advance(59)
            await w.reconcile_all()
            assert names(w) == ["later", "never"]
            w.advance(1)
            await w.reconcile_all()
            assert names(w) == ["never"]
            assert ("Normal", "TaintManagerEviction", "Marking for deletion Pod default/soon") in w.events

    asyncio.run(scenario())


def test_a_taint_that_goes_in_time_spares_the_pod(world: Any) -> None:
    async def scenario() -> None:
        async with world([TaintEviction()]) as w:
            w.client.add(PODS, make_pod("lucky", tolerating(seconds=60)))
            w.client.add(NODES, make_node(taint()))
            await w.settle()
            w.advance(59)
            w.client.add(NODES, make_node())
            await w.settle()
            w.advance(60)
            await w.reconcile_all()
            assert names(w) == ["lucky"]
            message = "Cancelling deletion of Pod default/lucky"
            assert w.events == [("Normal", "TaintManagerEviction", message)]

    asyncio.run(scenario())


def test_a_pod_that_comes_to_a_tainted_node_has_its_own_time(world: Any) -> None:
    async def scenario() -> None:
        async with world([TaintEviction()]) as w:
            added = meta.format_time(w.time - 3600)
            w.client.add(NODES, make_node({**taint(), "timeAdded": added}))
            w.client.add(PODS, make_pod("new", tolerating(seconds=60)))
            await w.settle()
            w.advance(59)
            await w.reconcile_all()
            assert names(w) == ["new"]
            w.advance(1)
            await w.reconcile_all()
            assert names(w) == []

    asyncio.run(scenario())


def test_what_was_set_first_holds(world: Any) -> None:
    async def scenario() -> None:
        async with world([TaintEviction()]) as w:
            w.client.add(PODS, make_pod("pod", tolerating(seconds=60), tolerating("other", 3600)))
            w.client.add(NODES, make_node(taint()))
            await w.settle()
            w.advance(30)
            w.client.add(NODES, make_node(taint(), OTHER))
            await w.settle()
            w.advance(30)
            await w.reconcile_all()
            assert names(w) == []

    asyncio.run(scenario())
