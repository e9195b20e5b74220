"""Climb as high as this machine lets us: root, else rootless with subordinate uids, else with one uid, else processes.

Each rung is tried by doing it, in a child for a probe and for good in `climb`. What is refused is said with its mend.
"""

from __future__ import annotations

import os
import signal
import sys

from proa.node.noded import linux, privileges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

_NAMESPACES = (
    linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWPID | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
)
_NEWUIDMAP, _NEWGIDMAP = "newuidmap", "newgidmap"
_PATH = ("/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/sbin")
LEVELS = ("root", "rootless-subids", "rootless", "process")


class Refused(Exception):
    """A rung cannot be had; the words say why and what would mend it."""


def climb(wanted: str, neighbour: int | None = None) -> str:
    """Enter the namespaces of the highest rung that works (or the wanted one), and return its name.

    After this, the next child that is forked is PID 1 of the node. `neighbour` is the pid of another node of this
    cluster: its user namespace is entered where it has one of its own, for only nodes of one user namespace can be
    linked. Raises Refused.
    """
    if wanted == "process":
        return enter_process()
    if neighbour is not None and _has_other_users(neighbour):
        try:
            return enter_beside(neighbour)
        except Refused as refused:
            sys.stderr.write(f"{refused}\n")
    if wanted == "root" or (wanted == "auto" and os.geteuid() == 0):
        try:
            return enter_root()
        except Refused as refused:
            if wanted == "root":
                raise
            sys.stderr.write(f"{refused}\n")
    rungs = [enter_subids, enter_single] if wanted in ("auto", "rootless") else []
    reasons = []
    for enter in rungs:
        why = try_in_child(enter)
        if not why:
            return enter()
        reasons.append(why)
        sys.stderr.write(f"{why}\n")
    if wanted != "auto":
        raise Refused("; ".join(reasons) or f"unknown level {wanted!r}")
    return enter_process()


def enter_root() -> str:
    """Leave the host's namespaces as root."""
    if os.geteuid() != 0:
        raise Refused("not root: run as root for full isolation, or leave it: rootless works too")
    _enter_namespaces("root is not allowed to make namespaces: is this a container without CAP_SYS_ADMIN?")
    return "root"


def enter_subids() -> str:
    """Enter a user namespace with the subordinate ids of /etc/subuid, by newuidmap."""
    uid, gid = os.geteuid(), os.getegid()
    subuid, subgid = _subordinate("/etc/subuid", uid), _subordinate("/etc/subgid", uid)
    tools = [_find(_NEWUIDMAP), _find(_NEWGIDMAP)]
    if not all(tools):
        raise Refused("newuidmap and newgidmap are not here: install uidmap for more than one user in a pod")
    if not (subuid and subgid):
        raise Refused(
            f"no subordinate ids for uid {uid}: `usermod --add-subuids 100000-165535 --add-subgids 100000-165535`"
        )
    read, write = os.pipe()
    parent = os.getpid()
    helper = os.fork()
    if helper == 0:
        os.read(read, 1)
        _map_ids(tools, parent, ((uid, subuid), (gid, subgid)))
    _unshare_user()
    os.write(write, b"x")
    _, status = os.waitpid(helper, 0)
    os.close(read)
    os.close(write)
    if status:
        raise Refused("newuidmap refused the subordinate ids of /etc/subuid")
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    _enter_namespaces("a user namespace may be made, but no namespaces in it")
    return "rootless-subids"


def enter_single() -> str:
    """Enter a user namespace in which we alone are root."""
    try:
        privileges.map_single_user(0, 0)
    except OSError as error:
        raise Refused(user_namespace_mend(error)) from error
    _enter_namespaces("a user namespace may be made, but no namespaces in it")
    return "rootless"


