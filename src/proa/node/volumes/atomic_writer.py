"""Change a whole directory of files at once: readers see all of the old files or all of the new.

    <directory>/..2026_01_02_03_04_05.123456/name    the files
    <directory>/..data -> ..2026_01_02_…             swapped by rename
    <directory>/name -> ..data/name                  what a container opens

Follows pkg/volume/util/atomic_writer.go.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Set
from dataclasses import replace
from pathlib import Path

from proa.objects.quick_dataclass import dataclass

DATA_LINK = "..data"
NEW_DATA_LINK = "..data_tmp"
GROUP_READS = 0o440


@dataclass(frozen=True, slots=True)
class FileContent:
    """One file of a volume; `user` owns it, where given."""

    data: bytes
    mode: int = 0o644
    user: int | None = None


class UnsafePath(ValueError):
    """A file's name would leave the volume."""


def write_payload(directory: Path, payload: Mapping[str, FileContent], group: int | None = None) -> bool:
    """Make the directory show exactly `payload` (relative path -> content); tell whether that changed anything.

    `group`, where given, owns the files and may read them (fsGroup). Raises UnsafePath, OSError.
    """
    for path in payload:
        _check(path)
    if group is not None:
        payload = {path: replace(file, mode=file.mode | GROUP_READS) for path, file in payload.items()}
    current = directory / DATA_LINK
    if current.is_symlink() and _read(
        current, {path for path, file in payload.items() if file.user is not None}
    ) == dict(payload):
        return False
    old = Path(os.path.realpath(current)) if current.is_symlink() else None
    stamp = time.strftime("..%Y_%m_%d_%H_%M_%S.")
    fresh = Path(tempfile.mkdtemp(prefix=stamp, dir=directory))
    fresh.chmod(0o755)
    _write_files(fresh, payload, group)
    _link_names(directory, payload)
    new_link = directory / NEW_DATA_LINK
    new_link.unlink(missing_ok=True)
    new_link.symlink_to(fresh.name)
    new_link.replace(current)
    _remove_stale(directory, payload)
    if old is not None and old.parent == directory.resolve():
        shutil.rmtree(old)
    return True


def _check(path: str) -> None:
    parts = path.split("/")
    if not path or path.startswith("/") or ".." in parts or parts[0].startswith(".."):
        raise UnsafePath(f"invalid path: {path!r} must be relative, and must not contain or begin with '..'")


def _read(current: Path, owned: Set[str]) -> dict[str, FileContent]:
    """Return what is shown now; whose a file is of the `owned` ones."""
    found: dict[str, FileContent] = {}
    root = Path(os.path.realpath(current))
    for file in root.rglob("*"):
        if file.is_file():
            status = file.stat()
            path = str(file.relative_to(root))
            owner = status.st_uid if path in owned else None
            found[path] = FileContent(file.read_bytes(), status.st_mode & 0o777, owner)
    return found


def _write_files(fresh: Path, payload: Mapping[str, FileContent], group: int | None) -> None:
    if group is not None:
        os.chown(fresh, -1, group)
    for path, content in payload.items():
        target = fresh / path
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            os.write(descriptor, content.data)
            if group is not None or content.user is not None:
                os.fchown(
                    descriptor, -1 if content.user is None else content.user, -1 if group is None else group
                )
            os.fchmod(descriptor, content.mode)
        finally:
            os.close(descriptor)


def _link_names(directory: Path, payload: Mapping[str, FileContent]) -> None:
    for first in {path.split("/")[0] for path in payload}:
        link = directory / first
        if not link.is_symlink():
            link.symlink_to(f"{DATA_LINK}/{first}")


def _remove_stale(directory: Path, payload: Mapping[str, FileContent]) -> None:
    wanted = {path.split("/")[0] for path in payload}
    for entry in directory.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in wanted:
            entry.unlink()
