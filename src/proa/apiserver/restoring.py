"""Build all that a backup has beside what a home has now, so that one rename makes it count.

Everything is written and synced below `restore.tmp`; when the last line of the backup has been checked, that folder
is renamed to `restore.ready`, and `Home.finish_restore` moves its content into place: at once, or, where a crash came
between, before the next start.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path, PurePosixPath
from typing import IO, Any

from proa.apiserver.backup_file import BadBackup, Reader
from proa.home import Home, write_private
from proa.store.restored import write_store

SETTINGS = "cluster.json"
FILES_OF_PKI = "pki"


def stage(home: Home, file: IO[bytes]) -> dict[str, Any]:
    """Read, check and write a backup to `home.restore_ready`; return what it has. Raises BadBackup.

    Nothing else is changed, and nothing at all where it raises.
    """
    temporary = home.path / "restore.tmp"
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir(mode=0o700)
    try:
        reader = Reader(file, lambda name, content: _append(temporary / _checked_large(home, name), content))
        objects = write_store(temporary / home.store.name, reader.revision, reader.entries())
        (temporary / FILES_OF_PKI).mkdir(mode=0o700)
        for name, content in reader.files.items():
            if name != SETTINGS:
                write_private(temporary / _checked(name), content)
        write_private(temporary / SETTINGS, json.dumps(_settings(home, reader.files.get(SETTINGS)), indent=2))
        _sync(temporary / FILES_OF_PKI)
        for database in home.databases:
            if (folder := temporary / database.parent.name).exists():
                _sync(folder / database.name)
                _sync(folder)
        _sync(temporary)
        os.rename(temporary, home.restore_ready)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync(home.path)
    return {"objects": objects, "revision": reader.revision, "createdAt": reader.header.get("createdAt")}


def _checked(name: str) -> PurePosixPath:
    """Return a file's name if it is one that a backup may have."""
    path = PurePosixPath(name)
    if len(path.parts) != 2 or path.parts[0] != FILES_OF_PKI or path.parts[1] in (".", ".."):
        raise BadBackup(f"it has a file that no cluster has: {name!r}")
    return path


def _checked_large(home: Home, name: str) -> PurePosixPath:
    """Return the name of a file that comes in parts: a database."""
    if name not in [str(database.relative_to(home.path)) for database in home.databases]:
        raise BadBackup(f"it has a file that no cluster has: {name!r}")
    return PurePosixPath(name)


def _append(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)


def _settings(home: Home, kept: bytes | None) -> dict[str, Any]:
    """Return the cluster's settings: the backup's, with this home's port and address, and a log of its own."""
    try:
        settings = json.loads(kept or b"")
        here = json.loads(home.settings.read_text()) if home.settings.exists() else {}
    except ValueError:
        raise BadBackup(f"{SETTINGS} is no JSON") from None
    if not isinstance(settings, dict) or not isinstance(here, dict):
        raise BadBackup(f"{SETTINGS} is no object")
    return {**settings, **{name: here[name] for name in ("port", "listen") if name in here}, "store": ""}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
