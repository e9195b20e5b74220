"""Give a volume's files to the pod's fsGroup, where this process may.

Follows pkg/volume/volume_linux.go (SetVolumeOwnership).
"""

from __future__ import annotations

import os
from pathlib import Path

READ_WRITE_MASK = 0o660
EXECUTE_MASK = 0o110
SETGID = 0o2000


def set_group(root: Path, group: int, *, only_if_root_differs: bool = False) -> None:
    """Let `group` read and write everything below `root`; new files belong to it too. Raises PermissionError."""
    if only_if_root_differs and _is_right(root, group):
        return
    for folder, _, files in os.walk(root):
        _give(Path(folder), group, READ_WRITE_MASK | EXECUTE_MASK | SETGID)
        for file in files:
            path = Path(folder, file)
            if not path.is_symlink():
                _give(path, group, READ_WRITE_MASK)


def _is_right(root: Path, group: int) -> bool:
    found = root.stat()
    return found.st_gid == group and bool(found.st_mode & SETGID) and found.st_mode & 0o060 == 0o060


def _give(path: Path, group: int, mask: int) -> None:
    os.chown(path, -1, group, follow_symlinks=False)
    path.chmod((path.stat().st_mode & 0o7777) | mask)
