"""Pods that take more of the node than they may are ended; where it is short of something, those most to blame."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from proa.node.eviction.local_storage import PodDisk, has_limits, why_too_much
from proa.node.eviction.manager import TRANSITION_SECONDS, EvictionManager
from proa.node.eviction.ranking import is_critical, rank
from proa.node.eviction.thresholds import DEFAULTS, Observation, Signal, Threshold, explain, find_short, parse
from proa.node.runtime_cache import RuntimeCache
from proa.node.runtimes.fake import FakeRuntime
from proa.node.runtimes.protocol import ContainerConfig, ContainerStats, DiskUsage, SandboxConfig
from proa.node.settings import KubeletSettings
from proa.objects.resource import PODS
from support.kubelet import harness
from support.kubelet import make_pod as bound_pod

GIGA = 1 << 30


def make_pod(name: str, *volumes: dict[str, Any], priority: int = 0, **resources: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"},
        "spec": {
            "priority": priority,
            "volumes": list(volumes),
            "containers": [{"name": "app", "image": "x", "resources": resources}],
        },
    }


def limit(quantity: str) -> dict[str, Any]:
    return {"limits": {"ephemeral-storage": quantity}}


# A pod's own limits


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (make_pod("a"), False),
        (make_pod("a", {"name": "v", "emptyDir": {}}), False),
        (make_pod("a", {"name": "v", "emptyDir": {"sizeLimit": "0"}}), False),
        (make_pod("a", {"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}), True),
        (make_pod("a", **limit("1Mi")), True),
    ],
    ids=["none", "unlimited volume", "0 is no limit", "limited volume", "limited container"],
)
def test_only_what_is_limited_is_measured(pod: dict[str, Any], expected: bool) -> None:
    assert has_limits(pod) is expected


@pytest.mark.parametrize(
    ("pod", "disk", "words"),
    [
        (make_pod("a", **limit("1Mi")), PodDisk({"app": 1 << 20}, {}), ""),
        (
            make_pod("a", {"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}),
            PodDisk({"app": 0}, {"v": (1 << 20) + 1}),
            'Usage of EmptyDir volume "v" exceeds the limit "1Mi". ',
        ),
        (
            make_pod("a", {"name": "v", "emptyDir": {}}, **limit("1Mi")),
            PodDisk({"app": 600_000}, {"v": 600_000}),
            "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ",
        ),
        (
            make_pod("a", {"name": "v", "emptyDir": {"medium": "Memory"}}, **limit("1Mi")),
            PodDisk({"app": 600_000}, {"v": 600_000}, frozenset({"v"})),
            "",
        ),
    ],
    ids=["within", "volume", "pod", "memory is no disk"],
)
def test_what_goes_over_its_limit_is_named(pod: dict[str, Any], disk: PodDisk, words: str) -> None:
    assert why_too_much(pod, disk) == words


def test_a_container_has_a_limit_of_its_own_in_a_pod_that_has_more() -> None:
    pod = make_pod("a", **limit("1Mi"))
    pod["spec"]["containers"].append({"name": "other", "image": "x", "resources": limit("9Mi")})
    words = 'Container app exceeded its local ephemeral storage limit "1Mi". '
    assert why_too_much(pod, PodDisk({"app": 2 << 20, "other": 0}, {})) == words


# What the node is short of


def test_thresholds_are_amounts_or_shares_or_the_less_of_both() -> None:
    assert parse("memory.available", "100Mi").least(GIGA) == 100 << 20
    assert parse("nodefs.available", "10%").least(1000) == 100
    assert parse("nodefs.available", "0%").least(1000) == 0
    disk = next(threshold for threshold in DEFAULTS if threshold.signal == "nodefs.available")
    assert (disk.least(100 * GIGA), disk.least(GIGA)) == (GIGA, GIGA // 10)


@pytest.mark.parametrize(
    ("signal", "value", "words"),
    [
        ("disk", "1Gi", "no such signal here; there are memory.available"),
        ("memory.available", "lots", "'lots' is neither a quantity"),
        ("nodefs.available", "100%", "'100%' is neither a quantity"),
    ],
    ids=["unknown", "no quantity", "all of it"],
)
def test_a_threshold_that_means_nothing_is_refused(signal: str, value: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(signal, value)


def test_memory_comes_before_the_disk() -> None:
    thresholds = [parse("nodefs.available", "10%"), parse("memory.available", "100Mi")]
    observed: dict[Signal, Observation] = {
        "memory.available": Observation(50 << 20, GIGA),
        "nodefs.available": Observation(GIGA, 100 * GIGA),
    }
    short = find_short(thresholds, observed)
    assert [threshold.signal for threshold, _ in short] == ["memory.available", "nodefs.available"]
    assert explain(*short[0]) == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
    )


def test_who_uses_more_than_it_asked_for_goes_first_and_the_critical_never() -> None:
    modest = make_pod("modest", requests={"memory": "1Gi"})
    greedy = make_pod("greedy", requests={"memory": "1Mi"})
    greedier = make_pod("greedier")
    important = make_pod("important", priority=1000)
    system = make_pod("system", priority=2_000_000_000)
    ended = {**make_pod("ended"), "status": {"phase": "Failed"}}
    mirror = make_pod("mirror")
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    pods = [modest, important, greedy, greedier, system, ended, mirror]
    used = {f"uid-{pod['metadata']['name']}": 500 << 20 for pod in pods}
    ranked = [pod["metadata"]["name"] for pod in rank(pods, "memory", used)]
    assert ranked == ["greedier", "greedy", "important", "modest"]
    assert [is_critical(pod) for pod in (system, mirror, important)] == [True, True, False]


# The manager


class World:
    """A node with pods, and what the manager does about them."""

    def __init__(
        self, directory: Path, *pods: dict[str, Any], thresholds: tuple[Threshold, ...] = ()
    ) -> None:
        self.time = 0.0
        self.ended: list[tuple[str, str, str]] = []
        self.told: list[set[str]] = []
        self.attempts: list[str] = []
        self.free: dict[Signal, Observation] = {}
        self.reclaimed = 0
        self.runtime = FakeRuntime(lambda: self.time)
        self.cache = RuntimeCache(self.runtime)
        self.pods = list(pods)
        self.settings = KubeletSettings("n", directory)
        self.manager = EvictionManager(
            self.settings,
            self.runtime,
            self.cache,
            lambda: self.pods,
            thresholds,
            now=lambda: self.time,
            end=lambda *what: self.ended.append(what),
            tell=self._tell,
            attempts=self.attempts.append,
            observe=lambda: self.free,
            reclaim=self._reclaim,
        )

    async def _tell(self, pressures: frozenset[str]) -> None:
        self.told.append(set(pressures))

    async def _reclaim(self) -> int:
        return self.reclaimed

    async def start(self, usage: Mapping[str, DiskUsage | ContainerStats]) -> None:
        """Start each pod's container, which takes what `usage` says."""
        for pod in self.pods:
            name = pod["metadata"]["name"]
            labels = {"io.kubernetes.pod.uid": f"uid-{name}"}
            sandbox = await self.runtime.run_sandbox(
                SandboxConfig("default", name, f"uid-{name}", name, labels=labels)
            )
            config = ContainerConfig("app", "proa.local/python", ("x",), (), labels=labels)
            identifier = await self.runtime.create_container(sandbox.id, config)
            await self.runtime.start_container(identifier)
            used = usage.get(name)
            if isinstance(used, DiskUsage):
                self.runtime.disk[identifier] = used
            elif used is not None:
                self.runtime.used[identifier] = used
        await self.cache.resync()


