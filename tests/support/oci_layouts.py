"""Read images of an OCI layout as what matters in them: the configuration, and the files that a container would see."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Files = dict[str, tuple[Any, ...]]
_REF_NAME = "org.opencontainers.image.ref.name"


@dataclass(frozen=True)
class Image:
    """An image: its configuration, and its files: (kind, mode, uid, gid, digest or target) by path."""

    config: dict[str, Any]
    files: Files
    layer_files: list[list[str]]


def read_image(layout: Path, name: str = "") -> Image:
    """Return the image of a name in an OCI layout ("" is the only one)."""
    entries = json.loads((layout / "index.json").read_text())["manifests"]
    (entry,) = {
        e["digest"]: e for e in entries if not name or e["annotations"].get(_REF_NAME) == name
    }.values()
    manifest = json.loads(_blob(layout, entry["digest"]))
    config = json.loads(_blob(layout, manifest["config"]["digest"]))
    files: Files = {}
    layers: list[list[str]] = []
    for layer in manifest["layers"]:
        data = _blob(layout, layer["digest"])
        layers.append(_apply(files, gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data))
    return Image(config, files, layers)


def _blob(layout: Path, digest: str) -> bytes:
    return (layout / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()


def _apply(files: Files, archive: bytes) -> list[str]:
    new: Files = {}
    names: list[str] = []
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            path = member.name.strip("/").removeprefix("./").rstrip("/")
            path = "" if path == "." else path
            names.append(path)
            above, _, last = path.rpartition("/")
            if last == ".wh..wh..opq":
                _remove(files, above, keep=True)
            elif last.startswith(".wh."):
                _remove(files, f"{above}/{last[4:]}".lstrip("/"), keep=False)
            elif path:
                new[path] = _describe(tar, member, new, files)
    for path, found in new.items():
        if found[0] != "dir":
            _remove(files, path, keep=False)
        files[path] = found
    return names


def _describe(tar: tarfile.TarFile, member: tarfile.TarInfo, new: Files, files: Files) -> tuple[Any, ...]:
    mode, owner = member.mode & 0o7777, (member.uid, member.gid)
    if member.islnk():
        target = member.linkname.strip("/").removeprefix("./")
        return new.get(target) or files[target]
    if member.isdir():
        return ("dir", mode, *owner, "")
    if member.issym():
        return ("link", 0, *owner, member.linkname)
    if member.isreg():
        opened = tar.extractfile(member)
        assert opened is not None
        return ("file", mode, *owner, hashlib.sha256(opened.read()).hexdigest())
    return (member.type.decode(), mode, *owner, f"{member.devmajor}:{member.devminor}")


def _remove(files: Files, path: str, *, keep: bool) -> None:
    prefix = f"{path}/" if path else ""
    for other in [p for p in files if p.startswith(prefix) or (p == path and not keep)]:
        del files[other]
