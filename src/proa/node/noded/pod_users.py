"""Give pods ids of their own: user namespaces in which 65,536 ids are others on the machine (hostUsers: false).

Root inside is then nobody outside, and has capabilities over the pod's own namespaces only. Each pod of a node gets a
range that no other pod there has. Follows KEP-127 and pkg/kubelet/userns/userns_manager.go.
"""

from __future__ import annotations

import os

from proa.node.noded import linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Record = dict[str, Any]

IDS = 65536
_RANGES = 256  # a node
_NODES = 64
_FIRST = 16 * IDS  # below are users of the machine, and the usual subordinate ids


class PodUsers:
    """The ranges of ids of one node's pods."""

    def __init__(self, pod_cidr: str) -> None:
        number = int(pod_cidr.split(".")[2]) % _NODES if pod_cidr.count(".") == 3 else 0
        self._start = _FIRST + number * _RANGES * IDS
        self._taken: dict[int, str] = {}

    def make_namespaces(self, sandbox: Record, kinds: Mapping[str, int]) -> dict[str, int]:
        """Return descriptors of a new user namespace and of these namespaces, which belong to it.

        The first id is noted in the sandbox (`first_id`). What is not asked for is the caller's own.
        """
        first = self._take(sandbox["id"])
        sandbox["first_id"] = first
        asked_read, asked_write = os.pipe2(os.O_CLOEXEC)
        told_read, told_write = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            _be_template(sum(kinds.values()), asked_read, asked_write, told_write)
        os.close(asked_read)
        os.close(told_write)
        made: dict[str, int] = {}
        try:
            if os.read(told_read, 1) != b"u":
                raise OSError("a user namespace for the pod was refused")
            for name in ("uid_map", "gid_map"):
                with open(f"/proc/{pid}/{name}", "w") as file:
                    file.write(f"0 {first} {IDS}")
            os.write(asked_write, b"m")
            if os.read(told_read, 1) != b"n":
                raise OSError("namespaces of the pod's users were refused")
            for name in ("user", "net", "ipc", "uts"):
                made[name] = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except BaseException:
            for fd in made.values():
                os.close(fd)
            self.release(sandbox)
            raise
        finally:
            os.close(asked_write)
            os.close(told_read)
            os.waitpid(pid, 0)
        return made

    def release(self, sandbox: Record) -> None:
        """Let another pod have a pod's ids."""
        self._taken.pop(sandbox.get("first_id", 0), None)

    def _take(self, identifier: str) -> int:
        for number in range(_RANGES):
            first = self._start + number * IDS
            if first not in self._taken:
                self._taken[first] = identifier
                return first
        raise OSError(f"no ids are left: {_RANGES} pods of this node have their own")


def _be_template(flags: int, asked_read: int, asked_write: int, told_write: int) -> None:
    """Make the namespaces, for the parent to open, and end."""
    try:
        os.close(asked_write)
        linux.unshare(linux.CLONE_NEWUSER)
        os.write(told_write, b"u")
        if os.read(asked_read, 1) == b"m":
            linux.unshare(flags)
            os.write(told_write, b"n")
            os.read(asked_read, 1)  # until the parent has them
    finally:
        os._exit(0)
