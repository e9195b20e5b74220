"""Put a source's files into a stage's root as COPY and ADD do.

A folder's contents are copied, not itself; what is there already stays and is merged into; a link given as source is
followed, links inside are copied as links. The target's links are resolved within the stage's root, so nothing is
written outside of it. Rules: BuildKit's solver/llbsolver/file/backend.go and tonistiigi/fsutil/copy/copy.go.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import stat
from dataclasses import dataclass, field

from proa.builder.ignore import Ignore
from proa.builder.tree import Entry, Tree, read_attributes
from proa.node.noded import linux

_MAX_LINKS = 40
_PIECE = 8 << 20


class CannotCopy(Exception):
    """What is asked for would put a file where a folder is, or the other way round."""


@dataclass(frozen=True, slots=True)
class How:
    """What copied files get: an owner and a mode, None to keep their own; `exclude` is relative to each source."""

    owner: tuple[int, int] | None = None
    mode: int | None = None
    exclude: Ignore = field(default_factory=Ignore)


class Target:
    """A stage's root as what is copied into. `root` is a descriptor of it."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._links: dict[tuple[int, int], str] = {}

    def is_folder(self, path: str) -> bool:
        """Tell whether a path leads to a folder."""
        try:
            opened = linux.open_in_root(self._root, path)
        except OSError:
            return False
        try:
            return stat.S_ISDIR(os.fstat(opened).st_mode)
        finally:
            os.close(opened)

    def make_folders(
        self, path: str, owner: tuple[int, int] | None = None, links: int = _MAX_LINKS
    ) -> tuple[int, bool]:
        """Return a descriptor of the folder at `path`, made with those above it (0755), and whether it was made."""
        try:
            return linux.open_in_root(self._root, path, os.O_RDONLY | os.O_DIRECTORY), False
        except FileNotFoundError:
            if links <= 0:
                raise
        except NotADirectoryError:
            raise CannotCopy(f"{path} is no folder") from None
        above, name = posixpath.split(posixpath.normpath("/" + path.lstrip("/")))
        parent, _ = self.make_folders(above, owner, links - 1)
        try:
            with contextlib.suppress(OSError):
                leads = posixpath.join(above, os.readlink(name, dir_fd=parent))
                return self.make_folders(leads, owner, links - 1)
            os.mkdir(name, 0o755, dir_fd=parent)
            os.chmod(name, 0o755, dir_fd=parent)  # noqa: S103
            opened = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        finally:
            os.close(parent)
        if owner is not None:
            self._own(owner, opened, ".")
        return opened, True

    def copy(self, tree: Tree, source: str, path: str, how: How) -> None:
        """Copy a resolved source to `path`: as that name, or into it where it ends in `/` or is a folder."""
        found = tree.stat(source)
        if stat.S_ISDIR(found.st_mode):
            self._copy_contents(tree, source, path, how)
            return
        into = path.endswith("/") or self.is_folder(path)
        if into:
            self.copy_file(
                tree, Entry(source, "", found), posixpath.join(path, posixpath.basename(source)), how
            )
        else:
            self.copy_file(tree, Entry(source, "", found), self._follow(path), how)

    def copy_file(self, tree: Tree, entry: Entry, path: str, how: How) -> None:
        """Copy one file to exactly this path."""
        above, name = posixpath.split(path)
        parent, _ = self.make_folders(above, how.owner)
        try:
            self._place(tree, entry, parent, name, how)
        finally:
            os.close(parent)

    def _follow(self, path: str) -> str:
        """Return where a file's path leads when it is a symbolic link."""
        for _ in range(_MAX_LINKS):
            above, name = posixpath.split(posixpath.normpath("/" + path.lstrip("/")))
            try:
                parent = linux.open_in_root(self._root, above)
            except OSError:
                return path
            try:
                path = posixpath.join(above, os.readlink(name, dir_fd=parent))
            except OSError:
                return path
            finally:
                os.close(parent)
        raise CannotCopy(f"{path}: {os.strerror(errno.ELOOP).lower()}")

    def _copy_contents(self, tree: Tree, source: str, path: str, how: How) -> None:
        """Copy what is in a folder; a folder gets its time when all is in it. Open are only those on the way."""
        top, made = self.make_folders(path, how.owner)
        stack: list[tuple[str, int, Entry | None]] = [("", top, None)]
        try:
            for entry in tree.entries(source):
                if how.exclude.excludes(entry.below):
                    continue
                if not entry.below:
                    stack[0] = ("", top, entry if made else None)
                    continue
                above, name = posixpath.split(entry.below)
                self._walk_to(stack, tree, above, how)
                parent = stack[-1][1]
                if stat.S_ISDIR(entry.found.st_mode):
                    stack.append((entry.below, self._make_folder(parent, name), entry))
                else:
                    self._place(tree, entry, parent, name, how)
            while stack:
                self._leave(stack, tree, how)
        finally:
            for _, opened, _ in stack:
                os.close(opened)

    def _walk_to(self, stack: list[tuple[str, int, Entry | None]], tree: Tree, path: str, how: How) -> None:
        """Have the folder `path` on top of the stack; those on the way whose own entry was left out are made."""
        while stack[-1][0] and stack[-1][0] != path and not path.startswith(stack[-1][0] + "/"):
            self._leave(stack, tree, how)
        missing = path[len(stack[-1][0]) :].strip("/")
        for name in missing.split("/") if missing else ():
            below = posixpath.join(stack[-1][0], name)
            stack.append((below, self._make_folder(stack[-1][1], name), None))

    def _leave(self, stack: list[tuple[str, int, Entry | None]], tree: Tree, how: How) -> None:
        _, opened, entry = stack[-1]
        if entry is not None:
            self._give(tree, entry, opened, ".", how)
        stack.pop()
        os.close(opened)

    def _make_folder(self, parent: int, name: str) -> int:
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
            os.chmod(name, 0o755, dir_fd=parent)  # noqa: S103
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise CannotCopy(f"cannot copy to non-directory: {_where(parent, name)}") from None
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)

    def _place(self, tree: Tree, entry: Entry, parent: int, name: str, how: How) -> None:
        """Make one file, link or device, in place of what is not a folder there."""
        try:
            there = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(there.st_mode):
                raise CannotCopy(f"cannot replace a folder with a file: {_where(parent, name)}")
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            pass
        found, kind = entry.found, stat.S_IFMT(entry.found.st_mode)
        if kind == stat.S_IFREG:
            if found.st_nlink > 1 and self._link(found, parent, name):
                return
            self._copy_bytes(tree, entry, parent, name)
        elif kind == stat.S_IFLNK:
            os.symlink(os.readlink(tree.at(entry.path)), name, dir_fd=parent)
        elif kind == stat.S_IFIFO:
            os.mkfifo(name, 0o600, dir_fd=parent)
        elif kind in (stat.S_IFCHR, stat.S_IFBLK) and found.st_rdev:
            os.mknod(name, kind | 0o600, found.st_rdev, dir_fd=parent)
        else:
            return  # sockets mean nothing without who listens
        self._give(tree, entry, parent, name, how)

    def _link(self, found: os.stat_result, parent: int, name: str) -> bool:
        """Make it a link to the file that was copied for another name of it; False when it is the first."""
        here = _where(parent, name)
        first = self._links.setdefault((found.st_dev, found.st_ino), here)
        if first == here:
            return False
        try:
            os.link(first, name, dst_dir_fd=parent, follow_symlinks=False)
        except OSError:
            return False
        return True

    def _own(self, owner: tuple[int, int], parent: int, name: str) -> None:
        """Give a file away, to one of the users that there are: without subordinate ids that is root alone."""
        try:
            os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise

    def _copy_bytes(self, tree: Tree, entry: Entry, parent: int, name: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        source = tree.open(entry.path)
        try:
            target = os.open(name, flags, 0o600, dir_fd=parent)
            try:
                _copy_all(source, target)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _give(self, tree: Tree, entry: Entry, parent: int, name: str, how: How) -> None:
        """Give what was made its owner, mode, attributes and time, in an order in which none undoes another."""
        found = entry.found
        own = (found.st_uid, found.st_gid) if tree.owned else (0, 0)
        owner = own if how.owner is None else how.owner
        if owner != _owner(parent, name):
            self._own(owner, parent, name)
        if not stat.S_ISLNK(found.st_mode):
            os.chmod(name, stat.S_IMODE(found.st_mode) if how.mode is None else how.mode, dir_fd=parent)
            for attribute, value in read_attributes(tree.at(entry.path)):
                with contextlib.suppress(PermissionError):  # capabilities of files are root's to give
                    os.setxattr(f"/proc/self/fd/{parent}/{name}", attribute, value)
        os.utime(name, ns=(found.st_mtime_ns, found.st_mtime_ns), dir_fd=parent, follow_symlinks=False)


def _owner(parent: int, name: str) -> tuple[int, int]:
    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    return found.st_uid, found.st_gid


def _copy_all(source: int, target: int) -> None:
    try:
        while os.copy_file_range(source, target, _PIECE):
            pass
        return
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM):
            raise
    while piece := os.read(source, _PIECE):
        view = memoryview(piece)
        while view:
            view = view[os.write(target, view) :]


def _where(parent: int, name: str) -> str:
    return posixpath.join(os.readlink(f"/proc/self/fd/{parent}"), name)
