"""Keep every container inside its limits, with whichever control groups this machine has: v1, v2 or none.

Each controller is found by itself, because hybrids have some on v1 and some on v2. Groups are made at
<mount>/<node>/<pod>/<container>; a v2 group with children holds no process. What cannot be had is said in
`features` and the limit is then not set. Limits follow runc's libcontainer (cpu shares to weight: KEP-2254).
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

CONTROLLERS = ("cpu", "memory", "pids")
_CPU_PERIOD_MICROSECONDS = 100_000
_NONE_V1 = "-1"
_HUGE_PAGES = "/sys/kernel/mm/hugepages"


class Cgroups:
    """The node's control groups. `features` maps cgroup-cpu, cgroup-memory, cgroup-pids to "" or why not.

    The file `record` names, a line each, every group that may be there, before it is: whoever ends a noded that was
    killed at any moment knows what to remove.
    """

    def __init__(self, name: str, record: str = os.devnull) -> None:
        self.name = name
        self._record = record
        self.features: dict[str, str] = {}
        self._v1: dict[str, str] = {}
        self._v2 = ""
        self._v2_controllers: set[str] = set()
        self._foreign: list[str] = []
        self._rest: set[str] = set()

    def set_up(self) -> None:
        """Find and try each controller; make the node's own group in those that work."""
        hierarchies, unified = parse_mounts(_read("/proc/self/mountinfo"))
        wanted = (*CONTROLLERS, "hugetlb") if has_huge_pages() else CONTROLLERS
        places = {c: f"{hierarchies[c]}/{self.name}" for c in (*wanted, "cpuacct") if c in hierarchies}
        tried = self._try_groups(sorted(set(places.values())))
        self._v1 = {controller: place for controller, place in places.items() if not tried[place]}
        self.features |= {f"cgroup-{controller}": tried[place] for controller, place in places.items()}
        if unified:
            self.set_up_unified(unified, [c for c in wanted if c not in hierarchies])
        for controller in wanted:
            self.features.setdefault(f"cgroup-{controller}", "no cgroup file system has this controller")
        self.features.pop("cgroup-cpuacct", None)

    def expect_everywhere(self) -> None:
        """Remove groups in every hierarchy from now on: runtimes of others make them in all."""
        hierarchies, unified = parse_mounts(_read("/proc/self/mountinfo"))
        every = {f"{mount}/{self.name}" for mount in (*hierarchies.values(), unified) if mount}
        self._foreign = sorted(every - {*self.directories()})

    def set_up_unified(self, mount: str, wanted: list[str]) -> None:
        """Make the node's group in the first place that has any of the controllers and takes it.

        systemd delegates memory and pids to users, cpu only when told to: each controller has its own answer.
        """
        available = set(_read(f"{mount}/cgroup.controllers").split())
        missing = [c for c in wanted if c in available]
        refused = dict.fromkeys(missing, "")
        for parent in _candidate_parents(mount) if missing else ():
            refused = _hand_down(parent, missing)
            offered = [c for c in missing if not refused[c]]
            if not offered:
                continue
            own = f"{parent}/{self.name}"
            why = self._try_groups([own])[own]
            refused |= dict.fromkeys(offered, why) if why else _hand_down(own, offered)
            given = {c for c in offered if not refused[c]}
            if given:
                self._v2, self._v2_controllers = own, given
                break
            remove_group(own)
        self.features |= {
            f"cgroup-{controller}": why
            and f"{why}; `systemd-run --user --scope -p Delegate=yes proa up` delegates control groups"
            for controller, why in refused.items()
        }

    def _try_groups(self, directories: list[str]) -> dict[str, str]:
        with open(self._record, "a") as file:
            file.write("".join(f"{directory}\n" for directory in directories))
        return _try_groups(directories)

    def use(self, v1: Mapping[str, str], v2: str = "", v2_controllers: Iterable[str] = ()) -> None:
        """Take these groups as the node's own: a controller's v1 directory, the v2 directory."""
        self._v1, self._v2, self._v2_controllers = dict(v1), v2, set(v2_controllers)

    def directories(self) -> list[str]:
        """Return the node's own groups: what must be removed when the node is gone."""
        return [*self._own_directories(), *self._foreign]

    def _own_directories(self) -> list[str]:
        return sorted({*self._v1.values(), *([self._v2] if self._v2 else [])})

    def make(self, path: str, resources: Mapping[str, Any] | None = None, *, inner: bool = False) -> None:
        """Make the group `path` ("pod/container") with its limits; `inner` groups have children, not processes."""
        for directory in self._paths(path):
            os.makedirs(directory, exist_ok=True)
        if inner and self._v2:
            _hand_down(f"{self._v2}/{path}", sorted(self._v2_controllers))
        for file, value in self._settings(path, resources or {}):
            with open(file, "w") as opened:
                opened.write(value)

    def update(self, path: str, resources: Mapping[str, Any]) -> None:
        """Set a group's limits anew; on v1 memory with swap may never be less than memory, so order matters."""
        settings = [*self._settings(path, resources), *self._lifted(path, resources)]
        memory, swap = "/memory.limit_in_bytes", "/memory.memsw.limit_in_bytes"
        grows = any(
            file.endswith(memory) and (value == _NONE_V1 or int(value) > int(_read(file)))
            for file, value in settings
        )
        settings.sort(key=lambda s: s[0].endswith(memory if grows else swap))
        for file, value in settings:
            with open(file, "w") as opened:
                opened.write(value)

    def _settings(self, path: str, resources: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        shares, quota = resources.get("cpu_shares", 0), resources.get("cpu_quota_millis", 0)
        memory, pids = resources.get("memory_limit_bytes", 0), resources.get("pids_limit", 0)
        quota_microseconds = max(1000, quota * _CPU_PERIOD_MICROSECONDS // 1000)
        if "cpu" in self._v1:
            cpu = f"{self._v1['cpu']}/{path}"
            if shares:
                yield f"{cpu}/cpu.shares", str(max(2, shares))
            if quota:
                yield f"{cpu}/cpu.cfs_period_us", str(_CPU_PERIOD_MICROSECONDS)
                yield f"{cpu}/cpu.cfs_quota_us", str(quota_microseconds)
        if "memory" in self._v1 and memory:
            group = f"{self._v1['memory']}/{path}"
            yield f"{group}/memory.limit_in_bytes", str(memory)
            if os.path.exists(f"{group}/memory.memsw.limit_in_bytes"):
                yield f"{group}/memory.memsw.limit_in_bytes", str(memory)
        if "pids" in self._v1 and pids:
            yield f"{self._v1['pids']}/{path}/pids.max", str(pids)
        for size, limit in (resources.get("hugepage_limits") or {}).items():
            if "hugetlb" in self._v1:
                yield f"{self._v1['hugetlb']}/{path}/hugetlb.{size}.limit_in_bytes", str(limit)
            elif "hugetlb" in self._v2_controllers:
                yield f"{self._v2}/{path}/hugetlb.{size}.max", str(limit)
        group = f"{self._v2}/{path}"
        if "cpu" in self._v2_controllers:
            if shares:
                yield f"{group}/cpu.weight", str(shares_to_weight(shares))
            if quota:
                yield f"{group}/cpu.max", f"{quota_microseconds} {_CPU_PERIOD_MICROSECONDS}"
        if "memory" in self._v2_controllers and memory:
            yield f"{group}/memory.max", str(memory)
            yield f"{group}/memory.oom.group", "1"
            if os.path.exists(f"{group}/memory.swap.max"):
                yield f"{group}/memory.swap.max", "0"
        if "pids" in self._v2_controllers and pids:
            yield f"{group}/pids.max", str(pids)

    def _lifted(self, path: str, resources: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield what takes away a limit that is said to be none."""
        v1, v2 = self._v1, self._v2_controllers
        if resources.get("cpu_quota_millis") == 0:
            if "cpu" in v1:
                yield f"{v1['cpu']}/{path}/cpu.cfs_quota_us", _NONE_V1
            elif "cpu" in v2:
                yield f"{self._v2}/{path}/cpu.max", f"max {_CPU_PERIOD_MICROSECONDS}"
        if resources.get("memory_limit_bytes") == 0:
            if "memory" in v1:
                group = f"{v1['memory']}/{path}"
                yield f"{group}/memory.limit_in_bytes", _NONE_V1
                if os.path.exists(f"{group}/memory.memsw.limit_in_bytes"):
                    yield f"{group}/memory.memsw.limit_in_bytes", _NONE_V1
            elif "memory" in v2:
                yield f"{self._v2}/{path}/memory.max", "max"

    def join(self, path: str) -> None:
        """Put the calling process (of one thread) into a group."""
        for directory in self._paths(path):
            _join(directory)

    def remove(self, path: str) -> None:
        """Remove a group (with those inside it); where something is still ending in it, `remove_rest` will."""
        places = [f"{directory}/{path}" for directory in self.directories()]
        self._rest.update(place for place in places if not remove_group(place))

    def remove_rest(self) -> bool:
        """Remove what could not be removed before; tell whether nothing is left."""
        self._rest = {place for place in self._rest if not remove_group(place)}
        return not self._rest

    def kill(self, path: str) -> None:
        """Kill every process of a group, until none is left."""
        while True:
            pids = {
                pid for directory in self._paths(path) for pid in _read(f"{directory}/cgroup.procs").split()
            }
            if not pids - {"0"}:
                return
            for pid in pids - {"0"}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)

    def oom_kills(self, path: str) -> int:
        """Return how many processes of the group the kernel killed for want of memory."""
        if "memory" in self._v1:
            return _field(_read(f"{self._v1['memory']}/{path}/memory.oom_control"), "oom_kill")
        if "memory" in self._v2_controllers:
            return _field(_read(f"{self._v2}/{path}/memory.events"), "oom_kill")
        return 0

    def cpu_nanoseconds(self, path: str) -> int:
        """Return the CPU time used so far, -1 where unknown."""
        if "cpuacct" in self._v1:
            return int(_read(f"{self._v1['cpuacct']}/{path}/cpuacct.usage") or -1)
        if self._v2:
            microseconds = _field(_read(f"{self._v2}/{path}/cpu.stat"), "usage_usec", -1)
            return 1000 * microseconds if microseconds >= 0 else -1
        return -1

    def memory_working_set(self, path: str) -> int:
        """Return the memory in use, in bytes, without page cache that is inactive; -1 where unknown."""
        if "memory" in self._v1:
            group, usage, inactive = (
                f"{self._v1['memory']}/{path}",
                "memory.usage_in_bytes",
                "total_inactive_file",
            )
        elif "memory" in self._v2_controllers:
            group, usage, inactive = f"{self._v2}/{path}", "memory.current", "inactive_file"
        else:
            return -1
        used = _read(f"{group}/{usage}")
        return max(0, int(used) - _field(_read(f"{group}/memory.stat"), inactive)) if used else -1

    def mounts(self, path: str) -> list[tuple[str, str]]:
        """Return (group directory, name under /sys/fs/cgroup) of each hierarchy: what a container may see."""
        pairs = [(f"{directory}/{path}", controller) for controller, directory in self._v1.items()]
        if self._v2:
            pairs.append((f"{self._v2}/{path}", "unified" if self._v1 else ""))
        return pairs

    def _paths(self, path: str) -> list[str]:
        return [f"{directory}/{path}" for directory in self._own_directories()]


def has_huge_pages() -> bool:
    """Tell whether this machine keeps huge pages: most have none, and then nothing is to be limited."""
    try:
        sizes = os.listdir(_HUGE_PAGES)
    except FileNotFoundError:
        return False
    return any(_read(f"{_HUGE_PAGES}/{size}/nr_hugepages").strip() not in ("", "0") for size in sizes)


def shares_to_weight(shares: int) -> int:
    """Return the cgroup v2 weight (1-10000) for v1 shares (2-262144)."""
    return 1 + (max(2, min(shares, 262144)) - 2) * 9999 // 262142


def remove_group(directory: str) -> bool:
    """Remove a group directory and those inside it; False when a process is still in one."""
    try:
        inside = [entry.path for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
        emptied = [remove_group(path) for path in inside]
        os.rmdir(directory)
        return all(emptied)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        raise


def parse_mounts(mountinfo: str) -> tuple[dict[str, str], str]:
    """Return where each v1 controller is mounted, and the v2 mount ("" when there is none)."""
    controllers: dict[str, str] = {}
    unified = ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fstype, _, options = right.split(" ", 2)
        place = left.split(" ")[4]
        if fstype == "cgroup2":
            unified = unified or place
        elif fstype == "cgroup":
            for option in options.split(","):
                controllers.setdefault(option, place)
    return controllers, unified


def _candidate_parents(mount: str) -> list[str]:
    """Return the v2 groups under which the node's own may be made: the root, else what was delegated to us."""
    own = ""
    for line in _read("/proc/self/cgroup").splitlines():
        if line.startswith("0::"):
            own = line[3:].strip("/")
    parents = [mount]
    while own:
        own = own.rpartition("/")[0]
        if own:
            parents.append(f"{mount}/{own}")
    return parents


def _hand_down(directory: str, controllers: Iterable[str]) -> dict[str, str]:
    """Hand controllers to the groups below `directory`; return of each why not, "" when it is."""
    there = _read(f"{directory}/cgroup.controllers").split()
    enabled = _read(f"{directory}/cgroup.subtree_control").split()
    answers: dict[str, str] = {}
    for controller in controllers:
        answers[controller] = ""
        if controller not in there:
            answers[controller] = f"{directory}: the {controller} controller is not delegated to it"
        elif controller not in enabled:
            try:
                with open(f"{directory}/cgroup.subtree_control", "w") as file:
                    file.write(f"+{controller}")
            except OSError as error:
                answers[controller] = f"{directory}: {error.strerror}"
    return answers


def _try_groups(directories: list[str]) -> dict[str, str]:
    """Make each group, and move a process into one inside it; return why that failed, "" where it worked."""
    answers: dict[str, str] = {}
    for directory in directories:
        try:
            os.makedirs(f"{directory}/probe", exist_ok=True)
            answers[directory] = ""
        except OSError as error:
            answers[directory] = f"{directory}: {error.strerror}"
    made = [directory for directory in directories if not answers[directory]]
    refused = _try_to_join([f"{directory}/probe" for directory in made])
    for number, directory in enumerate(made):
        os.rmdir(f"{directory}/probe")
        if refused >> number & 1:
            answers[directory] = f"{directory}: a process cannot be moved into it"
            os.rmdir(directory)
    return answers


def _try_to_join(groups: list[str]) -> int:
    """Let a child join all groups; return a bit for each that it could not."""
    pid = os.fork()
    if pid == 0:
        refused = 0
        for number, group in enumerate(groups):
            try:
                _join(group)
            except OSError:
                refused |= 1 << number
        os._exit(refused)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _join(directory: str) -> None:
    """Move this process. To v1 by its one thread: that spares the kernel a lock that takes 10 ms to get."""
    name = "tasks" if os.path.exists(f"{directory}/tasks") else "cgroup.procs"
    fd = os.open(f"{directory}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"0")
    finally:
        os.close(fd)


def _field(text: str, name: str, default: int = 0) -> int:
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return default


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return ""
