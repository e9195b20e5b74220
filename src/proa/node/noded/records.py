"""Keep what is known of every sandbox and container on disk, so that the answer outlives whoever asked.

One JSON file each, replaced atomically (rename) and not synced: after a power failure nothing runs any more, and a
record that is missing or torn means the same as one that ended. What a full disk does not take is kept in memory, and
written with the next record that it takes.
"""

from __future__ import annotations

import json
import os
import stat

from proa.node.noded import faults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Record = dict[str, Any]


_MAX_DEPTH = 100


class Records:
    """The records of one kind in one folder, by id, in memory and on disk."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        os.makedirs(directory, exist_ok=True)
        self.items: dict[str, Record] = {}
        self._unwritten: dict[str, None] = {}
        for name in sorted(os.listdir(directory)):
            if name.endswith(".json"):
                self._load(name)

    def save(self, record: Record) -> None:
        """Keep a record: on disk whole or, where that is full, later."""
        self.items[record["id"]] = record
        self._unwritten[record["id"]] = None
        try:
            for identifier in list(self._unwritten):
                self._write(self.items[identifier])
                del self._unwritten[identifier]
        except OSError:
            faults.log()

    def _write(self, record: Record) -> None:
        path = f"{self._directory}/{record['id']}.json"
        fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(json.dumps(record, separators=(",", ":")).encode())
            while view:
                view = view[os.write(fd, view) :]
        finally:
            os.close(fd)
        os.rename(path + ".new", path)

    def remove(self, identifier: str) -> None:
        """Forget a record; one that is not there is no error."""
        self.items.pop(identifier, None)
        self._unwritten.pop(identifier, None)
        try:
            os.unlink(f"{self._directory}/{identifier}.json")
        except FileNotFoundError:
            return

    def _load(self, name: str) -> None:
        try:
            with open(f"{self._directory}/{name}", "rb") as file:
                record = json.load(file)
        except ValueError:
            os.unlink(f"{self._directory}/{name}")  # torn by a power failure
            return
        self.items[record["id"]] = record


def remove_tree(path: str) -> None:
    """Remove a folder with everything in it, following no symbolic link; what is gone already is no error."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except PermissionError:
        os.chmod(path, 0o700)  # an overlay's work folder has mode 0
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while names := os.listdir(fd):
            for name in names:
                _remove(name, fd, fd, _MAX_DEPTH)
    finally:
        os.close(fd)
    os.rmdir(path)


def _remove(name: str, parent: int, top: int, depth: int) -> None:
    """Remove an entry; folders at the depth are moved up to `top`, so that no depth is too much for us."""
    if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        _unlink(name, parent)
        return
    inner = _open_folder(name, parent)
    try:
        for below in os.listdir(inner):
            if depth:
                _remove(below, inner, top, depth - 1)
            else:
                os.rename(below, f".{os.urandom(8).hex()}", src_dir_fd=inner, dst_dir_fd=top)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=parent)


def _unlink(name: str, fd: int) -> None:
    try:
        os.unlink(name, dir_fd=fd)
    except PermissionError:
        os.fchmod(fd, 0o700)
        os.unlink(name, dir_fd=fd)


def _open_folder(name: str, fd: int) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=fd)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=fd)
        return os.open(name, flags, dir_fd=fd)
