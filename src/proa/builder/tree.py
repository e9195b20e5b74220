"""Read files of a build's sources (the context, another stage, an image) without ever leaving them.

Paths are relative to the tree's root, with `/` between names. Symbolic links are resolved as if the tree's root were
`/` (openat2, RESOLVE_IN_ROOT), so a link in a hostile context leads to nothing of this machine. What the tree's
.dockerignore names is not there.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from proa.builder.ignore import Ignore, pattern_to_regex
from proa.node.noded import linux

MAX_ENTRIES = 2_000_000
_WILDCARDS = re.compile(r"[*?\[\\]")
KEPT_XATTRS = ("security.capability",)


class MissingSource(Exception):
    """A source is not there, or is left out by .dockerignore."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a tree: its `path` there, and where it is `below` what was asked for ("" is that itself)."""

    path: str
    below: str
    found: os.stat_result


class Tree:
    """A folder as a source. `owned` keeps its files' owners; the context's belong to root in the image."""

    def __init__(self, directory: str, ignore: Ignore | None = None, *, owned: bool = True) -> None:
        self.fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.owned = owned
        self._top = os.readlink(f"/proc/self/fd/{self.fd}").rstrip("/")
        self._ignore = ignore or Ignore()

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self.fd)

    def resolve(self, path: str) -> str:
        """Return where a path leads, all symbolic links followed; raise MissingSource."""
        try:
            opened = linux.open_in_root(self.fd, path)
        except (FileNotFoundError, NotADirectoryError):
            raise MissingSource(f'"{path}" is not there') from None
        except OSError as error:
            raise MissingSource(f'"{path}" cannot be read: {error.strerror}') from None
        try:
            real = os.readlink(f"/proc/self/fd/{opened}")
        finally:
            os.close(opened)
        found = real[len(self._top) :].strip("/")
        if self._is_left_out(found) or self._is_left_out(_plain(path)):
            raise MissingSource(f'"{path}" is left out by .dockerignore')
        return found

    def glob(self, pattern: str) -> list[str]:
        """Return the paths that a pattern of filepath.Match (`*`, `?`, `[a-z]`, within one name) matches, in order."""
        plain = _plain(pattern)
        if not _WILDCARDS.search(plain):
            return [plain]
        found = [""]
        for part in plain.split("/"):
            if not _WILDCARDS.search(part):
                found = [f"{above}/{part}" if above else part for above in found]
                continue
            matches = pattern_to_regex(part.replace("**", "*"))
            found = [
                f"{above}/{name}" if above else name
                for above in found
                for name in self._names(above)
                if matches.fullmatch(name)
            ]
        return [path for path in found if self._is_there(path)]

    def entries(self, path: str) -> Iterator[Entry]:
        """Yield a resolved path and, where it is a folder, all below it in order; links in it are not followed."""
        count = 0
        waiting = [(path, "")]
        while waiting:
            here, below = waiting.pop()
            found = self.stat(here)
            is_folder = stat.S_ISDIR(found.st_mode)
            left_out = self._is_left_out(here)
            if not left_out:
                count += 1
                if count > MAX_ENTRIES:
                    raise MissingSource(f'"{path}" has more than {MAX_ENTRIES} files')
                yield Entry(here, below, found)
            if is_folder and (not left_out or self._ignore.may_take_back):
                names = sorted(os.listdir(self.at(here)), reverse=True)
                waiting += [
                    (f"{here}/{name}" if here else name, f"{below}/{name}" if below else name)
                    for name in names
                ]

    def stat(self, path: str) -> os.stat_result:
        """Return what a path's own entry says."""
        return os.lstat(self.at(path))

    def at(self, path: str) -> str:
        """Return a path with which a resolved entry, and it alone, can be opened."""
        return f"/proc/self/fd/{self.fd}/{path}" if path else f"/proc/self/fd/{self.fd}/."

    def open(self, path: str) -> int:
        """Open a resolved regular file."""
        return os.open(self.at(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def digest(self, paths: list[str], exclude: Ignore) -> str:
        """Return what names the contents of these resolved paths: names, kinds, modes, owners, bytes; not times."""
        whole = hashlib.sha256()
        for number, path in enumerate(paths):
            for entry in self.entries(path):
                if exclude.excludes(entry.below):
                    continue
                found = entry.found
                owner = (found.st_uid, found.st_gid) if self.owned else (0, 0)
                about = (
                    number,
                    entry.below,
                    found.st_mode,
                    *owner,
                    self._content(entry),
                    read_attributes(self.at(entry.path)),
                )
                whole.update(repr(about).encode("utf-8", "surrogateescape") + b"\n")
        return whole.hexdigest()

    def _content(self, entry: Entry) -> str:
        kind = stat.S_IFMT(entry.found.st_mode)
        if kind == stat.S_IFLNK:
            return os.readlink(self.at(entry.path))
        if kind != stat.S_IFREG:
            return str(entry.found.st_rdev)
        with os.fdopen(self.open(entry.path), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _names(self, folder: str) -> list[str]:
        try:
            opened = linux.open_in_root(self.fd, folder, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return []
        try:
            return sorted(os.listdir(opened))
        finally:
            os.close(opened)

    def _is_there(self, path: str) -> bool:
        try:
            self.resolve(path)
        except MissingSource:
            return False
        return True

    def _is_left_out(self, path: str) -> bool:
        return self._ignore.excludes(path)


def read_attributes(path: str) -> list[tuple[str, bytes]]:
    """Return the extended attributes of a path's own entry that images keep."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return []
    kept = [
        n for n in names if n in KEPT_XATTRS or (n.startswith("user.") and not n.startswith("user.overlay."))
    ]
    return [(name, os.getxattr(path, name, follow_symlinks=False)) for name in sorted(kept)]


def _plain(path: str) -> str:
    """Return a path relative to the root: `..` stops there."""
    return os.path.normpath("/" + path).lstrip("/")