def enter_beside(neighbour: int) -> str:
    """Enter the user namespace of another node, and namespaces of our own in it."""
    try:
        users = os.open(f"/proc/{neighbour}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        try:
            linux.setns(users, linux.CLONE_NEWUSER)
        finally:
            os.close(users)
    except OSError as error:
        raise Refused(f"the user namespace of another node cannot be entered ({error.strerror})") from error
    with open("/proc/self/uid_map") as file:
        has_one = [line.split()[2] for line in file] == ["1"]
    if not has_one:
        os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    _enter_namespaces("a user namespace may be entered, but no namespaces made in it")
    return "rootless" if has_one else "rootless-subids"


def _has_other_users(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/ns/user") != os.readlink("/proc/self/ns/user")
    except OSError:  # it has just ended
        return False


def enter_process() -> str:
    """No isolation: adopt what our children leave behind."""
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    return "process"


def guard(pid: int) -> NoReturn:
    """Outlive noded (which has no PID namespace here) just long enough to kill what it leaves behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
    os.waitpid(pid, 0)
    while True:
        for orphan in children(os.getpid()):
            os.kill(orphan, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            os._exit(0)


def children(pid: int) -> list[int]:
    """Return a process's children."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]


def try_in_child(enter: Callable[[], str]) -> str:
    """Climb in a child that then ends; return why that failed, "" when it worked."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            enter()
            if os.fork() == 0:
                linux.mount("proc", "/proc", "proc")
                os._exit(0)
            _, status = os.wait()
            if status:
                os.write(write, b"/proc cannot be mounted: is this a container with a masked /proc?")
        except BaseException as error:
            os.write(write, str(error).encode())
        os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        words = file.read().decode(errors="replace")
    os.waitpid(pid, 0)
    return words


def probe() -> dict[str, str]:
    """Return what each rung says here: "" when it can be had."""
    return {
        "root": try_in_child(enter_root),
        "rootless-subids": try_in_child(enter_subids),
        "rootless": try_in_child(enter_single),
    }


def _enter_namespaces(words: str) -> None:
    try:
        linux.unshare(_NAMESPACES)
        linux.mount("", "/", "", linux.MS_REC | linux.MS_SLAVE)
        linux.mount("", "/", "", linux.MS_REC | linux.MS_SHARED)
    except OSError as error:
        raise Refused(f"{words} ({error.strerror})") from error
    try:
        tree = linux.clone_tree("/dev/null")
        linux.set_mount_attributes(tree, linux.MOUNT_ATTR_NODEV, recursive=False)
        os.close(tree)
    except OSError as error:
        raise Refused(
            f"the kernel is older than 5.12, or refuses mount_setattr ({error.strerror})"
        ) from error


def _unshare_user() -> None:
    try:
        linux.unshare(linux.CLONE_NEWUSER)
    except OSError as error:
        raise Refused(user_namespace_mend(error)) from error


def user_namespace_mend(error: OSError) -> str:
    """Return why a user namespace was refused, and the command that would allow it where one is known."""
    for path, bad, mend in (
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
    ):
        try:
            with open(f"/proc/sys/{path}") as file:
                if file.read().strip() == bad:
                    return f"user namespaces are refused ({error.strerror}): `sudo {mend}` allows them"
        except OSError:
            continue
    return f"user namespaces are refused ({error.strerror}): a container's seccomp profile may forbid them"


def _subordinate(path: str, uid: int) -> tuple[int, int] | None:
    """Return the first range (start, count) that a user has in /etc/subuid or /etc/subgid."""
    names = {str(uid), _user_name(uid)}
    try:
        with open(path) as file:
            lines = [line.strip().split(":") for line in file]
    except OSError:
        return None
    for fields in lines:
        if len(fields) == 3 and fields[0] in names:
            return int(fields[1]), int(fields[2])
    return None


def _user_name(uid: int) -> str:
    with open("/etc/passwd") as file:
        for line in file:
            fields = line.split(":")
            if len(fields) > 2 and fields[2] == str(uid):
                return fields[0]
    return str(uid)


def _map_ids(tools: list[str], pid: int, maps: tuple[tuple[int, tuple[int, int] | None], ...]) -> NoReturn:
    for tool, (own, extra) in zip(tools, maps, strict=True):
        start, count = extra or (0, 0)
        child = os.fork()
        if child == 0:
            words = [tool, str(pid), "0", str(own), "1", "1", str(start), str(count)]
            os.execv(tool, words)  # noqa: S606
        _, status = os.waitpid(child, 0)
        if status:
            os._exit(1)
    os._exit(0)


def _find(program: str) -> str:
    return next((f"{d}/{program}" for d in _PATH if os.access(f"{d}/{program}", os.X_OK)), "")