def test_a_pod_over_its_limit_is_ended_and_no_other(tmp_path: Path) -> None:
    volume = {"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}
    world = World(tmp_path, make_pod("large", volume), make_pod("small", volume), make_pod("free"))
    path = tmp_path / "pods/uid-large/volumes/kubernetes.io~empty-dir/v"
    world.runtime.disk[str(path)] = DiskUsage(2 << 20, 2)

    async def main() -> None:
        await world.start({"free": DiskUsage(GIGA, 9)})
        await world.manager.look()

    asyncio.run(main())
    words = 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '
    assert world.ended == [("uid-large", "Evicted", words)]


def test_logs_count_for_their_container(tmp_path: Path) -> None:
    world = World(tmp_path, make_pod("a", **limit("1Mi")))
    world.runtime.disk[str(tmp_path / "logs/pods/default_a_uid-a/app")] = DiskUsage(600_000, 1)

    async def main() -> None:
        await world.start({"a": DiskUsage(600_000, 1)})
        await world.manager.look()

    asyncio.run(main())
    assert [uid for uid, *_ in world.ended] == ["uid-a"]


def test_a_node_short_of_memory_says_so_and_ends_one_pod_a_round(tmp_path: Path) -> None:
    world = World(
        tmp_path,
        make_pod("greedy"),
        make_pod("modest", requests={"memory": "1Gi"}),
        thresholds=(parse("memory.available", "1Gi"),),
    )

    async def main() -> None:
        await world.start({"greedy": ContainerStats(0, 3 << 20), "modest": ContainerStats(0, 9 << 20)})
        world.free["memory.available"] = Observation(100 << 20, 8 * GIGA)
        await world.manager.look()
        assert world.told == [{"MemoryPressure"}]
        world.free["memory.available"] = Observation(2 * GIGA, 8 * GIGA)
        world.time = TRANSITION_SECONDS - 1
        await world.manager.look()
        assert world.told == [{"MemoryPressure"}], "it is told of for a while"
        world.time = TRANSITION_SECONDS
        await world.manager.look()

    asyncio.run(main())
    assert world.told == [{"MemoryPressure"}, set()]
    assert world.attempts == ["memory"]
    words = (
        "The node was low on resource: memory. Threshold quantity: 1Gi, available: 100Mi. "
        "Container app was using 3Mi, request is 0, has larger consumption of memory. "
    )
    assert world.ended == [("uid-greedy", "Evicted", words)]


@pytest.mark.parametrize(("reclaimed", "ended"), [(1, []), (0, ["uid-b"])], ids=["images", "pods"])
def test_disk_that_nobody_needs_goes_before_pods(tmp_path: Path, reclaimed: int, ended: list[str]) -> None:
    world = World(tmp_path, make_pod("a"), make_pod("b"), thresholds=(parse("nodefs.available", "10%"),))
    world.reclaimed = reclaimed
    world.free["nodefs.available"] = Observation(GIGA, 100 * GIGA)

    async def main() -> None:
        await world.start({"a": DiskUsage(5, 1), "b": DiskUsage(GIGA, 1)})
        await world.manager.look()

    asyncio.run(main())
    assert world.told == [{"DiskPressure"}]
    assert [uid for uid, *_ in world.ended] == ended


def test_an_evicted_pod_is_failed_and_says_why(tmp_path: Path) -> None:
    async def main() -> None:
        async with harness(tmp_path) as node:
            volume = {"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}
            await node.client.create(PODS, bound_pod("web", volumes=[volume]))
            await node.until(lambda: node.status().get("phase") == "Running")
            uid = (node.pod() or {})["metadata"]["uid"]
            path = node.settings.pods_directory / uid / "volumes/kubernetes.io~empty-dir/v"
            node.runtime.disk[str(path)] = DiskUsage(2 << 20, 2)
            await node.kubelet.eviction.look()
            await node.until(lambda: node.status().get("phase") == "Failed")
            words = 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '
            assert (node.status()["reason"], node.status()["message"]) == ("Evicted", words)
            disruption = next(c for c in node.status()["conditions"] if c["type"] == "DisruptionTarget")
            assert disruption["reason"] == "TerminationByKubelet"
            assert node.events.messages("Evicted") == [words]
            await node.until(lambda: not path.exists())

    asyncio.run(main())
