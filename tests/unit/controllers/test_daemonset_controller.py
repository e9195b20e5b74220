"""A DaemonSet has one pod on every node that it fits, and rolls them over within its bounds."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from proa.controllers.daemonset import nodes as placement
from proa.controllers.daemonset.back_off import BackOff
from proa.controllers.daemonset.bounds import Bounds, bounds_of
from proa.controllers.daemonset.controller import DaemonSetController
from proa.objects import meta
from proa.objects.pods import is_active, is_ready, is_terminated
from proa.objects.resource import CONTROLLER_REVISIONS, DAEMON_SETS, NODES, PODS

LABELS = {"app": "agent"}
ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}


def make_template(image: str = "agent:1", **spec: Any) -> dict[str, Any]:
    containers = [{"name": "agent", "image": image}]
    return {"metadata": {"labels": LABELS}, "spec": {"containers": containers, **spec}}


def make_set(template: Any = None, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "agent", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": LABELS},
            "template": template or make_template(),
            "updateStrategy": ROLLING,
            "revisionHistoryLimit": 10,
            **spec,
        },
    }


def make_node(name: str, labels: Any = None, taints: Any = ()) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": {"taints": list(taints)}}


async def create(w: Any, nodes: int = 3, template: Any = None, **spec: Any) -> None:
    for number in range(nodes):
        w.client.add(NODES, make_node(f"n{number}"))
    await w.client.create(DAEMON_SETS, make_set(template, **spec), "default")
    await w.settle()


async def change(w: Any, **spec: Any) -> None:
    existing = w.client.peek(DAEMON_SETS, "agent", "default")
    await w.client.update(DAEMON_SETS, {**existing, "spec": {**existing["spec"], **spec}})
    await w.settle()


async def end_pods(w: Any) -> None:
    """Let the pods go that are being deleted, as the kubelet does."""
    while going := [pod for pod in w.pods() if meta.is_deleting(pod)]:
        for pod in going:
            await w.client.delete(PODS, meta.name(pod), "default", grace_period_seconds=0)
        await w.settle()


async def make_ready(w: Any, *, all_of_them: bool = True) -> None:
    """Bind pods to the nodes that they are made for, and make them (or the first) ready, again and again."""
    for _ in range(50):
        await end_pods(w)
        waiting = [pod for pod in w.pods() if not is_ready(pod) and not is_terminated(pod)]
        for pod in waiting if all_of_them else waiting[:1]:
            w.set_pod(pod, node=placement.target_node(pod))
        await w.settle()
        if not waiting or not all_of_them:
            return
    raise AssertionError("pods keep coming")


def images(w: Any) -> dict[str, list[str]]:
    """Return the images that run on each node."""
    found: dict[str, list[str]] = {}
    for pod in w.pods():
        found.setdefault(placement.target_node(pod), []).append(pod["spec"]["containers"][0]["image"])
    return {node: sorted(names) for node, names in sorted(found.items())}


def status(w: Any) -> dict[str, Any]:
    return dict(w.client.peek(DAEMON_SETS, "agent", "default")["status"])


def test_each_node_has_a_pod_that_the_scheduler_can_only_put_there(world: Any) -> None:
    async def scenario() -> None:
        async with world([DaemonSetController()]) as w:
            await create(w)
            assert sorted(map(placement.target_node, w.pods())) == ["n0", "n1", "n2"]
            await make_ready(w)
            assert status(w) == {
                "observedGeneration": 1,
                "currentNumberScheduled": 3,
                "desiredNumberScheduled": 3,
                "numberMisscheduled": 0,
                "numberReady": 3,
                "numberAvailable": 3,
                "updatedNumberScheduled": 3,
            }
            created = {e[2] for e in w.events if e[1] == "SuccessfulCreate"}
            assert created == {f"Created pod: {meta.name(pod)}" for pod in w.pods()}

    asyncio.run(scenario())


def test_the_pod_for_a_node() -> None:
    preferred = {"preferredDuringSchedulingIgnoredDuringExecution": [1]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"a": 1}]}}
    affinity = {"nodeAffinity": {**required, **preferred}, "podAffinity": {"x": 1}}
    tolerations = [
        {"key": "own", "operator": "Exists"},
        {
            "key": "node.kubernetes.io/not-ready",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": 5,
        },
    ]
    template = make_template(affinity=affinity, tolerations=tolerations, hostNetwork=True)
    notes = {"deprecated.daemonset.template.generation": "4"}
    daemon_set = {**make_set(template), "metadata": {"name": "agent", "uid": "u", "annotations": notes}}
    pod = placement.make_pod(daemon_set, "abc", "n1")
    assert pod["metadata"]["labels"] == {
        **LABELS,
        "controller-revision-hash": "abc",
        "pod-template-generation": "4",
    }
    assert pod["spec"]["affinity"]["podAffinity"] == {"x": 1}
    assert pod["spec"]["affinity"]["nodeAffinity"] == {
        **preferred,
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}
            ]
        },
    }
    assert placement.target_node(pod) == "n1"
    told = [
        (t["key"].removeprefix("node.kubernetes.io/"), t.get("effect")) for t in pod["spec"]["tolerations"]
    ]
    assert told == [
        ("own", None),
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
        ("network-unavailable", "NoSchedule"),
    ]
    assert "tolerationSeconds" not in pod["spec"]["tolerations"][1]


def taint(key: str, effect: str) -> dict[str, str]:
    return {"key": key, "effect": effect}


ON_SSD = {"key": "disk", "operator": "In", "values": ["ssd"]}
PLACES = [
    ("a plain node", {}, make_node("n"), (True, True)),
    ("its own name", {"nodeName": "n"}, make_node("n"), (True, True)),
    ("another's name", {"nodeName": "m"}, make_node("n"), (False, False)),
    ("a selector that fits", {"nodeSelector": {"disk": "ssd"}}, make_node("n", {"disk": "ssd"}), (True, True)),
    ("a selector that does not", {"nodeSelector": {"disk": "ssd"}}, make_node("n"), (False, False)),
    ("affinity that does not fit",
     {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
         "nodeSelectorTerms": [{"matchExpressions": [ON_SSD]}]}}}},
     make_node("n"), (False, False)),
    ("a taint", {}, make_node("n", taints=[taint("t", "NoSchedule")]), (False, True)),
    ("a soft taint", {}, make_node("n", taints=[taint("t", "PreferNoSchedule")]), (True, True)),
    ("a driving taint", {}, make_node("n", taints=[taint("t", "NoExecute")]), (False, False)),
    ("a tolerated taint", {"tolerations": [{"operator": "Exists"}]},
     make_node("n", taints=[taint("t", "NoExecute")]), (True, True)),
    ("a cordoned node", {}, make_node("n", taints=[taint("node.kubernetes.io/unschedulable", "NoSchedule")]),
     (True, True)),
    ("an unreachable node", {}, make_node("n", taints=[taint("node.kubernetes.io/unreachable", "NoExecute")]),
     (True, True)),
    ("no network", {}, make_node("n", taints=[taint("node.kubernetes.io/network-unavailable", "NoSchedule")]),
     (False, True)),
]  # fmt: skip


@pytest.mark.parametrize(("_name", "spec", "node", "expected"), PLACES, ids=[case[0] for case in PLACES])
def test_where_it_runs_and_where_it_may_stay(_name: str, spec: Any, node: Any, expected: Any) -> None:
    daemon_set = make_set(make_template(**spec))
    found = placement.should_run(daemon_set, node), placement.should_continue(daemon_set, node)
    assert found == expected


def test_pods_follow_nodes_as_they_come_change_and_go(world: Any) -> None:
    async def scenario() -> None:
        async with world([DaemonSetController()]) as w:
            await create(w, nodes=1, template=make_template(nodeSelector={"disk": "ssd"}))
            assert (w.pods(), status(w)["desiredNumberScheduled"]) == ([], 0)
            w.client.add(NODES, make_node("n1", {"disk": "ssd"}))
            await w.client.patch(NODES, "n0", {"metadata": {"labels": {"disk": "ssd"}}})
            await w.settle()
            assert sorted(map(placement.target_node, w.pods())) == ["n0", "n1"]
            await make_ready(w)
            await w.client.patch(NODES, "n0", {"metadata": {"labels": {"disk": "hdd"}}})
            await w.settle()
            await end_pods(w)
            assert [*map(placement.target_node, w.pods())] == ["n1"]
            w.client.add(NODES, make_node("n2", {"disk": "ssd"}))
            await w.settle()
            await w.client.delete(NODES, "n2")  # its pod was never bound: nobody else would delete it
            await w.settle()
            assert [*map(placement.target_node, w.pods())] == ["n1"]

    asyncio.run(scenario())


def test_a_nodes_heartbeats_wake_nobody(world: Any) -> None:
    async def scenario() -> None:
        controller = DaemonSetController()
        async with world([controller]) as w:
            await create(w, nodes=1)
            reconciled: list[Any] = []
            original = controller.reconcile

            async def counting(context: Any, key: Any) -> Any:
                reconciled.append(key)
                return await original(context, key)

            controller.reconcile = counting  # type: ignore[method-assign]
            node = w.client.peek(NODES, "n0", "")
            await w.client.update(NODES, {**node, "status": {"phase": "beat"}}, subresource="status")
            await w.settle()
            assert reconciled == []

    asyncio.run(scenario())


def test_a_rolling_update_keeps_to_max_unavailable_and_replaces_broken_pods_first(world: Any) -> None:
    async def scenario() -> None:
        async with world([DaemonSetController()]) as w:
            await create(w, nodes=4)
            await make_ready(w)
            broken = w.pods()[3]
            w.set_pod(broken, ready=False)
            await w.settle()
            await change(w, template=make_template("agent:2"))
            await end_pods(w)
            assert sum(names == ["agent:1"] for names in images(w).values()) == 3
            assert meta.uid(broken) not in map(meta.uid, w.pods())
            assert status(w)["updatedNumberScheduled"] == 1
            await make_ready(w)
            assert images(w) == {f"n{number}": ["agent:2"] for number in range(4)}
            assert status(w)["updatedNumberScheduled"] == 4

    asyncio.run(scenario())


def test_a_surge_makes_new_pods_beside_the_old_ones(world: Any) -> None:
    async def scenario() -> None:
        async with world([DaemonSetController()]) as w:
            surging = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "40%"}}
            await create(w, updateStrategy=surging)
            await make_ready(w)
            await change(w, template=make_template("agent:2"))
            both = ["agent:1", "agent:2"]
            assert sorted(images(w).values()) == [["agent:1"], both, both]
            await make_ready(w, all_of_them=False)
            await end_pods(w)
            assert sum(is_ready(pod) for pod in w.pods()) == 3
            await make_ready(w)
            assert set(map(tuple, images(w).values())) == {("agent:2",)}

    asyncio.run(scenario())


def test_on_delete_only_what_is_deleted_is_updated(world: Any) -> None:
    async def scenario() -> None:
        async with world([DaemonSetController()]) as w:
            await create(w, updateStrategy={"type": "OnDelete"})
            await make_ready(w)
            await change(w, template=make_template("agent:2"))
            assert set(map(tuple, images(w).values())) == {("agent:1",)}
            await w.client.delete(PODS, meta.name(w.pods()[0]), "default")
            await end_pods(w)
            assert sorted(map(tuple, images(w).values())) == [("agent:1",), ("agent:1",), ("agent:2",)]

    asyncio.run(scenario())


def test_undoing_a_rollout_restarts_only_what_was_updated(world: Any) -> None:
    """[sig-apps] Daemon set should rollback without unnecessary restarts [Conformance] [Serial]"""

    async def scenario() -> None:
        async with world([DaemonSetController()]) as w:
            await create(w)
            await make_ready(w)
            before = {meta.uid(pod) for pod in w.pods()}
            await change(w, template=make_template("agent:broken"))
            await end_pods(w)
            await change(w, template=make_template("agent:1"))
            await make_ready(w)
            assert len(before & {meta.uid(pod) for pod in w.pods()}) == 2
            numbers = {meta.name(one): one["revision"] for one in w.client.all(CONTROLLER_REVISIONS)}
            assert sorted(numbers.values()) == [2, 3]

    asyncio.run(scenario())


def test_old_revisions_are_forgotten_but_for_those_that_pods_have(world: Any) -> None:
    async def scenario() -> None:
        async with world([DaemonSetController()]) as w:
            await create(w, revisionHistoryLimit=1)
            await make_ready(w)
            for number in (2, 3, 4):
                await change(w, template=make_template(f"agent:{number}"))
                await make_ready(w)
            await w.reconcile_all()
            assert sorted(one["revision"] for one in w.client.all(CONTROLLER_REVISIONS)) == [3, 4]

    asyncio.run(scenario())


def test_failed_pods_are_replaced_ever_more_slowly(world: Any) -> None:
    async def scenario() -> None:
        async with world([DaemonSetController()]) as w:
            await create(w, nodes=1)
            (first,) = w.pods()
            w.set_pod(first, phase="Failed", ready=False, node="n0")
            await w.settle()
            await end_pods(w)
            (second,) = w.pods()
            assert meta.uid(second) != meta.uid(first)
            message = f"Found failed daemon pod default/{meta.name(first)} on node n0, will try to kill it"
            assert ("Warning", "FailedDaemonPod", message) in w.events
            w.set_pod(second, phase="Failed", ready=False, node="n0")
            await w.settle()
            assert [*map(meta.uid, w.pods())] == [meta.uid(second)]
            w.advance(1)
            await w.reconcile_all()
            await end_pods(w)
            assert meta.uid(second) not in map(meta.uid, w.pods())

    asyncio.run(scenario())


def test_the_back_off_doubles_and_begins_anew_after_a_long_peace() -> None:
    back_off = BackOff()
    waits = []
    for _ in range(12):
        back_off.failed("key", 100.0)
        waits.append(back_off.wait_seconds("key", 100.0))
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]
    assert back_off.wait_seconds("other", 100.0) == 0
    back_off.failed("key", 2000.0)
    assert back_off.wait_seconds("key", 2000.0) == 1


def rolling(unavailable: Any, surge: Any) -> dict[str, Any]:
    return make_set(
        updateStrategy={
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge},
        }
    )


def test_bounds_are_rounded_up_and_never_both_nothing() -> None:
    assert bounds_of(rolling("25%", 0), 5) == Bounds(0, 2)
    assert bounds_of(rolling(0, "10%"), 5) == Bounds(1, 0)
    assert bounds_of(rolling(0, 0), 5) == Bounds(0, 1)
    assert bounds_of(make_set(updateStrategy={"type": "OnDelete"}), 5) == Bounds(0, 1)


def test_reconciling_again_changes_nothing(world: Any) -> None:
    async def scenario() -> None:
        async with world([DaemonSetController()]) as w:
            await create(w)
            await make_ready(w)
            calls = len(w.client.calls)
            await w.reconcile_all()
            assert w.client.calls[calls:] == []

    asyncio.run(scenario())


@pytest.mark.parametrize("surge", [0, 2])
@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_each_node_ends_with_one_pod(world: Any, seed: int, surge: int) -> None:
    """Meanwhile the rollout itself never takes away more available pods than it may."""
    chance = random.Random(seed)

    async def scenario() -> None:
        async with world([DaemonSetController()]) as w:
            strategy = {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0 if surge else 2, "maxSurge": surge},
            }
            await create(w, nodes=5, updateStrategy=strategy)
            await make_ready(w)
            image = "agent:1"
            for _ in range(60):
                act = chance.randrange(5)
                pods = w.pods()
                if act == 0:
                    image = f"agent:{chance.randrange(3)}"
                    available = sum(is_ready(pod) and is_active(pod) for pod in pods)
                    await change(w, template=make_template(image))
                    left = sum(is_ready(pod) and is_active(pod) for pod in w.pods())
                    assert left >= min(available, 5 - (0 if surge else 2))
                elif act == 1:
                    number = chance.randrange(7)
                    if w.client.peek(NODES, f"n{number}", "") is None:
                        w.client.add(NODES, make_node(f"n{number}"))
                elif pods:
                    pod = chance.choice(pods)
                    node = placement.target_node(pod)
                    if act == 2:
                        await w.client.delete(PODS, meta.name(pod), "default")
                    elif act == 3:
                        w.set_pod(pod, phase="Failed", ready=False, node=node)
                    else:
                        w.set_pod(pod, node=node)
                await w.settle()
                on_node = Counter(placement.target_node(pod) for pod in w.pods() if is_active(pod))
                assert max(on_node.values(), default=0) <= (2 if surge else 1)
            for _ in range(3):
                w.advance(2000)
                await w.reconcile_all()
                await make_ready(w)
            assert images(w) == {meta.name(node): [image] for node in w.client.all(NODES)}
            assert len(w.client.all(CONTROLLER_REVISIONS)) <= 11

    asyncio.run(scenario())
