"""Give volumes memory instead of disk, and count what folders take: only noded can, whose users the files belong to.

Counting is done by a child of its own, for folders may be large. Source: pkg/volume/emptydir/empty_dir.go,
pkg/volume/util/fs/fs.go (DiskUsage).
"""

from __future__ import annotations

import contextlib
import json
import os
import stat

from proa.node.noded import linux
from proa.node.noded.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from proa.node.noded.loop import Loop

_BLOCK_BYTES = 512  # of st_blocks, whatever the file system's own


def mount_memory(path: str, size_bytes: int, group: int | None) -> None:
    """Mount a tmpfs at `path` for everybody, or for a group (fsGroup); one that is there keeps what it holds."""
    if os.path.ismount(path):
        return
    options = f"size={size_bytes}," + (f"mode=2777,gid={group}" if group is not None else "mode=777")
    linux.mount("tmpfs", path, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options)


def count(folder: str) -> tuple[int, int]:
    """Return (bytes, inodes) of what is below a folder, on its file system; (0, 0) where there is no folder.

    What cannot be looked at (it goes meanwhile, its name is too long) counts nothing.
    """
    try:
        device = os.lstat(folder).st_dev
    except FileNotFoundError:
        return 0, 0
    total, seen, waiting = 0, set(), [folder]
    while waiting:
        above = waiting.pop()
        try:
            held = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            for name in os.listdir(held):
                with contextlib.suppress(OSError):
                    found = os.stat(name, dir_fd=held, follow_symlinks=False)
                    if found.st_dev != device or found.st_ino in seen:
                        continue
                    seen.add(found.st_ino)
                    total += found.st_blocks * _BLOCK_BYTES
                    if stat.S_ISDIR(found.st_mode):
                        waiting.append(f"{above}/{name}")
        finally:
            os.close(held)
    return total, len(seen)


def count_aside(folders: list[str], done: Callable[[list[tuple[int, int]]], None], loop: Loop) -> None:
    """Count in a child, and call `done` with what each folder takes; with nothing where the child failed."""
    ours, theirs = os.pipe()
    if os.fork() == 0:
        code = 1
        try:
            os.nice(10)
            with os.fdopen(theirs, "w") as pipe:
                json.dump([count(folder) for folder in folders], pipe)
            code = 0
        finally:
            os._exit(code)
    os.close(theirs)
    said = bytearray()

    def read(_ready: int) -> None:
        piece = os.read(ours, 65536)
        said.extend(piece)
        if piece:
            return
        loop.forget(ours)
        os.close(ours)
        done([(size, inodes) for size, inodes in json.loads(said or b"[]")])

    loop.watch(ours, READ, read)
