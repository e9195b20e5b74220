"""Count what containers use by their processes, where no control group does: the sum of /proc/PID of all of them.

A container's processes are its first one, those added to it, their descendants, and whoever is in their sessions
(an orphan's parent is another). A child's CPU time is its parent's once that has waited for it; what nobody waits for
would take its time with it, so what was counted once stays counted. Memory is what each has for itself, and the most
that one shares: text and libraries are the same pages in all. Fields: proc_pid_stat(5), proc_pid_statm(5).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PARENT, _SESSION, _TIMES = (
    1,
    3,
    slice(11, 15),
)  # of /proc/PID/stat, after the name; times: own, of waited-for children
_RESIDENT, _SHARED = 1, 2


class ProcessUsage:
    """The CPU time and memory of containers; what is counted of one never goes back until it is forgotten."""

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._nanoseconds_per_tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        self._counted: dict[str, tuple[int, int]] = {}
        """By container: ticks when last read, and ticks that had gone by then."""

    def read(self, containers: Mapping[str, Iterable[int]]) -> dict[str, tuple[int, int]]:
        """Return (CPU nanoseconds, memory bytes) of containers, given as the processes that noded started for each."""
        if not containers:
            return {}
        read = self._read_all(containers)
        if any(ticks < self._counted.get(name, (0, 0))[0] for name, (ticks, _) in read.items()):
            read = self._read_all(containers)  # a child may have ended between its parent's turn and its own
        return {
            name: (self._count(name, ticks) * self._nanoseconds_per_tick, memory)
            for name, (ticks, memory) in read.items()
        }

    def forget(self, container: str) -> None:
        """Forget a container that has ended."""
        self._counted.pop(container, None)

    def _count(self, name: str, ticks: int) -> int:
        before, gone = self._counted.get(name, (0, 0))
        gone += max(0, before - ticks)
        self._counted[name] = ticks, gone
        return ticks + gone

    def _read_all(self, containers: Mapping[str, Iterable[int]]) -> dict[str, tuple[int, int]]:
        """Return (CPU ticks, memory bytes) of each container that has processes."""
        ticks: dict[int, int] = {}
        followers: dict[int, list[int]] = {}
        for pid in sorted(int(name) for name in os.listdir(self._proc) if name.isdigit()):
            fields = self._words(pid, "stat")
            if not fields:
                continue
            ticks[pid] = sum(int(field) for field in fields[_TIMES])
            for other in {int(fields[_PARENT]), int(fields[_SESSION])} - {pid}:
                followers.setdefault(other, []).append(pid)
        found = {}
        for name, roots in containers.items():
            pids = _members((pid for pid in roots if pid in ticks), followers)
            if pids:
                found[name] = sum(ticks[pid] for pid in pids), self._memory(pids)
        return found

    def _memory(self, pids: Iterable[int]) -> int:
        own, shared = 0, 0
        for pid in pids:
            fields = self._words(pid, "statm")
            if fields:
                own += int(fields[_RESIDENT]) - int(fields[_SHARED])
                shared = max(shared, int(fields[_SHARED]))
        return (own + shared) * self._page_bytes

    def _words(self, pid: int, file: str) -> list[bytes]:
        """Return the words of a process's file, behind its name; none once it has ended."""
        try:
            with open(f"{self._proc}/{pid}/{file}", "rb") as opened:
                return opened.read().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return []


def _members(roots: Iterable[int], followers: Mapping[int, list[int]]) -> set[int]:
    """Return the roots and who follows them, directly or not."""
    found: set[int] = set()
    left = list(roots)
    while left:
        pid = left.pop()
        if pid not in found:
            found.add(pid)
            left += followers.get(pid, ())
    return found
