"""Make a stage's files the root of a step's process, with the kernel's files and what the step alone is to see.

As a container's root (node/noded/rootfs.py): /proc, /sys and /dev with the default devices, masks, and every target
resolved inside the root. What has to be made to be mounted on is a stub, which goes again, so that no layer holds it.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
from dataclasses import dataclass

from proa.node.noded import linux
from proa.node.noded.child import StartFailure
from proa.node.noded.rootfs import DEVICES, MASKED_PROC, READONLY_PROC

_QUIET = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
_LINKS = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
          "stderr": "/proc/self/fd/2"}  # fmt: skip
_KERNEL_FOLDERS = ("proc", "sys", "dev")
PIPES = "/dev/pipes"


@dataclass(frozen=True, slots=True)
class Shown:
    """A file or folder to be seen at `target` while a step runs; a tmpfs of `size_bytes` where `source` is ""."""

    source: str
    target: str
    read_only: bool = False
    size_bytes: int = 0
    mode: int = 0o1777


class Stubs:
    """What was made in a root to be mounted on."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._top = os.readlink(f"/proc/self/fd/{root}")
        self._made: list[tuple[str, str, tuple[int, int]]] = []
        self._before: dict[str, os.stat_result] = {}

    def ensure(self, path: str, *, folder: bool) -> None:
        """Have something at `path` to mount on; a link that leads to nothing has its target made."""
        path = self._leads(posixpath.normpath("/" + path.lstrip("/")))
        with contextlib.suppress(FileNotFoundError):
            os.close(linux.open_in_root(self._root, path))
            return
        above, name = posixpath.split(path)
        if above != "/":
            self.ensure(above, folder=True)
        parent = linux.open_in_root(self._root, above, os.O_RDONLY | os.O_DIRECTORY)
        try:
            before = os.fstat(parent)
            self._note(os.readlink(f"/proc/self/fd/{parent}")[len(self._top) :])
            if folder:
                os.mkdir(name, 0o755, dir_fd=parent)
            else:
                flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
                os.close(os.open(name, flags, 0o644, dir_fd=parent))
            self._made.append((above, name, (before.st_atime_ns, before.st_mtime_ns)))
        finally:
            os.close(parent)

    def _note(self, path: str) -> None:
        """Remember what a folder, and those above it, were before: writing to it copies them into the layer."""
        while path not in ("", "/") and path not in self._before:
            self._before[path] = os.stat(self._top + path)
            path = posixpath.dirname(path)

    def remove(self) -> None:
        """Remove again what is still as it was made, and give the folders above it their times back."""
        for above, name, times in reversed(self._made):
            with contextlib.suppress(OSError):
                parent = linux.open_in_root(self._root, above, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
                    if stat.S_ISDIR(found.st_mode):
                        os.rmdir(name, dir_fd=parent)
                    elif stat.S_ISREG(found.st_mode) and not found.st_size:
                        os.unlink(name, dir_fd=parent)
                    os.utime(parent, ns=times)
                finally:
                    os.close(parent)

    def forget_folders(self, upper: str) -> None:
        """Remove from a layer the folders that are in it only because of stubs. Call it when nothing is mounted."""
        for path in sorted(self._before, key=lambda one: one.count("/"), reverse=True):
            if _is_as_before(upper + path, self._before[path]):
                above = upper + posixpath.dirname(path)
                found = os.stat(above)
                os.rmdir(upper + path)
                os.utime(above, ns=(found.st_atime_ns, found.st_mtime_ns))

    def _leads(self, path: str) -> str:
        for _ in range(40):
            above, name = posixpath.split(path)
            try:
                parent = linux.open_in_root(self._root, above)
            except OSError:
                return path
            try:
                path = posixpath.normpath(posixpath.join(above, os.readlink(name or ".", dir_fd=parent)))
            except OSError:
                return path
            finally:
                os.close(parent)
        return path


def _is_as_before(path: str, before: os.stat_result) -> bool:
    """Tell whether a folder of a layer is empty and says nothing new of itself."""
    try:
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode) or os.listdir(path) or _is_opaque(path):
            return False
    except FileNotFoundError:
        return False
    return all(
        getattr(found, name) == getattr(before, name)
        for name in ("st_mode", "st_uid", "st_gid", "st_mtime_ns")
    )


