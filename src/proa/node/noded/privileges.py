"""Give a process exactly the user, groups and capabilities that were asked for, and no way to more.

Follows runc (libcontainer/capabilities, init_linux.go): the bounding, permitted and effective sets are the asked
ones, inheritable and ambient are empty. With a single mapped uid, any one asked uid is had by a user namespace of
the container's own, nested in the node's, in which the node's uid 0 carries that number.
"""

from __future__ import annotations

import os

from proa.node.noded import linux, seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# linux/capability.h: the bit of each capability is its place here.
CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
# containerd's and Docker's default set.
DEFAULT_CAPABILITIES = frozenset({
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
})  # fmt: skip


class Identity:
    """Who a container's processes are. `nested` is set when the uid needs a user namespace of its own."""

    __slots__ = ("capabilities", "gid", "groups", "nested", "no_new_privileges", "seccomp", "uid")

    def __init__(self, security: Mapping[str, Any], *, single_uid: bool) -> None:
        self.uid = int(security.get("run_as_user") or 0)
        group = security.get("run_as_group")
        self.gid = int(group if group is not None else 0)
        self.groups = sorted({*map(int, security.get("supplemental_groups") or ())})
        self.nested = single_uid and (self.uid, self.gid) != (0, 0)
        privileged = bool(security.get("privileged"))
        self.capabilities = capability_set(
            privileged, security.get("add_capabilities") or (), security.get("drop_capabilities") or ()
        )
        self.no_new_privileges = not (security.get("allow_privilege_escalation", True) or privileged)
        self.seccomp = not (privileged or security.get("seccomp_unconfined"))
        if single_uid:
            self.groups = []


def capability_set(privileged: bool, add: object, drop: object) -> frozenset[str]:
    """Return the capabilities a container has: the default set, less `drop`, with `add` (ALL is known to both)."""
    added = {name.upper().removeprefix("CAP_") for name in _names(add)}
    dropped = {name.upper().removeprefix("CAP_") for name in _names(drop)}
    if privileged:
        return frozenset(CAPABILITIES)
    kept = set() if "ALL" in dropped else set(DEFAULT_CAPABILITIES)
    if "ALL" in added:
        return frozenset(CAPABILITIES) - (dropped - {"ALL"})
    return frozenset((kept - dropped) | (added & set(CAPABILITIES)))


def _names(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list | tuple | frozenset | set) else []


def assume(identity: Identity, *, enter: int = -1, has_groups: bool = True) -> None:
    """Become `identity`, for good. `enter` is the nested user namespace of a running container, to be joined."""
    allowed = mask(identity.capabilities)
    if enter >= 0:
        linux.setns(enter, linux.CLONE_NEWUSER)
    elif identity.nested:
        map_single_user(identity.uid, identity.gid)
    linux.prctl(linux.PR_SET_DUMPABLE, 0)  # nobody inside may trace us and take our descriptors, until exec
    for bit in range(last_capability() + 1):
        if not allowed >> bit & 1:
            linux.prctl(linux.PR_CAPBSET_DROP, bit)
    if identity.seccomp:
        seccomp.install(identity.capabilities)
    if has_groups:
        os.setgroups(identity.groups)
    os.setresgid(identity.gid, identity.gid, identity.gid)
    linux.prctl(linux.PR_SET_KEEPCAPS, 1)
    os.setresuid(identity.uid, identity.uid, identity.uid)
    linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_CLEAR_ALL)
    held = allowed & linux.permitted_capabilities()  # root itself may lack some, inside somebody's container
    linux.capset(held, held, 0)
    if identity.no_new_privileges:
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)


def map_single_user(uid: int, gid: int) -> None:
    """Enter a new user namespace in which the caller's own user is `uid`:`gid`."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    linux.unshare(linux.CLONE_NEWUSER)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {outer_uid} 1"),
        ("gid_map", f"{gid} {outer_gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def mask(names: frozenset[str]) -> int:
    """Return the bit mask of capabilities by name."""
    return sum(1 << bit for bit, name in enumerate(CAPABILITIES) if name in names)


def last_capability() -> int:
    """Return the highest capability that this kernel knows."""
    return _LAST


def _read_last() -> int:
    try:
        with open("/proc/sys/kernel/cap_last_cap") as file:
            return int(file.read())
    except FileNotFoundError:
        return len(CAPABILITIES) - 1


_LAST = _read_last()
