"""Give a volume's files to the pod's fsGroup, where this process may.

Follows pkg/volume/volume_linux.go (SetVolumeOwnership).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

READ_WRITE_MASK = 0o660
EXECUTE_MASK = 0o110
SETGID = 0o2000


def set_group(root: Path, group: int, *, only_if_root_differs: bool = False) -> None:
    """Let `group` read and write everything below `root`; new files belong to it too. Raises PermissionError."""
    if only_if_root_differs and _is_right(root, group):
        return
    for _, _, files, folder in os.fwalk(root):
        _give(folder, ".", group, READ_WRITE_MASK | EXECUTE_MASK | SETGID)
        for file in files:
            _give(folder, file, group, READ_WRITE_MASK)


def _is_right(root: Path, group: int) -> bool:
    found = root.stat()
    return found.st_gid == group and bool(found.st_mode & SETGID) and found.st_mode & 0o060 == 0o060


def _give(folder: int, name: str, group: int, mask: int) -> None:
    """Change what has this name now, by descriptor: a pod that shares the volume may put a link there at any moment."""
    try:
        held = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return
    try:
        mode = os.fstat(held).st_mode
        if not stat.S_ISLNK(mode):
            os.chown(f"/proc/self/fd/{held}", -1, group)
            os.chmod(f"/proc/self/fd/{held}", (mode & 0o7777) | mask)
    finally:
        os.close(held)
