"""Who is asked for its load, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from proa.ml.serving.records import Backends, Load
from proa.ml.serving.scaling.annotations import ScalingSpec
from proa.ml.serving.scaling.autoscaler import Autoscaler
from proa.ml.serving.scaling.lifecycle import begin
from proa.ml.serving.scaling.load_client import LoadClient, NoLoad
from proa.reconcile.protocol import Key
from support.virtual_time import run_in_virtual_time

SPEC = ScalingSpec(target=10, total=10, stable_seconds=6.0, panic_seconds=1.0)
PODS = {"a": "10.0.0.1", "b": "10.0.0.2"}


class Gate:
    """Holds nothing, unless told so."""

    held: Load | None = None

    def update(self, key: Key, backends: Backends) -> None: ...
    def forget(self, key: Key) -> None: ...

    def load(self, key: Key) -> Load | None:
        return self.held


class Pods(LoadClient):
    """Each pod has `in_hand` requests all the time."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, str]] = []
        self.in_hand = 0
        self.silent: set[str] = set()

    async def ask(self, address: str) -> Load:
        now = asyncio.get_running_loop().time()
        self.asked.append((now, address))
        if address in self.silent:
            raise NoLoad(address)
        return Load(address, 100 + now, self.in_hand * now, 0, self.in_hand)

    def forget(self, address: str) -> None: ...
    def close(self) -> None: ...


Test = Callable[[Autoscaler, Pods, Gate, list[Key]], Awaitable[None]]


def run(test: Test) -> None:
    async def within() -> None:
        pods, gate, changed = Pods(), Gate(), list[Key]()
        autoscaler = Autoscaler(pods, gate, asyncio.get_running_loop().time)
        running = asyncio.create_task(autoscaler.run(changed.append))
        await test(autoscaler, pods, gate, changed)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run_in_virtual_time(within())


def watch(autoscaler: Autoscaler, name: str, spec: ScalingSpec, pods: dict[str, str]) -> None:
    key = Key("default", name)
    watched = autoscaler.watch(key, spec, begin(1, was_ready=True, now=0.0), len(pods))
    autoscaler.update(key, watched, spec, pods, {})


def test_pods_are_asked_every_second_and_every_two_where_nothing_comes() -> None:
    async def test(autoscaler: Autoscaler, pods: Pods, gate: Gate, changed: list[Key]) -> None:
        watch(autoscaler, "one", SPEC, PODS)
        await asyncio.sleep(20.5)
        assert 18 <= len(pods.asked) <= 22  # two pods, ten times
        pods.asked.clear()
        pods.in_hand = 3
        await asyncio.sleep(20)
        assert 36 <= len(pods.asked) <= 42

    run(test)


def test_whose_scale_cannot_change_or_who_has_no_pods_is_not_asked() -> None:
    async def test(autoscaler: Autoscaler, pods: Pods, gate: Gate, changed: list[Key]) -> None:
        watch(autoscaler, "fixed", SPEC._replace(min_scale=2, max_scale=2), PODS)
        watch(autoscaler, "somebody-elses", SPEC._replace(is_ours=False), PODS)
        watch(autoscaler, "zero", SPEC, {})
        await asyncio.sleep(10)
        assert pods.asked == []

    run(test)


def test_a_load_that_changes_what_is_decided_is_told() -> None:
    async def test(autoscaler: Autoscaler, pods: Pods, gate: Gate, changed: list[Key]) -> None:
        key = Key("default", "one")
        pods.in_hand = 25
        watch(autoscaler, "one", SPEC, {"a": "10.0.0.1"})
        await asyncio.sleep(10.5)
        watched = autoscaler.find(key)
        assert watched is not None
        assert watched.decision is not None
        assert watched.decision.desired == 3
        assert changed == [key]

    run(test)


def test_what_waits_for_a_pod_is_load_too() -> None:
    async def test(autoscaler: Autoscaler, pods: Pods, gate: Gate, changed: list[Key]) -> None:
        gate.held = Load("a", 1.0, 0.0, 50, 50)
        watch(autoscaler, "one", SPEC, {})
        await asyncio.sleep(1)
        watched = autoscaler.find(Key("default", "one"))
        assert watched is not None
        assert watched.decision is not None
        assert watched.decision.desired == 5

    run(test)


def test_pods_that_tell_nothing_decide_nothing() -> None:
    async def test(autoscaler: Autoscaler, pods: Pods, gate: Gate, changed: list[Key]) -> None:
        pods.silent = {*PODS.values()}
        watch(autoscaler, "one", SPEC, PODS)
        await asyncio.sleep(100)
        watched = autoscaler.find(Key("default", "one"))
        assert watched is not None
        assert watched.decision is None
        assert changed == []

    run(test)
