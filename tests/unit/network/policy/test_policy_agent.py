"""The rules in the kernel follow the objects, survive refusals and restarts, and where there can be none each policy
says so."""

from __future__ import annotations

import asyncio
import errno
import struct
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from proa.client.fake import FakeClient
from proa.network.netfilter import messages
from proa.network.netfilter.messages import attributes_in, split
from proa.network.policy.agent import PolicyAgent
from proa.objects import meta
from proa.objects.resource import NAMESPACES, NETWORK_POLICIES, PODS, Resource
from proa.reconcile.informer import InformerFactory

DENY = {"podSelector": {}, "policyTypes": ["Ingress"]}


class Kernel:
    """What netfilter would hold of tables, and how many of each message it has seen."""

    def __init__(self) -> None:
        self.tables: dict[tuple[int, str], Counter[str]] = {}
        self.seen: Counter[int] = Counter()
        self.refusals = 0

    async def ask_netfilter(self, request: bytes) -> bytes:
        found = [(kind & 0xFF, number, body) for kind, number, body in split(request) if kind >> 8 == 10]
        if self.refusals:
            self.refusals -= 1
            return answer(found[0][1], errno.ENOMEM)
        for kind, number, body in found:
            name = body[0], attributes_in(body[4:])[1].rstrip(b"\0").decode()
            self.seen[kind] += 1
            if kind == messages.NEW_TABLE:
                if name in self.tables and is_exclusive(request, number):
                    return answer(number, errno.EEXIST)
                self.tables.setdefault(name, Counter())
            elif kind == messages.DELETE_TABLE:
                self.tables.pop(name, None)
            else:
                assert name in self.tables
                self.tables[name][{3: "chains", 5: "chains", 9: "sets", 11: "sets"}.get(kind, "")] += (
                    -1 if kind in (messages.DELETE_CHAIN, messages.DELETE_SET) else 1
                )
        return answer(found[-1][1], 0)

    @property
    def name(self) -> str:
        """The name of the tables, "" while there are those of two."""
        names = {name for _, name in self.tables}
        return names.pop() if len(names) == 1 and len(self.tables) == 2 else ""

    def selections(self) -> int:
        """Return how many chains each table has beside those of the kernel's hooks, -1 while they differ."""
        counts = {table["chains"] - 3 for table in self.tables.values()}
        return counts.pop() if len(counts) == 1 and self.name else -1


def answer(number: int, code: int) -> bytes:
    return struct.pack("=IHHIIi", 20, 2, 0, number, 0, -code)


def is_exclusive(request: bytes, number: int) -> bool:
    offset = 0
    while offset < len(request):
        length, _, flags, found, _ = struct.unpack_from("=IHHII", request, offset)
        if found == number and flags & messages.EXCLUSIVE:
            return True
        offset += (length + 3) & ~3
    return False


class Recorder:
    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def event(self, obj: Any, kind: str, reason: str, message: str) -> None:
        self.told.append((reason, message))


def make_pod(name: str, address: str = "", namespace: str = "default") -> dict[str, Any]:
    status = {"podIPs": [{"ip": address}]} if address else {}
    metadata = {"name": name, "namespace": namespace, "labels": {"app": name}}
    return {"metadata": metadata, "spec": {"nodeName": "proa-1", "containers": []}, "status": status}


def make_policy(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


class World:
    """A kernel, the API, and an agent that works."""

    def __init__(self, why_not: str = "") -> None:
        self.kernel, self.client, self.recorder = Kernel(), FakeClient(), Recorder()
        self.informers = InformerFactory(self.client)
        self._why_not = why_not
        self.agent = self.make_agent()

    def make_agent(self) -> PolicyAgent:
        network: Any = self.kernel
        recorder: Any = self.recorder

        async def sleep(_: float) -> None:
            await asyncio.sleep(0)

        return PolicyAgent(
            self.informers,
            network,
            recorder,
            "proa-1",
            dns_addresses=["10.96.0.10"],
            why_not=self._why_not,
            sleep=sleep,
        )

    async def make(self, resource: Resource, body: dict[str, Any]) -> dict[str, Any]:
        made = await self.client.create(resource, body, meta.namespace(body))
        if status := body.get("status"):
            made = await self.client.update(resource, {**made, "status": status}, "status")
        return made

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.001)


