"""Make and remove volumes' directories: never outside of the folder that is theirs, never through a link."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def make_directory(path: Path, directory: Path) -> None:
    """Make a volume's directory, writable for whatever user a container runs as.

    `directory` itself stays closed to other users of the machine (0700).
    """
    _check_below(path, directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.mkdir(exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchmod(descriptor, 0o777)
    finally:
        os.close(descriptor)


def remove_directory(path: Path, directory: Path) -> None:
    """Remove a volume's directory; raises OSError when it lies elsewhere, is a link, or cannot be removed."""
    _check_below(path, directory)
    if path.is_symlink():
        raise OSError(f"{path}: is a link, not a volume's directory")
    if path.exists():
        shutil.rmtree(path)


def _check_below(path: Path, directory: Path) -> None:
    """A volume is a direct child: no path through `..`, a link or another directory counts."""
    if path.parent != directory or path.name in ("", ".", ".."):
        raise OSError(f"{path}: not a volume below {directory}")
