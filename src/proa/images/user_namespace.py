"""Be among the users that this machine's containers have: those of the node's user namespace, where we are not root.

The ids of a rootless node are: 0 is this user, and 1 and on are the subordinate ids of /etc/subuid; or, without them,
only 0. noded finds the same (node/noded/ladder.py), so what is unpacked here belongs there to whom it should.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import shutil
import subprocess

_CLONE_NEWUSER = 0x10000000
_PATH = "/usr/bin:/bin:/usr/local/bin:/usr/sbin:/sbin"


def enter_users() -> bool:
    """Enter a user namespace; return whether it has many users. Raises OSError where the kernel has none for us."""
    ranges = [_subordinate(path) for path in ("/etc/subuid", "/etc/subgid")]
    tools = [shutil.which(tool, path=_PATH) for tool in ("newuidmap", "newgidmap")]
    if all(ranges) and all(tools) and _enter_subordinate([str(tool) for tool in tools], ranges):
        return True
    uid, gid = os.geteuid(), os.getegid()
    _unshare()
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    return False


def is_inside() -> bool:
    """Tell whether we are in some user namespace already: a build's, or that of a container around us."""
    return _id_maps() != ["0 0 4294967295"]


def has_many_users() -> bool:
    """Tell whether the user namespace that we are in has more users than root."""
    maps = _id_maps()
    return len(maps) > 1 or maps[0].split()[2] != "1"


def _id_maps() -> list[str]:
    with open("/proc/self/uid_map") as file:
        return [" ".join(line.split()) for line in file]


def _enter_subordinate(tools: list[str], ranges: list[tuple[str, str] | None]) -> bool:
    """Have newuidmap and newgidmap, which may, map the ids of a namespace that a child makes first as a trial."""
    if not _try(tools, ranges):
        return False
    read, write = os.pipe()
    parent = os.getpid()
    helper = os.fork()
    if helper == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0 if _map(tools, parent, ranges) else 1)
    _unshare()
    os.write(write, b"x")
    _, status = os.waitpid(helper, 0)
    os.close(read)
    os.close(write)
    if status:
        raise PermissionError(1, "newuidmap refused the subordinate ids that it gave before")
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    return True


def _try(tools: list[str], ranges: list[tuple[str, str] | None]) -> bool:
    ready, told = os.pipe()
    go, gone = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(gone)
        try:
            _unshare()
            os.write(told, b"y")
            os.read(go, 1)
        finally:
            os._exit(0)
    os.close(told)
    os.close(go)
    try:
        return os.read(ready, 1) == b"y" and _map(tools, child, ranges)
    finally:
        os.close(ready)
        os.close(gone)
        os.waitpid(child, 0)


def _map(tools: list[str], pid: int, ranges: list[tuple[str, str] | None]) -> bool:
    for tool, found, own in zip(tools, ranges, (os.geteuid(), os.getegid()), strict=True):
        first, count = found or ("", "")
        command = [tool, str(pid), "0", str(own), "1", "1", first, count]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return False
    return True


def _subordinate(path: str) -> tuple[str, str] | None:
    uid = os.getuid()
    names = {str(uid)}
    with contextlib.suppress(KeyError):
        names.add(pwd.getpwuid(uid).pw_name)
    with contextlib.suppress(FileNotFoundError), open(path) as file:
        for line in file:
            owner, _, rest = line.strip().partition(":")
            first, _, count = rest.partition(":")
            if owner in names and first.isdigit() and count.isdigit():
                return first, count
    return None


def _unshare() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER):
        code = ctypes.get_errno()
        raise OSError(code, f"a user namespace cannot be made: {os.strerror(code)}")