def has_other_rules(world: World, name: str) -> bool:
    return world.kernel.selections() == 1 and world.kernel.name != name


def run(story: Callable[[World], Coroutine[Any, Any, None]], why_not: str = "") -> None:
    async def main() -> None:
        world = World(why_not)
        await world.make(NAMESPACES, {"metadata": {"name": "default"}})
        world.informers.start()
        await world.agent.start()
        try:
            await story(world)
        finally:
            await world.agent.stop()
            await world.informers.stop()

    asyncio.run(main())


def test_a_policy_has_rules_for_as_long_as_a_pod_here_has_it() -> None:
    async def story(world: World) -> None:
        await world.make(PODS, make_pod("web", "10.244.1.2"))
        await world.until(lambda: world.kernel.selections() == 0)
        await world.make(NETWORK_POLICIES, make_policy("deny", DENY))
        await world.until(lambda: world.kernel.selections() == 1)
        await world.client.delete(PODS, "web", "default", grace_period_seconds=0)
        await world.until(lambda: world.kernel.selections() == 0)

    run(story)


def test_a_pod_is_judged_before_its_status_says_where_it_is() -> None:
    async def story(world: World) -> None:
        await world.make(NETWORK_POLICIES, make_policy("deny", DENY))
        pod = await world.make(PODS, make_pod("web"))
        await world.agent.protect(pod, ["10.244.1.2"])
        assert world.kernel.selections() == 1
        unknown = {**make_pod("ghost"), "metadata": {**make_pod("ghost")["metadata"], "uid": "u"}}
        await world.agent.protect(unknown, ["10.244.1.3"])
        deleted = world.kernel.seen[messages.DELETE_ELEMENTS]
        free = await world.make(PODS, make_pod("free", namespace="other"))
        await world.agent.protect(free, ["10.244.1.3"])  # which the pod that was never seen again had
        assert world.kernel.seen[messages.DELETE_ELEMENTS] > deleted

    run(story)


def test_after_a_refusal_everything_is_made_anew_in_another_table() -> None:
    async def story(world: World) -> None:
        await world.make(PODS, make_pod("web", "10.244.1.2"))
        await world.until(lambda: world.kernel.selections() == 0)
        before = world.kernel.name
        world.kernel.refusals = 3
        await world.make(NETWORK_POLICIES, make_policy("deny", DENY))
        await world.until(lambda: world.kernel.selections() == 1)
        assert world.kernel.name != before
        assert "NotEnforced" in {reason for reason, _ in world.recorder.told}

    run(story)


def test_another_server_makes_its_rules_before_it_takes_the_old_ones_away() -> None:
    async def story(world: World) -> None:
        await world.make(PODS, make_pod("web", "10.244.1.2"))
        await world.make(NETWORK_POLICIES, make_policy("deny", DENY))
        await world.until(lambda: world.kernel.selections() == 1)
        names = [world.kernel.name]
        for _ in range(2):
            await world.agent.stop()
            assert world.kernel.selections() == 1
            world.agent = world.make_agent()
            await world.agent.start()
            await world.until(partial(has_other_rules, world, names[-1]))
            names.append(world.kernel.name)
        assert names[0] == names[2] != names[1]
        world.kernel.tables.clear()  # the node was made anew
        await world.agent.renew()
        await world.until(lambda: world.kernel.selections() == 1)

    run(story)


def test_without_netfilter_each_policy_says_that_it_is_not_enforced() -> None:
    async def story(world: World) -> None:
        await world.make(NETWORK_POLICIES, make_policy("deny", DENY))
        await world.until(lambda: bool(world.recorder.told))
        pod = await world.make(PODS, make_pod("web"))
        await world.agent.protect(pod, ["10.244.1.2"])
        assert world.recorder.told == [
            ("NotEnforced", "not enforced for pods of node proa-1: the kernel has no nf_tables")
        ]
        assert not world.kernel.seen

    run(story, "the kernel has no nf_tables")
