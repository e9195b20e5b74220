"""Free what no image needs any more: blobs and layers that no name, no container and no build leads to.

What is newer than the oldest lease, or than a grace, stays: somebody may be about to name it. What is taken away is
moved aside first and looked at again, so that who has just asked for it (which shows in its time) keeps it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from proa.images.errors import ImageError
from proa.images.locks import locked
from proa.images.manifests import media_type_of, read_document
from proa.images.media_types import INDEXES
from proa.images.store import ImageStore
from proa.objects.quick_dataclass import dataclass

GRACE_SECONDS = 60.0
_PART_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Freed:
    """What was removed."""

    layers: int
    blobs: int
    size: int


def collect(
    store: ImageStore, *, grace_seconds: float = GRACE_SECONDS, with_build_cache: bool = False
) -> Freed:
    """Remove what nothing leads to, `with_build_cache` also what only later builds would use; blocking."""
    now = time.time()
    with locked(store.directory / "collect.lock"):
        oldest = store.oldest_lease()
        before = min(now - grace_seconds, oldest if oldest is not None else now)
        if with_build_cache:
            _drop_build_cache(store, before)
        blobs, layers = find_roots(store)
        old_layers = [d for d, found in store.layers.all() if d not in layers and found.st_mtime < before]
        old_blobs = [d for d, found in store.blobs.all() if d not in blobs and found.st_mtime < before]
        size = 0
        if old_layers:
            with store.workers() as workers:
                size += sum(store.layers.remove(workers, digest, before) for digest in old_layers)
        size += sum(store.blobs.remove(digest, before) for digest in old_blobs)
        size += _remove_leftovers(store, before, now)
    return Freed(len(old_layers), len(old_blobs), size)


def remove_leftovers(store: ImageStore) -> int:
    """Remove what processes that were killed have left on its way; return how many bytes went."""
    now, oldest = time.time(), store.oldest_lease()
    with locked(store.directory / "collect.lock"):
        return _remove_leftovers(store, min(now - GRACE_SECONDS, oldest if oldest is not None else now), now)


def find_roots(store: ImageStore) -> tuple[set[str], set[str]]:
    """Return the blobs and the layers (by diff_id) that names, containers and the build cache lead to."""
    blobs: set[str] = set()
    layers: set[str] = set()
    for target in store.names.all().values():
        _follow(store, target.digest, blobs)
    for image in store.images():
        layers |= {layer.diff_id for layer in image.layers}
    for image_id in store.pinned():
        with contextlib.suppress(ImageError):
            config = read_document(store.blobs.read(image_id))
            blobs.add(image_id)
            layers |= set((config.get("rootfs") or {}).get("diff_ids") or ())
    for _, made in _build_records(store):
        layers |= set(made[:1])
        blobs |= set(made[1:])
    return blobs, layers


def _build_records(store: ImageStore) -> Iterator[tuple[Path, list[str]]]:
    """Yield the records of `proa build` (builder/cache.py) with the diff_id and blob of the layer that each made."""
    folder = store.directory / "build-cache" / "records"
    for path in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            yield path, [str(part) for part in (json.loads(path.read_bytes())["layer"] or ())[:2]]


def _drop_build_cache(store: ImageStore, before: float) -> None:
    for path, _ in [*_build_records(store)]:
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                path.unlink()


def _follow(store: ImageStore, digest: str, found: set[str]) -> None:
    """Add a manifest or index with all that it refers to and that is here."""
    if digest in found:
        return
    found.add(digest)
    try:
        document = read_document(store.blobs.read(digest))
    except ImageError:
        return
    if media_type_of(document) in INDEXES:
        for entry in document.get("manifests") or []:
            if store.blobs.path(entry["digest"]).exists():
                _follow(store, entry["digest"], found)
        return
    referred = [document.get("config"), *(document.get("layers") or [])]
    found |= {str(one["digest"]) for one in referred if isinstance(one, dict) and "digest" in one}


def _remove_leftovers(store: ImageStore, before: float, now: float) -> int:
    """Remove what a process that ended in the middle has left on its way; a download may be gone on with for a day."""
    size = 0
    folders: list[Path] = []
    for path in store.incoming.iterdir():
        with contextlib.suppress(FileNotFoundError):
            found = path.lstat()
            limit = now - _PART_SECONDS if path.name.endswith(".part") else before
            if found.st_mtime >= limit:
                continue
            if path.is_dir() and not path.is_symlink():
                folders.append(path)
            else:
                path.unlink()
                size += found.st_size
    if folders:
        with store.workers() as workers:
            for folder in folders:
                workers.run("remove", target=folder.name)
    return size


def disk_usage(store: ImageStore) -> tuple[int, int]:
    """Return the size and what is free of the file system that has the images, in bytes."""
    found = os.statvfs(store.directory)
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


def unpacked_sizes(store: ImageStore, diff_ids: Iterable[str]) -> int:
    """Return the bytes of the files in these layers."""
    return sum(store.layers.unpacked_size(diff_id) for diff_id in diff_ids)
