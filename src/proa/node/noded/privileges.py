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

_MAX_FILE_BYTES = 1 << 20
_MAX_ID = 2**31 - 1
"""As upstream's: 2**32 - 1 would mean to the kernel that root is to stay root (CVE-2024-40635)."""


class Identity:
    """Who a container's processes are. `nested` is set when the uid needs a user namespace of its own.

    Names and groups are those of the container's own files: `resolve` fills in `uid`, `gid` and `groups`.
    """

    __slots__ = (
        "_security",
        "_single_uid",
        "capabilities",
        "filter",
        "gid",
        "groups",
        "nested",
        "no_new_privileges",
        "uid",
    )

    def __init__(self, security: Mapping[str, Any], *, single_uid: bool) -> None:
        self._security = security
        self._single_uid = single_uid
        self.uid = int(security.get("run_as_user") or 0)
        self.gid = int(security.get("run_as_group") or 0)
        self.groups: list[int] = []
        self.nested = False
        privileged = bool(security.get("privileged"))
        self.capabilities = capability_set(
            privileged, security.get("add_capabilities") or (), security.get("drop_capabilities") or ()
        )
        self.no_new_privileges = not (security.get("allow_privilege_escalation", True) or privileged)
        self.filter = b""
        if not (privileged or security.get("seccomp_unconfined")):
            profile = security.get("seccomp_profile")
            self.filter = (
                seccomp.make_filter(profile) if profile else seccomp.make_default_filter(self.capabilities)
            )

    def resolve(self, root: int = -1) -> None:
        """Look the user and its groups up in /etc/passwd and /etc/group (below the open `root`); raise UnknownUser."""
        asked, group = self._security.get("run_as_user"), self._security.get("run_as_group")
        user, _, named_group = str(self._security.get("username") or "").partition(":")
        wanted = str(asked) if asked is not None else user or "0"
        entry = _find_entry(root, "/etc/passwd", wanted)
        if entry is None and not wanted.isdigit():
            raise UnknownUser(f"unable to find user {wanted}: no matching entries in passwd file")
        self.uid = int(entry[2]) if entry else int(wanted)
        self.gid = int(entry[3]) if entry and len(entry) > 3 else 0
        if group is not None:
            self.gid = int(group)
        elif named_group and asked is None:
            self.gid = _group_id(root, named_group)
        if max(self.uid, self.gid) > _MAX_ID:
            raise UnknownUser(f"uids and gids must be in range 0-{_MAX_ID}")
        self.nested = self._single_uid and (self.uid, self.gid) != (0, 0)
        if self._single_uid:
            return
        own = [] if self._security.get("strict_groups") else _groups_of(root, entry[0] if entry else "")
        asked_for = [int(number) for number in self._security.get("supplemental_groups") or ()]
        self.groups = list(dict.fromkeys([self.gid, *own, *asked_for]))

    @property
    def described(self) -> tuple[int, int, list[int]]:
        """uid, gid and groups, as a status tells them."""
        return self.uid, self.gid, self.groups


class UnknownUser(Exception):
    """The image has no such user, or group."""


def _find_entry(root: int, path: str, wanted: str) -> list[str] | None:
    """Return the fields of a line of passwd or group: a number is never a name, whatever the image has by it."""
    place = 2 if wanted.isdigit() else 0
    return next((fields for fields in _entries(root, path) if fields[place] == wanted), None)


def find_home(uid: int, root: int = -1) -> str:
    """Return a user's home folder as /etc/passwd (below the open `root`) has it, "/" where it has none."""
    entry = _find_entry(root, "/etc/passwd", str(uid))
    return entry[5] if entry and len(entry) > 5 else "/"


def _group_id(root: int, wanted: str) -> int:
    entry = _find_entry(root, "/etc/group", wanted)
    if entry is None and not wanted.isdigit():
        raise UnknownUser(f"unable to find group {wanted}: no matching entries in group file")
    return int(entry[2]) if entry else int(wanted)


def _groups_of(root: int, user: str) -> list[int]:
    entries = _entries(root, "/etc/group") if user else []
    return [int(fields[2]) for fields in entries if len(fields) > 3 and user in fields[3].split(",")]


def _entries(root: int, path: str) -> list[list[str]]:
    """Return the lines of passwd or group as fields, of which the third is a number."""
    try:
        flags = os.O_RDONLY | os.O_NONBLOCK  # it may be anything, a pipe nobody writes to too
        fd = linux.open_in_root(root, path, flags) if root >= 0 else os.open(path, flags | os.O_CLOEXEC)
        with open(fd, encoding="utf-8", errors="replace") as file:
            lines = [line.rstrip("\n").split(":") for line in file.read(_MAX_FILE_BYTES).splitlines()]
    except OSError:
        return []
    return [fields for fields in lines if len(fields) > 2 and fields[2].isdigit()]


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
        linux.prctl(linux.PR_SET_DUMPABLE, 0)
        linux.setns(enter, linux.CLONE_NEWUSER)
    elif identity.nested:
        map_single_user(identity.uid, identity.gid)
    linux.prctl(linux.PR_SET_DUMPABLE, 0)  # nobody inside may trace us and take our descriptors, until exec
    for bit in range(last_capability() + 1):
        if not allowed >> bit & 1:
            linux.prctl(linux.PR_CAPBSET_DROP, bit)
    seccomp.install(identity.filter)
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