def _is_opaque(path: str) -> bool:
    return any(name.endswith(".overlay.opaque") for name in os.listxattr(path, follow_symlinks=False))


def prepare(root: int, shown: list[Shown]) -> Stubs:
    """Make what `enter` mounts on, where it is missing. The caller removes it when the step has ended."""
    stubs = Stubs(root)
    for name in _KERNEL_FOLDERS:
        stubs.ensure(f"/{name}", folder=True)
    for one in shown:
        if not one.target.startswith(("/dev/", "/proc/", "/sys/")):
            stubs.ensure(one.target, folder=not one.source or os.path.isdir(one.source))
    return stubs


def enter(directory: str, shown: list[Shown]) -> None:
    """Mount all of it on the root in `directory` and make that `/`. Call it in a new mount namespace."""
    os.chdir(directory)
    for name in _KERNEL_FOLDERS:
        if os.path.islink(name):
            raise StartFailure(f"/{name} is a symbolic link in this stage: nothing can be mounted there")
    root = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    _mount_kernel_files(root)
    _mask()
    for one in shown:
        _show(root, one)
    os.fchdir(root)
    linux.pivot_root_here()
    os.close(root)


def _mount_kernel_files(root: int) -> None:
    linux.mount("proc", "proc", "proc", _QUIET)
    try:
        linux.mount("sysfs", "sys", "sysfs", _QUIET | linux.MS_RDONLY)
    except PermissionError:  # the host's network namespace belongs to another user namespace
        _attach("/sys", linux.open_in_root(root, "/sys"), read_only=True)
    linux.mount("tmpfs", "dev", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=65536k")
    for name in DEVICES:
        os.close(os.open(f"dev/{name}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666))
        _attach(f"/dev/{name}", os.open(f"dev/{name}", os.O_PATH | os.O_CLOEXEC), read_only=False)
    os.mkdir("dev/pts")
    options = "newinstance,ptmxmode=0666,mode=0620"
    linux.mount("devpts", "dev/pts", "devpts", linux.MS_NOSUID | linux.MS_NOEXEC, options)
    os.mkdir("dev/shm")
    linux.mount("tmpfs", "dev/shm", "tmpfs", _QUIET, "mode=1777,size=65536k")
    for name, target in _LINKS.items():
        os.symlink(target, f"dev/{name}")


def _mask() -> None:
    for path in READONLY_PROC:
        if os.path.exists(path[1:]):
            _attach(path[1:], os.open(path[1:], os.O_PATH | os.O_CLOEXEC), read_only=True)
    for path in MASKED_PROC:
        if os.path.isdir(path[1:]):
            linux.mount("tmpfs", path[1:], "tmpfs", linux.MS_RDONLY, "size=0k")
        elif os.path.exists(path[1:]):
            _attach("/dev/null", os.open(path[1:], os.O_PATH | os.O_CLOEXEC), read_only=False)


def _show(root: int, one: Shown) -> None:
    if one.target.startswith("/dev/"):  # our own tmpfs: nothing of the image is there
        os.makedirs(one.target[1:], exist_ok=True)
    target = linux.open_in_root(root, one.target)
    if one.source:
        _attach(one.source, target, read_only=one.read_only, no_devices=True)
        return
    options = f"mode={one.mode:o}" + (f",size={one.size_bytes}" if one.size_bytes else "")
    linux.mount("tmpfs", f"/proc/self/fd/{target}", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options)
    os.close(target)


def _attach(source: str, target: int, *, read_only: bool, no_devices: bool = False) -> None:
    """Show `source`. Without devices where a step may write: root there can make any (CAP_MKNOD), not open them."""
    tree = linux.clone_tree(source)
    attributes = linux.MOUNT_ATTR_NODEV if no_devices else 0
    attributes |= linux.MOUNT_ATTR_RDONLY if read_only else 0
    if attributes:
        linux.set_mount_attributes(tree, attributes)
    linux.attach_tree(tree, target)
    os.close(tree)
    os.close(target)
