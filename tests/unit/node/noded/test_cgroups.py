"""Limits become the right files, on v1, on v2 and on hybrids."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from proa.node.noded.cgroups import Cgroups, parse_mounts, remove_group, shares_to_weight
from proa.node.noded.pod_cgroups import PodCgroups

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:1 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
"""
LIMITS = {"cpu_shares": 1024, "cpu_quota_millis": 250, "memory_limit_bytes": 1 << 20, "pids_limit": 7}


def written(folder: Path, resources: dict[str, Any], v1: list[str], v2: list[str]) -> dict[str, str]:
    groups = Cgroups("node")
    groups.use({name: str(folder / name) for name in v1}, str(folder / "v2") if v2 else "", v2)
    for directory in groups.directories():
        os.makedirs(f"{directory}/pod/c")
    groups.make("pod/c", resources)
    return {
        f"{path.relative_to(folder).parts[0]}/{path.name}": path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("v1", "v2", "expected"),
    [
        (
            ["cpu", "memory", "pids"],
            [],
            {
                "cpu/cpu.shares": "1024",
                "cpu/cpu.cfs_period_us": "100000",
                "cpu/cpu.cfs_quota_us": "25000",
                "memory/memory.limit_in_bytes": "1048576",
                "pids/pids.max": "7",
            },
        ),
        (
            [],
            ["cpu", "memory", "pids"],
            {
                "v2/cpu.weight": "39",
                "v2/cpu.max": "25000 100000",
                "v2/memory.max": "1048576",
                "v2/memory.oom.group": "1",
                "v2/pids.max": "7",
            },
        ),
        (["memory"], ["pids"], {"memory/memory.limit_in_bytes": "1048576", "v2/pids.max": "7"}),
        ([], [], {}),
    ],
    ids=["v1", "v2", "hybrid", "none"],
)
def test_each_limit_goes_to_the_controller_that_has_it(
    tmp_path: Path, v1: list[str], v2: list[str], expected: dict[str, str]
) -> None:
    assert written(tmp_path, LIMITS, v1, v2) == expected


def test_no_limit_writes_no_file(tmp_path: Path) -> None:
    assert written(tmp_path, {}, ["cpu", "memory"], ["pids"]) == {}


def test_a_tiny_cpu_limit_is_the_least_that_the_kernel_takes(tmp_path: Path) -> None:
    assert written(tmp_path, {"cpu_quota_millis": 1}, [], ["cpu"]) == {"v2/cpu.max": "1000 100000"}


@pytest.mark.parametrize(
    ("shares", "weight"), [(2, 1), (1024, 39), (262144, 10000), (0, 1), (1 << 30, 10000)]
)
def test_shares_become_a_weight(shares: int, weight: int) -> None:
    assert shares_to_weight(shares) == weight


def test_controllers_are_found_where_they_are_mounted() -> None:
    controllers, unified = parse_mounts(HYBRID)
    assert controllers["cpu"] == controllers["cpuacct"] == "/sys/fs/cgroup/cpu,cpuacct"
    assert controllers["memory"] == "/sys/fs/cgroup/memory"
    assert unified == "/sys/fs/cgroup/unified"


