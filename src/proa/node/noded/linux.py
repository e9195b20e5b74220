"""Call the kernel directly: the system calls that Python 3.11 lacks, each raising OSError with what it was doing.

No binaries are needed (ip, nsenter, mount). Flags are those of the uapi headers (linux/sched.h, linux/mount.h).
Imported by noded, so it pulls in nothing heavy.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000
MNT_DETACH = 0x2

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_IDMAP = 0x00100000

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_SET_KEEPCAPS = 8
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 0x1
_MOVE_MOUNT_EMPTY_PATHS = 0x4 | 0x40
_RESOLVE_IN_ROOT, _RESOLVE_NO_MAGICLINKS = 0x10, 0x02
_TRIES_BESIDE_RENAMES = 10_000
_IN_MOVED_FROM, _IN_DELETE = 0x40, 0x200
_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1, 4
# asm/unistd.h: these five have one number on every architecture; pivot_root and seccomp have not.
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_CLOSE_RANGE, _SYS_OPENAT2, _SYS_MOUNT_SETATTR = 428, 429, 436, 437, 442
_SYS_PIVOT_ROOT = {
    "x86_64": 155, "aarch64": 41, "riscv64": 41, "loongarch64": 41, "i686": 217, "armv7l": 218, "ppc64le": 203,
    "s390x": 217,
}  # fmt: skip
_SYS_CLONE = {"x86_64": 56, "aarch64": 220, "riscv64": 220, "loongarch64": 220}
_CLONE_PARENT = 0x00008000
_SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_libc.syscall.restype = ctypes.c_long


def unshare(flags: int) -> None:
    """Leave the namespaces in `flags` for new ones (CLONE_NEWPID: for the children forked from now on)."""
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, flags: int = 0) -> None:
    """Enter the namespace that `fd` (a /proc/…/ns file or a pidfd) refers to."""
    _check(_libc.setns(fd, flags), "setns")


@contextlib.contextmanager
def entered(fd: int, home: int) -> Iterator[None]:
    """Be in the namespace `fd` for a moment, then back in `home`. Only for a process with one thread."""
    setns(fd)
    try:
        yield
    finally:
        setns(home)


def mount(source: str, target: str, fstype: str, flags: int = 0, options: str = "") -> None:
    """mount(2); raises OSError."""
    result = _libc.mount(
        os.fsencode(source), os.fsencode(target), fstype.encode(), flags, os.fsencode(options) or None
    )
    _check(result, f"mount {fstype or source} on {target}")


def umount(target: str, flags: int = MNT_DETACH) -> None:
    """umount2(2); lazily unless told otherwise."""
    _check(_libc.umount2(os.fsencode(target), flags), f"umount {target}")


def clone_tree(path: str, *, recursive: bool = True) -> int:
    """Return a descriptor of a detached copy of the mounts at `path` (open_tree): a bind mount to be attached."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    return _syscall(_SYS_OPEN_TREE, f"bind {path}", _AT_FDCWD, os.fsencode(path), flags)


def clone_tree_elsewhere(namespace: int, path: str) -> int:
    """Return a detached copy of the mount at `path` of another mount namespace: only from inside can it be had.

    Only for a process with one thread, which comes back to the root and the folder that it had.
    """
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    root, folder = os.open("/", flags), os.open(".", flags)
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(namespace, CLONE_NEWNS)
        try:
            return clone_tree(path, recursive=False)
        finally:
            setns(own, CLONE_NEWNS)
            os.fchdir(root)
            os.chroot(".")
            os.fchdir(folder)
    finally:
        for descriptor in (root, folder, own):
            os.close(descriptor)


def attach_tree(tree: int, target: int) -> None:
    """Attach what clone_tree returned on the file or directory that `target` has open."""
    _syscall(_SYS_MOVE_MOUNT, "attach a bind mount", tree, b"", target, b"", _MOVE_MOUNT_EMPTY_PATHS)


def set_mount_attributes(
    tree: int,
    attributes: int,
    *,
    recursive: bool = True,
    clear: int = 0,
    propagation: int = 0,
    users: int = -1,
) -> None:
    """Set MOUNT_ATTR_… on a mount (and those beneath it) by descriptor; `propagation` is MS_PRIVATE, …

    Ids of files are shown as the user namespace that `users` has open maps them.
    """
    attributes |= MOUNT_ATTR_IDMAP if users >= 0 else 0
    attr = ctypes.create_string_buffer(
        struct.pack("=QQQQ", attributes, clear, propagation, max(users, 0)), 32
    )
    flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    _syscall(_SYS_MOUNT_SETATTR, "set mount attributes", tree, b"", flags, attr, 32)


