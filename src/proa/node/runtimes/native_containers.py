"""Start a container's processes as forks of noded: no program of others, no shim."""

from __future__ import annotations

import os

from proa.node.noded import child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from proa.node.runtimes.native import NativeRuntime

    Record = dict[str, Any]


class NativeContainers:
    """The handler `native`, which every isolated node has."""

    def __init__(self, node: NativeRuntime) -> None:
        self._node = node
        self.abilities = {"recursiveReadOnlyMounts": True, "userNamespaces": node.level == "root"}

    def start(
        self, record: Record, sandbox: Record, process: child.Process, beside: Record | None
    ) -> child.Spawned:
        """Fork the container's first process."""
        node = self._node
        namespaces = dict(node.namespaces(sandbox))
        users, processes = namespaces.pop("user", -1), namespaces.pop("pid", -1)
        of_target = -1
        if beside is not None:
            processes = of_target = os.open(f"/proc/{beside['pid']}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        try:
            run = child.run_container(
                process,
                node.root_folder(record),
                node.image,
                node.view(record, sandbox),
                namespaces,
                child.joiner(node.cgroups, node.cgroup(record, sandbox)),
                users=users,
                processes=processes,
                has_groups=not node.single_uid,
                target=beside["pid"] if beside is not None else 0,
            )
            is_alone = processes < 0 and not sandbox["config"]["host_pid"]
            return child.spawn(run, in_new_pid_namespace=is_alone, own_pid_namespace=node.home["pid"])
        finally:
            if of_target >= 0:
                os.close(of_target)

    def exec(self, record: Record, sandbox: Record, process: child.Process) -> child.Spawned:
        """Fork another process into a running container."""
        node = self._node
        inside = self._namespaces_of(record["pid"])
        shared = {k: fd for k, fd in node.namespaces(sandbox).items() if k not in ("user", "pid")}
        try:
            run = child.run_exec(
                process,
                shared,
                inside,
                child.joiner(node.cgroups, node.cgroup(record, sandbox)),
                has_groups=not node.single_uid,
            )
            return child.spawn(run)
        finally:
            for fd in inside.values():
                os.close(fd)

    def _namespaces_of(self, pid: int) -> dict[str, int]:
        """Return descriptors, the caller's to close, of the namespaces that are a container's own."""
        names = ["mnt", "cgroup", "pid"]
        if os.stat(f"/proc/{pid}/ns/user").st_ino != os.stat("/proc/self/ns/user").st_ino:
            names.append("user")
        return {name: os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in names}

    def ended(self, record: Record, sandbox: Record) -> None:
        """Nothing is kept: the container's namespaces went with its last process."""
