"""Bound what servers have made of their models, a folder a revision: what nobody has used for longest goes first.

A server does it for its own folder with each form that it adds, the operator for all of a namespace, for a model's own
code may write there too. So nothing here trusts names, follows links or descends far: servers make files only, and
forms (NAME.onnx and NAME.json) are used as long ago as the youngest of their files was touched.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

MOST_BYTES = 1 << 30
"""Of one revision."""
MOST_OF_NAMESPACE_BYTES = 4 << 30
_ENTRY_BYTES = 4096
"""What a file takes at least."""


class _Form(NamedTuple):
    used: float
    size: int
    paths: tuple[Path, ...]


def touch(path: Path) -> None:
    """Note that a form is used, where that can be written."""
    with contextlib.suppress(OSError):
        os.utime(path)


def trim(folders: Iterable[Path], most_bytes: int, keep: str = "") -> int:
    """Remove forms of these folders, the longest unused first, until they are within a size; return how many went.

    Folders in them go in any case. The form whose name is `keep` stays.
    """
    forms = sorted(form for folder in folders for form in _list_forms(folder))
    left, gone = sum(form.size for form in forms), 0
    for form in forms:
        if left <= most_bytes:
            break
        if form.paths[0].name.partition(".")[0] != keep:
            for path in form.paths:
                _remove(path)
            left, gone = left - form.size, gone + 1
    return gone


def remove_folder(path: Path) -> None:
    """Remove a folder and all in it, or a file; what cannot be removed now is found by who looks again."""
    if not path.is_dir() or path.is_symlink():
        _remove(path)
        return
    with contextlib.suppress(OSError, RecursionError):
        shutil.rmtree(path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _list_forms(folder: Path) -> list[_Form]:
    by_name: dict[str, list[tuple[os.stat_result, Path]]] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            if entry.is_dir(follow_symlinks=False):
                remove_folder(path)
                continue
            with contextlib.suppress(FileNotFoundError):  # it went meanwhile
                found = entry.stat(follow_symlinks=False)
                by_name.setdefault(entry.name.partition(".")[0], []).append((found, path))
    return [
        _Form(
            max(found.st_mtime for found, _ in files),
            sum(found.st_blocks * 512 + _ENTRY_BYTES for found, _ in files),
            tuple(path for _, path in files),
        )
        for files in by_name.values()
    ]
