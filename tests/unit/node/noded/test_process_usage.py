"""What containers use is the sum of their processes: children, orphans and added ones too, and it never goes back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proa.node.noded.process_usage import ProcessUsage

TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Processes:
    """A /proc with the files that are read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.usage = ProcessUsage(str(folder))

    def run(
        self,
        pid: int,
        parent: int,
        session: int,
        ticks: int,
        waited: int = 0,
        resident: int = 0,
        shared: int = 0,
    ) -> None:
        (self.folder / str(pid)).mkdir(exist_ok=True)
        text = f"{pid} (a) b) S {parent} {session} {session} 0 -1 0 0 0 0 0 {ticks} 0 {waited} 0 20 0 1 0\n"
        (self.folder / str(pid) / "stat").write_text(text)
        (self.folder / str(pid) / "statm").write_text(f"900 {resident} {shared} 1 0 1 0\n")

    def end(self, pid: int) -> None:
        for file in ("stat", "statm"):
            (self.folder / str(pid) / file).unlink()

    def ticks(self, *roots: int) -> int:
        return self.usage.read({"c": roots})["c"][0] // TICK


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    (tmp_path / "self").mkdir()
    made = Processes(tmp_path)
    made.run(1, 0, 1, 1000)
    made.run(10, 1, 10, 5, waited=3, resident=50, shared=20)
    return made


def test_descendants_orphans_and_added_processes_are_counted(processes: Processes) -> None:
    processes.run(11, 10, 10, 7, resident=30, shared=25)  # a child
    processes.run(12, 11, 12, 11, resident=4, shared=4)  # of a child, in a session of its own
    processes.run(13, 1, 10, 13)  # an orphan of the same session
    processes.run(20, 1, 20, 17)  # added to the container
    processes.run(30, 1, 30, 100, resident=1000)  # another's
    assert processes.usage.read({"c": [10, 20], "gone": [99]}) == {
        "c": ((5 + 3 + 7 + 11 + 13 + 17) * TICK, (30 + 5 + 0 + 25) * PAGE)
    }


def test_the_time_of_a_child_that_was_waited_for_counts_once(processes: Processes) -> None:
    processes.run(11, 10, 10, 40)
    assert processes.ticks(10) == 48
    processes.end(11)
    processes.run(10, 1, 10, 5, waited=44)
    assert processes.ticks(10) == 49


def test_the_time_of_what_nobody_waited_for_stays_counted(processes: Processes) -> None:
    processes.run(20, 1, 20, 40)
    assert processes.ticks(10, 20) == 48
    processes.end(20)
    assert processes.ticks(10) == 48
    processes.run(10, 1, 10, 9, waited=3)
    assert processes.ticks(10) == 52
    processes.usage.forget("c")
    assert processes.ticks(10) == 12


def test_nothing_is_read_where_control_groups_count(tmp_path: Path) -> None:
    assert ProcessUsage(str(tmp_path / "none")).read({}) == {}
