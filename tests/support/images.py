"""Make small images for tests: archives of a few entries, in memory, with nothing of this machine in them."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Mapping
from typing import Any

Entry = tuple[tarfile.TarInfo, bytes]


def make_entry(name: str, data: bytes = b"", **fields: Any) -> Entry:
    """Return an entry of an archive; `fields` are TarInfo's (type, linkname, mode, uid, pax_headers, …)."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in {"mode": 0o755 if fields.get("type") == tarfile.DIRTYPE else 0o644, **fields}.items():
        setattr(info, key, value)
    return info, data


def make_folder(name: str, **fields: Any) -> Entry:
    """Return a folder's entry."""
    return make_entry(name, type=tarfile.DIRTYPE, **fields)


def make_link(name: str, target: str, **fields: Any) -> Entry:
    """Return a symbolic link's entry."""
    return make_entry(name, type=tarfile.SYMTYPE, linkname=target, **fields)


def make_hard_link(name: str, target: str) -> Entry:
    """Return a hard link's entry."""
    return make_entry(name, type=tarfile.LNKTYPE, linkname=target)


def make_archive(entries: Iterable[Entry] | Mapping[str, bytes]) -> bytes:
    """Return a tar archive of entries, or of files by name."""
    if isinstance(entries, Mapping):
        entries = [make_entry(name, data) for name, data in entries.items()]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:", format=tarfile.PAX_FORMAT) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def digest(data: bytes) -> str:
    """Return the digest of bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