def open_in_root(root: int, path: str, flags: int = os.O_PATH, mode: int = 0, *, magic: bool = True) -> int:
    """Open `path` as if `root` were /: no symbolic link and no `..` can lead out of it (openat2).

    Links of /proc (fd/3, cwd) to what is no path are refused unless `magic`. A rename or mount anywhere on the
    machine makes the kernel give up on a path with `..` (EAGAIN, openat2(2)): asked again, as often as it says so.
    """
    resolve = _RESOLVE_IN_ROOT if magic else _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS
    how = ctypes.create_string_buffer(struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve), 24)
    for _ in range(_TRIES_BESIDE_RENAMES):
        with contextlib.suppress(BlockingIOError):
            return _syscall(_SYS_OPENAT2, path, root, os.fsencode(path.lstrip("/") or "."), how, 24)
    raise BlockingIOError(errno.EAGAIN, "renames on this machine kept the path from being looked up", path)


def pivot_root_here() -> None:
    """Make the working directory `/` and let go of the old root."""
    number = _SYS_PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(38, f"pivot_root is not known on {os.uname().machine}")
    _syscall(number, "pivot_root", b".", b".")
    umount(".")
    os.chdir("/")


def close_all_but(kept: Iterable[int]) -> None:
    """Close every descriptor that is not among `kept` (negative ones are none)."""
    first = 0
    for fd in sorted({*kept}):
        if fd > first:
            _syscall(_SYS_CLOSE_RANGE, "close_range", first, fd - 1, 0)
        first = max(first, fd + 1)
    _syscall(_SYS_CLOSE_RANGE, "close_range", first, 0xFFFFFFFF, 0)


def fork_sibling() -> int:
    """Fork a child of our parent (CLONE_PARENT): return its pid, 0 in it. Only for a process with one thread."""
    number = _SYS_CLONE.get(os.uname().machine)
    if number is None:
        raise OSError(38, f"clone is not known on {os.uname().machine}")
    return _syscall(number, "clone", _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)


def prctl(option: int, argument: int = 0, second: int = 0) -> None:
    """prctl(2)."""
    unsigned = ctypes.c_ulong
    _check(_libc.prctl(option, unsigned(argument), unsigned(second), unsigned(0), unsigned(0)), "prctl")


def name_process(name: str) -> None:
    """Set what ps shows of this process (at most 15 bytes)."""
    held = ctypes.create_string_buffer(name.encode())
    prctl(PR_SET_NAME, ctypes.addressof(held))


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set this process's capabilities; each argument is a bit mask."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0), 8)
    sets = (effective, permitted, inheritable)
    low = struct.pack("=III", *(value & 0xFFFFFFFF for value in sets))
    high = struct.pack("=III", *(value >> 32 for value in sets))
    _check(_libc.capset(header, ctypes.create_string_buffer(low + high, 24)), "capset")


def install_filter(program: bytes) -> None:
    """Put a seccomp filter (struct sock_filter[]) on this process and its children."""
    held = ctypes.create_string_buffer(program, len(program))
    described = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(held)))
    arguments = (_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_SPEC_ALLOW, described)
    _syscall(_SYS_SECCOMP[os.uname().machine], "seccomp", *arguments)


def watch_deletions(folder: str) -> int:
    """Return a descriptor that becomes readable when an entry of the folder is deleted or moved away (inotify)."""
    fd = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    _check(fd, "inotify_init1")
    _check(_libc.inotify_add_watch(fd, os.fsencode(folder), _IN_MOVED_FROM | _IN_DELETE), f"watch {folder}")
    return int(fd)


def permitted_capabilities() -> int:
    """Return the bit mask of what this process may make effective."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0), 8)
    data = ctypes.create_string_buffer(24)
    _check(_libc.capget(header, data), "capget")
    words = struct.unpack("=6I", data.raw)
    return int(words[1] | words[4] << 32)


def start_time(pid: int | str, proc: int | None = None) -> str:
    """Return when a process began, in clock ticks since boot: with the pid, it names a process for good.

    `proc` is an open /proc in which the pid counts, where that is not the one at /proc.
    """
    fd = os.open(
        f"{pid}/stat" if proc is not None else f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc
    )
    with open(fd, "rb") as file:
        return file.read().rpartition(b")")[2].split()[19].decode()


def _check(result: int, doing: str) -> None:
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{os.strerror(code)} ({doing})")


def _syscall(number: int, doing: str, *arguments: object) -> int:
    result = _libc.syscall(ctypes.c_long(number), *map(_argument, arguments))
    _check(result, doing)
    return int(result)


def _argument(value: object) -> object:
    return ctypes.c_long(value) if isinstance(value, int) else value