def test_out_of_memory_kills_are_read_from_either_version(tmp_path: Path) -> None:
    for name, file, text in (
        ("memory", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
        ("v2", "memory.events", "low 0\noom 1\noom_kill 3\n"),
    ):
        (tmp_path / name / "pod").mkdir(parents=True)
        (tmp_path / name / "pod" / file).write_text(text)
    groups = Cgroups("node")
    groups.use({"memory": str(tmp_path / "memory")})
    assert groups.oom_kills("pod") == 2
    groups.use({}, str(tmp_path / "v2"), ["memory"])
    assert groups.oom_kills("pod") == 3


class Delegated(Cgroups):
    """Groups in a folder; a new one has memory and pids, which is what systemd delegates to users."""

    def _try_groups(self, directories: list[str]) -> dict[str, str]:
        for directory in map(Path, directories):
            directory.mkdir()
            (directory / "cgroup.controllers").write_text("memory pids\n")
        return dict.fromkeys(directories, "")


def test_controllers_that_are_delegated_are_used_when_others_are_not(tmp_path: Path) -> None:
    for name in ("cgroup.controllers", "cgroup.subtree_control"):
        (tmp_path / name).write_text("cpuset cpu io memory pids\n")
    groups = Delegated("node")
    groups.set_up_unified(str(tmp_path), ["cpu", "memory", "pids"])
    refused = {name: why for name, why in groups.features.items() if why}
    assert list(refused) == ["cgroup-cpu"]
    assert "the cpu controller is not delegated to it; `systemd-run" in refused["cgroup-cpu"]
    files = {Path(file).name for file, _ in groups._settings("pod", LIMITS)}
    assert files == {"memory.max", "memory.oom.group", "pids.max"}


def test_where_nothing_is_delegated_no_group_is_left(tmp_path: Path) -> None:
    for name, text in (("cgroup.controllers", "cpu\n"), ("cgroup.subtree_control", "cpu\n")):
        (tmp_path / name).write_text(text)
    groups = Delegated("node")
    groups.set_up_unified(str(tmp_path), ["cpu", "memory"])
    assert "not delegated" in groups.features["cgroup-cpu"]
    assert groups.directories() == []


def test_use_is_unknown_where_the_kernel_does_not_count_it(tmp_path: Path) -> None:
    groups = Cgroups("node")
    groups.use({"cpuacct": str(tmp_path)})
    assert groups.cpu_nanoseconds("pod") == -1
    groups.use({}, str(tmp_path), ["pids"])
    assert (groups.cpu_nanoseconds("pod"), groups.memory_working_set("pod")) == (-1, -1)


def test_the_working_set_leaves_out_inactive_cache(tmp_path: Path) -> None:
    (tmp_path / "pod").mkdir()
    (tmp_path / "pod" / "memory.current").write_text("5000\n")
    (tmp_path / "pod" / "memory.stat").write_text("anon 1\ninactive_file 2000\n")
    (tmp_path / "pod" / "cpu.stat").write_text("usage_usec 7\n")
    groups = Cgroups("node")
    groups.use({}, str(tmp_path), ["memory", "cpu"])
    assert groups.memory_working_set("pod") == 3000
    assert groups.cpu_nanoseconds("pod") == 7000
    groups.use({})
    assert (groups.memory_working_set("pod"), groups.cpu_nanoseconds("pod")) == (-1, -1)


def test_groups_inside_are_removed_first(tmp_path: Path) -> None:
    (tmp_path / "node" / "pod" / "c").mkdir(parents=True)
    assert remove_group(str(tmp_path / "node"))
    assert not (tmp_path / "node").exists()
    assert remove_group(str(tmp_path / "node"))


def test_groups_are_on_record_before_they_are_tried(tmp_path: Path) -> None:
    record = tmp_path / "noded.cgroups"
    groups = Cgroups("node", str(record))
    wanted = [str(tmp_path / "cpu"), str(tmp_path / "memory")]
    refused = groups._try_groups(wanted)  # plain folders: nothing can join
    assert record.read_text().splitlines() == wanted
    assert all(refused.values())
    assert not (tmp_path / "cpu").exists()


@pytest.mark.parametrize(
    ("v1", "v2", "expected"),
    [
        (["cpu", "memory"], [], {"cpu/cpu.cfs_quota_us": "-1", "memory/memory.limit_in_bytes": "-1"}),
        ([], ["cpu", "memory"], {"v2/cpu.max": "max 100000", "v2/memory.max": "max"}),
    ],
    ids=["v1", "v2"],
)
def test_a_limit_that_is_none_any_more_is_lifted(
    tmp_path: Path, v1: list[str], v2: list[str], expected: dict[str, str]
) -> None:
    groups = Cgroups("node")
    groups.use({name: str(tmp_path / name) for name in v1}, str(tmp_path / "v2") if v2 else "", v2)
    for directory in groups.directories():
        os.makedirs(f"{directory}/pod")
    groups.update("pod", {"cpu_quota_millis": 0, "memory_limit_bytes": 0})

    found = {f"{path.relative_to(tmp_path).parts[0]}/{path.name}": path for path in tmp_path.rglob("*.*")}
    assert {name: found[name].read_text() for name in expected} == expected


def test_burstable_pods_together_weigh_what_they_ask_for(tmp_path: Path) -> None:
    groups = Cgroups("node")
    groups.use({"cpu": str(tmp_path)})
    pods = PodCgroups(groups)
    pods.set_up()

    def weight() -> str:
        return (tmp_path / "kubepods" / "burstable" / "cpu.shares").read_text()

    def sandbox(number: int, quality: str, shares: int) -> dict[str, Any]:
        config = {"uid": f"u{number}", "quality": quality, "resources": {"cpu_shares": shares}}
        return {"id": f"{number}" * 8, "config": config}

    assert weight() == "2"
    first, second, other = (
        sandbox(1, "Burstable", 512), sandbox(2, "Burstable", 256), sandbox(3, "Guaranteed", 1024),
    )  # fmt: skip
    for pod in (first, second, other):
        pods.add(pod)
    assert weight() == "768"
    assert (tmp_path / "kubepods" / "podu3-33333333" / "cpu.shares").read_text() == "1024"
    pods.update({**first, "config": {**first["config"], "resources": {"cpu_shares": 100}}})
    assert weight() == "356"
    for path in (tmp_path / "kubepods").rglob("podu2*/*"):
        path.unlink()
    pods.remove(second)
    assert weight() == "100"
