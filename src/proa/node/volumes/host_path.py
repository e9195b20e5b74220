"""Check that a hostPath is what its type says, making it where the type asks for that.

Follows pkg/volume/hostpath/host_path.go.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from proa.node.volumes.errors import VolumeError

_CHECKS: dict[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "FileOrCreate": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


def prepare_host_path(path: str, type: str) -> str:
    """Return the path when it is of that type ("" checks nothing); raise VolumeError."""
    if ".." in path.split("/"):
        raise VolumeError(f"hostPath {path} must not contain '..'")
    if not type:
        return path
    if type not in _CHECKS:
        raise VolumeError(f"unknown hostPath type {type}")
    target = Path(path)
    try:
        if type == "DirectoryOrCreate":
            target.mkdir(mode=0o755, parents=True, exist_ok=True)
        elif type == "FileOrCreate":
            target.touch(mode=0o644, exist_ok=True)
        mode = target.stat().st_mode
    except FileExistsError:
        mode = target.stat().st_mode
    except OSError as error:
        raise VolumeError(f"hostPath type check failed: {path}: {error.strerror}") from None
    is_right, words = _CHECKS[type]
    if not is_right(mode):
        raise VolumeError(f"hostPath type check failed: {path} is not {words}")
    return path
