"""Pods of a PodGroup run all together or not at all."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.pod_groups import LABEL, POD_GROUPS
from proa.objects.resource import DEVICE_CLASSES, NODES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES

from .conftest import make_node, make_pod
from .test_cycle import Cluster, with_scheduler


def make_group(name: str, wanted: int) -> Object:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"minMember": wanted}}


def member(group: str, index: int, cpu: str = "2", **spec: Any) -> Object:
    return make_pod(f"{group}-{index}", cpu=cpu, labels={LABEL: group}, **spec)


async def add_group(cluster: Cluster, name: str, wanted: int, count: int, **spec: Any) -> list[str]:
    await cluster.create(POD_GROUPS, make_group(name, wanted))
    for index in range(count):
        await cluster.create(PODS, member(name, index, **spec))
    return [f"{name}-{index}" for index in range(count)]


def bound(cluster: Cluster, names: list[str]) -> int:
    return sum(bool(cluster.node_of(name)) for name in names)


NODE_PAIR = (make_node("n1", cpu="4"), make_node("n2", cpu="4"))


def test_a_group_waits_until_all_of_it_fits():
    async def scenario(cluster: Cluster) -> None:
        names = await add_group(cluster, "g", 5, 5)
        await cluster.expect(lambda: cluster.condition("g-4")[0])
        why = "PodGroup default/g gets rejected due to Pod g-4 is unschedulable even after PostFilter"
        await cluster.expect(
            lambda: (
                cluster.condition("g-4")[1]
                == "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 No preemption "
                f"victims found for incoming pod., {why}"
            )
        )
        assert cluster.condition("g-0")[1] == f"0/2 nodes are available: {why}."
        assert bound(cluster, names) == 0
        await cluster.create(NODES, make_node("n3", cpu="4"))
        node = cluster.client.peek(NODES, "n3")
        node["status"] = make_node("n3", cpu="4")["status"]
        await cluster.client.update(NODES, node, subresource="status")
        await cluster.expect(lambda: bound(cluster, names) == 5)

    with_scheduler(scenario, nodes=NODE_PAIR)


def test_a_group_waits_for_its_pods_and_for_its_object():
    async def scenario(cluster: Cluster) -> None:
        await cluster.create(PODS, member("g", 0))
        await cluster.expect(
            lambda: cluster.condition("g-0")[1] == "0/2 nodes are available: PodGroup not found."
        )
        await cluster.create(POD_GROUPS, make_group("g", 2))
        too_few = "pre-filter pod g-0 cannot find enough sibling pods, current pods number: 1, minMember of group: 2"
        await cluster.expect(lambda: cluster.condition("g-0")[1] == f"0/2 nodes are available: {too_few}.")
        await cluster.create(PODS, member("g", 1))
        await cluster.expect(lambda: bound(cluster, ["g-0", "g-1"]) == 2)

    with_scheduler(scenario, nodes=NODE_PAIR)


def test_more_pods_than_needed_run_as_far_as_they_fit():
    async def scenario(cluster: Cluster) -> None:
        names = await add_group(cluster, "g", 3, 6)
        await cluster.expect(lambda: bound(cluster, names) == 4)
        await cluster.client.delete(PODS, "g-0", "default", grace_period_seconds=0)
        await cluster.expect(lambda: bound(cluster, names[1:]) == 4)

    with_scheduler(scenario, nodes=NODE_PAIR)


def test_two_groups_that_do_not_fit_together_run_one_after_the_other():
    async def scenario(cluster: Cluster) -> None:
        first, second = await asyncio.gather(add_group(cluster, "a", 3, 3), add_group(cluster, "b", 3, 3))
        await cluster.expect(lambda: bound(cluster, first) + bound(cluster, second) == 3)
        winner, loser = (first, second) if bound(cluster, first) else (second, first)
        assert bound(cluster, winner) == 3
        for name in winner:
            await cluster.client.patch(
                PODS, name, {"status": {"phase": "Succeeded"}}, "default", subresource="status"
            )
        await cluster.expect(lambda: bound(cluster, loser) == 3)

    with_scheduler(scenario, nodes=NODE_PAIR)


def test_a_member_that_is_made_anew_runs_again_though_others_have_ended():
    async def scenario(cluster: Cluster) -> None:
        names = await add_group(cluster, "g", 3, 3)
        await cluster.expect(lambda: bound(cluster, names) == 3)
        await cluster.client.patch(
            PODS, "g-0", {"status": {"phase": "Succeeded"}}, "default", subresource="status"
        )
        await cluster.client.delete(PODS, "g-1", "default", grace_period_seconds=0)
        await cluster.create(PODS, member("g", 9))
        await cluster.expect(lambda: cluster.node_of("g-9"))

    with_scheduler(scenario, nodes=NODE_PAIR)


def test_a_vital_group_takes_the_place_of_other_pods_all_together_or_not_at_all():
    async def scenario(cluster: Cluster) -> None:
        low = [f"low-{index}" for index in range(4)]
        for index, name in enumerate(low):
            await cluster.create(PODS, make_pod(name, cpu="2", priority=1 if index else 9))
        await cluster.expect(lambda: bound(cluster, low) == 4)

        too_many = await add_group(cluster, "huge", 4, 4, priority=5)
        await cluster.expect(lambda: all(cluster.condition(name)[0] for name in too_many))
        assert not any(meta.is_deleting(cluster.pod(name)) for name in low)

        vital = await add_group(cluster, "vital", 3, 3, priority=5)
        await cluster.expect(lambda: sum(meta.is_deleting(cluster.pod(name)) for name in low) == 3)
        await cluster.expect(
            lambda: all((cluster.pod(name).get("status") or {}).get("nominatedNodeName") for name in vital)
        )
        assert bound(cluster, vital) == 0
        for name in low[1:]:
            await cluster.client.delete(PODS, name, "default", grace_period_seconds=0)
        await cluster.expect(lambda: bound(cluster, vital) == 3)
        assert bound(cluster, too_many) == 0
        assert not meta.is_deleting(cluster.pod("low-0"))

    with_scheduler(scenario, nodes=NODE_PAIR)


def test_the_devices_of_a_group_are_counted_while_it_is_tried():
    device_class = {"metadata": {"name": "gpu"}, "spec": {}}
    pool = {"name": "n1", "generation": 1, "resourceSliceCount": 1}
    devices = [{"name": "a"}, {"name": "b"}]
    spec = {"driver": "gpu.example.com", "pool": pool, "nodeName": "n1", "devices": devices}
    claims = [
        {
            "metadata": {"name": f"claim-{index}", "namespace": "default"},
            "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}},
        }
        for index in range(3)
    ]

    async def scenario(cluster: Cluster) -> None:
        for name, count in (("large", 3), ("small", 2)):
            await cluster.create(POD_GROUPS, make_group(name, count))
            for index in range(count):
                claim = {"name": "c", "resourceClaimName": f"claim-{index}"}
                await cluster.create(PODS, member(name, index, cpu="100m", resourceClaims=[claim]))
        await cluster.expect(lambda: bound(cluster, ["small-0", "small-1"]) == 2)
        await cluster.expect(lambda: all(cluster.condition(f"large-{index}")[0] for index in range(3)))
        assert bound(cluster, [f"large-{index}" for index in range(3)]) == 0

    with_scheduler(
        scenario,
        (DEVICE_CLASSES, device_class),
        (RESOURCE_SLICES, {"metadata": {"name": "s"}, "spec": spec}),
        *((RESOURCE_CLAIMS, claim) for claim in claims),
        nodes=NODE_PAIR,
    )


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_ever_half_placed(seed):
    async def scenario(cluster: Cluster) -> None:
        rng = random.Random(seed)
        wanted: dict[str, int] = {}
        for step in range(40):
            if rng.random() < 0.5:
                name = f"g{step}"
                wanted[name] = rng.randint(1, 6)
                cpu, priority = rng.choice(["500m", "1", "2"]), rng.randint(0, 3)
                await add_group(
                    cluster,
                    name,
                    wanted[name],
                    wanted[name],
                    cpu=cpu,
                    priority=priority,
                    preemptionPolicy="Never",
                )
            elif wanted:
                name = rng.choice([*wanted])
                for index in range(wanted.pop(name)):
                    await cluster.client.delete(PODS, f"{name}-{index}", "default", grace_period_seconds=0)
            await asyncio.sleep(rng.choice([0, 0, 0.002]))
        await cluster.expect(lambda: all(is_whole(cluster, *item) for item in wanted.items()))
        for name, size in wanted.items():
            assert bound(cluster, [f"{name}-{index}" for index in range(size)]) in (0, size)

    def is_whole(cluster: Cluster, name: str, size: int) -> bool:
        names = [f"{name}-{index}" for index in range(size)]
        return bound(cluster, names) == size or (
            bound(cluster, names) == 0 and all(cluster.condition(each)[0] for each in names)
        )

    with_scheduler(scenario, nodes=tuple(make_node(f"n{index}", cpu="4") for index in range(3)))
