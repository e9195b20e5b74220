"""Find a subPath inside a volume without ever leaving it, and make it when it is missing.

Each component is opened relative to its parent without following symbolic links; a link is resolved by hand
and may only lead to a place in the volume. Follows pkg/volume/util/subpath/subpath_linux.go.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from proa.node.volumes.errors import VolumeError

MAX_LINKS = 40
_OPEN = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def resolve_subpath(volume: Path, subpath: str, *, make: bool = True) -> Path:
    """Return the real path of `subpath` in `volume`; raise VolumeError when it leads outside."""
    if subpath.startswith("/") or ".." in subpath.split("/"):
        raise VolumeError(f"subPath {subpath!r} must be relative and must not contain '..'")
    base = volume.resolve()
    if base.is_file():
        raise VolumeError(f"subPath {subpath!r}: the volume is a single file")
    remaining = [part for part in subpath.split("/") if part not in ("", ".")]
    done: list[str] = []
    links = 0
    while remaining:
        part = remaining.pop(0)
        if part == "..":
            if not done:
                raise VolumeError(f"subpath {subpath!r} is not within the volume path")
            done.pop()
            continue
        mode = _mode_of(base, done, part, make)
        if mode is not None and stat.S_ISLNK(mode):
            links += 1
            target = os.readlink(base.joinpath(*done, part))
            if links > MAX_LINKS or target.startswith("/"):
                raise VolumeError(f"subpath {subpath!r} is not within the volume path")
            remaining = [p for p in target.split("/") if p not in ("", ".")] + remaining
            continue
        done.append(part)
    return base.joinpath(*done)


def _mode_of(base: Path, done: list[str], part: str, make: bool) -> int | None:
    """Return the mode of base/done/part, each folder on the way opened without following links."""
    descriptor = os.open(base, _OPEN | os.O_DIRECTORY)
    try:
        for name in done:
            following = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = following
        try:
            return os.stat(part, dir_fd=descriptor, follow_symlinks=False).st_mode
        except FileNotFoundError:
            if not make:
                raise
            os.mkdir(part, 0o750, dir_fd=descriptor)
            os.chmod(part, stat.S_IMODE(os.stat(descriptor).st_mode), dir_fd=descriptor)
            return os.stat(part, dir_fd=descriptor, follow_symlinks=False).st_mode
    except OSError as error:
        raise VolumeError(f"failed to prepare subPath {'/'.join([*done, part])}: {error.strerror}") from None
    finally:
        os.close(descriptor)
