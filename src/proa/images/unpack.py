"""Unpack a layer's archive into an empty folder that an overlay can have as a lower layer; refuse what harms.

Theory of operation. Each layer is unpacked by itself, into a folder nobody else knows yet, so what was made there is
known without asking the disk: `_kinds` has every path. A path whose parent is not a folder of this very archive (a
symbolic link, a file) is refused, so nothing is ever written through a link; names with `..` and hard links to what
is not in the archive are refused too. Absolute names count from the layer's root, as in containerd.
Whiteouts become what overlayfs understands: a 0:0 character device and an opaque attribute, or attributes alone where
such a device cannot be made (a store on an overlay; Linux 6.7). Follows image-spec layer.md and the kernel's
Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tarfile
from typing import BinaryIO, NamedTuple

from proa.images.errors import InvalidImage, TooLarge, UnsafeArchive
from proa.images.tar_stream import TarStream

MAX_ENTRIES = 2_000_000
MAX_PATH_BYTES = 4095
MAX_DEPTH = 256
MIN_FREE_BYTES = 64 << 20
_WHITEOUT, _OPAQUE, _META = ".wh.", ".wh..wh..opq", ".wh..wh."
_XATTR = "SCHILY.xattr."
_FREE_EVERY_BYTES = 64 << 20


class Means(NamedTuple):
    """What this process may do: give files to other users, make devices, and how overlayfs marks are written.

    `prefix` is "trusted.overlay." as root and "user.overlay." in a user namespace.
    """

    owners: bool
    devices: bool
    whiteout_devices: bool
    prefix: str


class Unpacked(NamedTuple):
    """What was unpacked: the digest of the archive, the bytes and the number of its files."""

    diff_id: str
    size: int
    entries: int


def unpack(file: BinaryIO, directory: str, means: Means, limit: int) -> Unpacked:
    """Unpack an archive (plain, gzip or zstd) into an empty folder; raise InvalidImage."""
    stream = TarStream(file, limit)
    tree = _Tree(directory, means)
    try:
        try:
            with tarfile.open(fileobj=stream, mode="r:", errorlevel=2) as archive:  # type: ignore[call-overload]
                _unpack_members(archive, stream, tree)
        except tarfile.ReadError as error:
            if str(error) != "empty file":
                raise
        tree.finish()
    except (tarfile.TarError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidImage(f"the layer is no tar archive that can be read: {error}") from error
    finally:
        tree.close()
    return Unpacked(stream.digest(), tree.size, tree.entries)


def _unpack_members(archive: tarfile.TarFile, stream: TarStream, tree: _Tree) -> None:
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
        tree.add(member, stream)


class _Tree:
    """A layer's folder while it is filled. Paths are relative to it, "" is itself."""

    def __init__(self, directory: str, means: Means) -> None:
        self._root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._means = means
        self._kinds: dict[str, str] = {"": "folder"}
        self._folders: dict[str, tarfile.TarInfo] = {}
        self._cached = ("", self._root)
        self._unchecked = 0
        self.size = 0
        self.entries = 0

    def close(self) -> None:
        if self._cached[1] != self._root:
            os.close(self._cached[1])
        os.close(self._root)

    def add(self, member: tarfile.TarInfo, stream: TarStream) -> None:
        """Make one of the archive's entries."""
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise TooLarge(f"the layer has more than {MAX_ENTRIES} entries")
        path = _clean(member.name)
        above, _, name = path.rpartition("/")
        if name.startswith(_WHITEOUT):
            self._add_whiteout(above, name)
            return
        if member.isdir():
            self._add_folder(path, member)
            return
        if not path:
            raise UnsafeArchive(f"{member.name!r} would replace the root of the layer")
        if (member.ischr() or member.isblk()) and not self._is_made(member):
            return
        parent = self._parent(above, member.name)
        self._clear(path, name, parent)
        if member.isreg():
            self._add_file(name, parent, member, stream)
        elif member.islnk():
            self._add_hard_link(name, parent, member)
        elif member.issym():
            if not member.linkname or len(os.fsencode(member.linkname)) > MAX_PATH_BYTES:
                raise UnsafeArchive(f"{member.name!r} is a symbolic link to nowhere")
            os.symlink(member.linkname, name, dir_fd=parent)
        else:
            self._add_special(name, parent, member)
        self._kinds[path] = "link" if member.issym() else self._kinds.get(_clean_link(member), "other")
        if not member.islnk():
            self._set_owner(name, parent, member)
            if not member.issym():
                os.chmod(name, member.mode & 0o7777, dir_fd=parent)
            self._set_attributes(path, member)
            _set_time(name, parent, member)

    def finish(self) -> None:
        """Give folders their times, now that nothing is put into them any more."""
        for path, member in self._folders.items():
            if self._kinds.get(path) == "folder":
                _set_time(path or ".", self._root, member)

    def _parent(self, above: str, asked: str) -> int:
        """Return a descriptor of a folder of this layer, which is made where the archive did not mention it."""
        if not above:
            return self._root
        if above == self._cached[0]:
            return self._cached[1]
        if self._kinds.get(above) != "folder":
            self._make_folders(above, asked)
        opened = os.open(
            above, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._root
        )
        if self._cached[1] != self._root:
            os.close(self._cached[1])
        self._cached = (above, opened)
        return opened

    def _make_folders(self, path: str, asked: str) -> None:
        made = ""
        for part in path.split("/"):
            made = f"{made}/{part}" if made else part
            kind = self._kinds.get(made)
            if kind == "whiteout":
                self._remove_whiteout(made)
                self._make_folder(made)
                self._make_opaque(made)
            elif kind is None:
                self._make_folder(made)
            elif kind != "folder":
                what = "a symbolic link" if kind == "link" else "no folder"
                raise UnsafeArchive(f"{asked!r} would be written through {made!r}, which is {what}")

    def _make_folder(self, path: str) -> None:
        os.mkdir(path, 0o755, dir_fd=self._root)
        os.chmod(path, 0o755, dir_fd=self._root)  # noqa: S103
        self._kinds[path] = "folder"

    def _add_folder(self, path: str, member: tarfile.TarInfo) -> None:
        was = self._kinds.get(path)
        if was != "folder":
            above, _, name = path.rpartition("/")
            self._clear(path, name, self._parent(above, member.name))
            self._make_folder(path)
            if was == "whiteout":
                self._make_opaque(path)
        place = path or "."
        self._set_owner(place, self._root, member)
        os.chmod(place, member.mode & 0o7777, dir_fd=self._root)
        self._set_attributes(path, member)
        self._folders[path] = member

    def _clear(self, path: str, name: str, parent: int) -> None:
        """Make room for an entry that comes again, as something else or a second time."""
        kind = self._kinds.pop(path, None)
        if kind == "folder":
            if f"{self._cached[0]}/".startswith(f"{path}/"):
                os.close(self._cached[1])
                self._cached = ("", self._root)
            shutil.rmtree(name, dir_fd=parent)
            for below in [p for p in self._kinds if p.startswith(path + "/")]:
                del self._kinds[below]
        elif kind is not None:
            os.unlink(name, dir_fd=parent)

    def _add_file(self, name: str, parent: int, member: tarfile.TarInfo, stream: TarStream) -> None:
        if member.issparse():
            raise InvalidImage(f"{member.name!r} is stored as a sparse file, which images do not have")
        self._check_space(member.size)
        stream.seek(member.offset_data)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o600, dir_fd=parent)
        try:
            stream.copy_to(descriptor, member.size)
        finally:
            os.close(descriptor)
        self.size += member.size

    def _check_space(self, size: int) -> None:
        """Leave some of the disk free: what fills it stops more than this image."""
        self._unchecked += size
        if self._unchecked < _FREE_EVERY_BYTES:
            return
        self._unchecked = size
        found = os.fstatvfs(self._root)
        if found.f_bavail * found.f_frsize < size + MIN_FREE_BYTES:
            raise OSError(errno.ENOSPC, "no space left on device for this layer")

    def _add_hard_link(self, name: str, parent: int, member: tarfile.TarInfo) -> None:
        target = _clean(member.linkname)
        kind = self._kinds.get(target)
        if kind is None or kind in ("folder", "whiteout"):
            raise UnsafeArchive(
                f"{member.name!r} is a hard link to {member.linkname!r}, which is no file of this layer"
            )
        os.link(target, name, src_dir_fd=self._root, dst_dir_fd=parent, follow_symlinks=False)

    def _is_made(self, member: tarfile.TarInfo) -> bool:
        """Tell whether a device file is made: without root it is left out, for nobody could open it anyway."""
        if member.ischr() and os.makedev(member.devmajor, member.devminor) == 0:
            raise UnsafeArchive(
                f"{member.name!r} is a 0:0 device, with which a layer would hide what is below"
            )
        return self._means.devices

    def _add_special(self, name: str, parent: int, member: tarfile.TarInfo) -> None:
        if member.isfifo():
            os.mkfifo(name, 0o600, dir_fd=parent)
            return
        if not (member.ischr() or member.isblk()):
            raise InvalidImage(f"{member.name!r} is of a type ({member.type!r}) that images do not have")
        number = os.makedev(member.devmajor, member.devminor)
        os.mknod(name, 0o600 | (stat.S_IFCHR if member.ischr() else stat.S_IFBLK), number, dir_fd=parent)

    # Whiteouts

    def _add_whiteout(self, above: str, name: str) -> None:
        parent = self._parent(above, name)
        if name == _OPAQUE:
            self._make_opaque(above)
            return
        hidden = name.removeprefix(_WHITEOUT)
        if name.startswith(_META):
            return  # what AUFS kept for itself
        if hidden in ("", ".", ".."):
            raise UnsafeArchive(f"{name!r} hides nothing that has a name")
        path = f"{above}/{hidden}" if above else hidden
        if path in self._kinds:
            return  # it hides what is below, not what this layer has
        self._kinds[path] = "whiteout"
        if self._means.whiteout_devices:
            os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent)
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(hidden, flags, 0o600, dir_fd=parent)
        try:
            os.setxattr(descriptor, self._means.prefix + "whiteout", b"y")
        finally:
            os.close(descriptor)
        mark = self._means.prefix + "opaque"
        if mark not in os.listxattr(parent):
            os.setxattr(parent, mark, b"x")

    def _remove_whiteout(self, path: str) -> None:
        os.unlink(path, dir_fd=self._root)
        del self._kinds[path]

    def _make_opaque(self, path: str) -> None:
        os.setxattr(self._at(path), self._means.prefix + "opaque", b"y")

    # What belongs to an entry

    def _set_owner(self, name: str, parent: int, member: tarfile.TarInfo) -> None:
        if not self._means.owners:
            return
        try:
            os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise InvalidImage(
                f"{member.name!r} belongs to {member.uid}:{member.gid}, which is beyond this user's subordinate "
                "ids: give it more in /etc/subuid and /etc/subgid"
            ) from error

    def _set_attributes(self, path: str, member: tarfile.TarInfo) -> None:
        for key, value in member.pax_headers.items():
            name = key.removeprefix(_XATTR)
            kept = name == "security.capability" or name.startswith("user.")
            if name == key or not kept or name.startswith("user.overlay."):
                continue
            with contextlib.suppress(*_xattr_refusals(self._means)):
                data = value.encode("utf-8", "surrogateescape")
                os.setxattr(self._at(path), name, data, follow_symlinks=False)

    def _at(self, path: str) -> str:
        return f"/proc/self/fd/{self._root}/{path}"


def _xattr_refusals(means: Means) -> tuple[type[OSError], ...]:
    """A file system without attributes, or a user that may not set them, loses them: images do without."""
    return (OSError,) if not means.owners else (PermissionError,)


def _clean(name: str) -> str:
    """Return a path below the layer's root; raise UnsafeArchive."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise UnsafeArchive(f"{name!r} leads out of the layer")
    path = "/".join(parts)
    if "\0" in path or len(os.fsencode(path)) > MAX_PATH_BYTES or len(parts) > MAX_DEPTH:
        raise UnsafeArchive(f"a name of {len(name)} characters in {len(parts)} folders is no file's")
    return path


def _clean_link(member: tarfile.TarInfo) -> str:
    return _clean(member.linkname) if member.islnk() else "\0"


def _set_time(name: str, parent: int, member: tarfile.TarInfo) -> None:
    nanoseconds = int(float(member.pax_headers.get("mtime", member.mtime)) * 1_000_000_000)
    nanoseconds = min(max(nanoseconds, -(1 << 62)), 1 << 62)
    with contextlib.suppress(OverflowError):
        os.utime(name, ns=(nanoseconds, nanoseconds), dir_fd=parent, follow_symlinks=False)
