"""Control groups of version 2 as the kernel has them here: whichever controllers no v1 hierarchy has taken.

On a hybrid that may be hugetlb alone; where all are on v2 the memory test runs too.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from proa.node.noded.cgroups import Cgroups, parse_mounts, remove_group
from proa.node.noded.pod_cgroups import PodCgroups, path_of

KNOWN = ("cpu", "memory", "pids", "hugetlb")
SANDBOX = {"id": "a" * 64, "config": {"uid": "u", "quality": "Burstable", "resources": {"cpu_shares": 512}}}
POD = path_of("Burstable", "u", SANDBOX["id"])


@pytest.fixture
def groups() -> Iterator[Cgroups]:
    """Return a node's groups in the real hierarchy."""
    _, mount = parse_mounts(Path("/proc/self/mountinfo").read_text())
    if not mount or os.geteuid() != 0:
        pytest.skip("not on this machine: no cgroup2 mount that this user may write to")
    available = Path(mount, "cgroup.controllers").read_text().split()
    found = Cgroups(f"proa-test-{os.getpid()}")
    found.set_up_unified(mount, [c for c in KNOWN if c in available])
    if not found.directories():
        pytest.skip(f"not on this machine: {found.features or 'no controller is on v2'}")
    yield found
    for directory in found.directories():
        assert remove_group(directory)


def given(groups: Cgroups) -> list[str]:
    return [name for name in KNOWN if groups.features.get(f"cgroup-{name}") == ""]


def test_a_pods_tree_hands_its_controllers_down_and_goes_without_a_trace(groups: Cgroups) -> None:
    (own,) = groups.directories()
    pods = PodCgroups(groups)
    pods.set_up()
    pods.add(SANDBOX)
    limits = {
        "hugepage_limits": {"2MB": 4 << 20},
        "pids_limit": 50,
        "cpu_shares": 100,
        "memory_limit_bytes": 1 << 26,
    }
    groups.make(f"{POD}/container", limits)

    leaf = Path(own, POD, "container")
    for name in given(groups):
        assert name in (leaf / "cgroup.controllers").read_text().split()
    if "hugetlb" in given(groups):
        assert (leaf / "hugetlb.2MB.max").read_text() == f"{4 << 20}\n"
    pods.remove(SANDBOX)
    assert [path.name for path in Path(own).rglob("pod*")] == []


def test_a_process_joins_is_found_and_is_killed_with_its_group(groups: Cgroups) -> None:
    (own,) = groups.directories()
    PodCgroups(groups).set_up()
    groups.make(POD, inner=True)
    groups.make(f"{POD}/container")
    pid = os.fork()
    if pid == 0:
        groups.join(f"{POD}/container")
        signal.pause()
    leaf = Path(own, POD, "container", "cgroup.procs")
    while str(pid) not in leaf.read_text().split():
        os.sched_yield()
    groups.remove(POD)
    assert not groups.remove_rest()  # somebody lives in it
    assert leaf.exists()

    killed = os.fork()  # `kill` goes on until nobody is left, and the dead are there until they are reaped
    if killed == 0:
        groups.kill(f"{POD}/container")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    os.waitpid(killed, 0)
    assert groups.remove_rest()
    assert not Path(own, POD).exists()


def test_a_group_with_groups_inside_takes_no_process(groups: Cgroups) -> None:
    PodCgroups(groups).set_up()
    groups.make(POD, inner=True)
    pid = os.fork()
    if pid == 0:
        try:
            groups.join(POD)
        except OSError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_whoever_goes_over_the_memory_limit_is_killed_and_counted(groups: Cgroups) -> None:
    if "memory" not in given(groups):
        pytest.skip("not on this machine: memory is on v1")
    PodCgroups(groups).set_up()
    groups.make(POD, inner=True)
    groups.make(f"{POD}/container", {"memory_limit_bytes": 16 << 20})
    pid = os.fork()
    if pid == 0:
        groups.join(f"{POD}/container")
        os._exit(len(bytearray(os.urandom(1) * (64 << 20))) & 0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert groups.oom_kills(f"{POD}/container") >= 1
