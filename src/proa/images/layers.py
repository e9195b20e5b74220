"""Keep unpacked layers by diff_id: each a folder that containers have as a lower layer of their root, never written.

A layer is made beside its place and renamed once all of it is on disk, so what is there is whole. Its files belong
to the users of containers: only workers (worker.py) make and remove them.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from proa.images.blobs import Blobs, sync_folder
from proa.images.digests import hex_of
from proa.images.errors import ImageNotFound, InvalidImage
from proa.images.locks import locked
from proa.images.media_types import OCI_LAYER
from proa.images.workers import Workers
from proa.objects.quick_dataclass import dataclass

MAX_LAYER_BYTES = 64 << 30


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer: its archive's digest (diff_id), and the blob (digest, size, media type) that holds the archive."""

    diff_id: str
    digest: str
    size: int
    media_type: str


class Layers:
    """The unpacked layers of one store: `layers/<hex of diff_id>/fs`, with `layer.json` beside it."""

    def __init__(self, directory: Path, incoming: Path, blobs: Blobs) -> None:
        self._directory = directory / "layers"
        self._locks = directory / "locks"
        self._incoming = incoming
        self._blobs = blobs

    def path(self, diff_id: str) -> Path:
        """Return the folder of a layer's files; raise ImageNotFound."""
        found = self._directory / hex_of(diff_id) / "fs"
        if not found.is_dir():
            raise ImageNotFound(f"layer {diff_id} is not here")
        return found

    def has(self, diff_id: str) -> bool:
        """Tell whether a layer is here; from now on it counts as just used."""
        try:
            os.utime(self._directory / hex_of(diff_id))
        except FileNotFoundError:
            return False
        return True

    def unpacked_size(self, diff_id: str) -> int:
        """Return the bytes of a layer's files; 0 when it is not here."""
        with contextlib.suppress(FileNotFoundError):
            text = (self._directory / hex_of(diff_id) / "layer.json").read_text()
            return int(json.loads(text)["size"])
        return 0

    def unpack(self, workers: Workers, layer: Layer) -> None:
        """Have a layer unpacked from its blob, unless it is here; raise InvalidImage, UnsafeArchive, TooLarge."""
        with locked(self._locks / hex_of(layer.diff_id)):
            if self.has(layer.diff_id):
                return
            blob = os.path.relpath(self._blobs.path(layer.digest), self._incoming)
            with self._folder(workers) as folder:
                found = workers.run("unpack", blob=blob, target=f"{folder.name}/fs", limit=MAX_LAYER_BYTES)
                if found["diff_id"] != layer.diff_id:
                    raise InvalidImage(
                        f"layer {layer.digest} holds {found['diff_id']}, not {layer.diff_id} as the image says"
                    )
                self._place(workers, folder, layer.diff_id, found)
        (self._locks / hex_of(layer.diff_id)).unlink(missing_ok=True)

    def add_directory(self, workers: Workers, source: Path, *, gzip: bool) -> Layer:
        """Make a layer of a folder, which is taken into the store; return it with its blob.

        An overlay whose upper layer it was must have been mounted with redirect_dir=off, and be unmounted.
        """
        packed = f"blob-{uuid.uuid4().hex}"
        with self._folder(workers) as folder:
            found = workers.run("pack", source=str(source), blob=packed, gzip=gzip)
            try:
                layer = self._adopt_blob(found, packed, gzip=gzip)
            finally:
                (self._incoming / packed).unlink(missing_ok=True)
            if not self.has(layer.diff_id):
                target = f"{folder.name}/fs"
                if not workers.run("move", source=str(source), target=target)["moved"]:
                    blob = os.path.relpath(self._blobs.path(layer.digest), self._incoming)
                    workers.run("unpack", blob=blob, target=target, limit=MAX_LAYER_BYTES)
                self._place_once(workers, folder, layer.diff_id, found)
            workers.run("remove", target=str(source))
        return layer

    def add_archive(self, workers: Workers, blob: str, media_type: str) -> Layer:
        """Unpack an archive that is a blob here already, whatever its diff_id turns out to be."""
        path = os.path.relpath(self._blobs.path(blob), self._incoming)
        with self._folder(workers) as folder:
            found = workers.run("unpack", blob=path, target=f"{folder.name}/fs", limit=MAX_LAYER_BYTES)
            layer = Layer(found["diff_id"], blob, self._blobs.size(blob), media_type)
            self._place_once(workers, folder, layer.diff_id, found)
        return layer

    def remove(self, workers: Workers, diff_id: str, before: float) -> int:
        """Remove a layer that was last asked for before a time (epoch seconds); return the bytes of its files."""
        size = self.unpacked_size(diff_id)
        place = self._directory / hex_of(diff_id)
        gone = self._incoming / f"gone-{uuid.uuid4().hex}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(place, gone)
            if gone.stat().st_mtime >= before:
                os.rename(gone, place)
                return 0
            workers.run("remove", target=gone.name)
            return size
        return 0

    def all(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield every layer's diff_id and what its folder says."""
        for entry in os.scandir(self._directory):
            with contextlib.suppress(FileNotFoundError):
                yield f"sha256:{entry.name}", entry.stat()

    def _adopt_blob(self, found: dict[str, object], name: str, *, gzip: bool) -> Layer:
        path = self._incoming / name
        digest = str(found["digest"])
        with path.open("rb") as file:
            if not self._blobs.has(digest):
                self._blobs.adopt(file, path, digest)
        media_type = OCI_LAYER + ("+gzip" if gzip else "")
        return Layer(str(found["diff_id"]), digest, int(str(found["blob_size"])), media_type)

    def _place_once(self, workers: Workers, folder: Path, diff_id: str, found: dict[str, object]) -> None:
        with locked(self._locks / hex_of(diff_id)):
            if not self.has(diff_id):
                self._place(workers, folder, diff_id, found)

    def _place(self, workers: Workers, folder: Path, diff_id: str, found: dict[str, object]) -> None:
        told = {"diffID": diff_id, "size": found["size"], "entries": found["entries"]}
        (folder / "layer.json").write_text(json.dumps(told))
        workers.run("sync")
        os.rename(folder, self._directory / hex_of(diff_id))
        sync_folder(self._directory)

    @contextlib.contextmanager
    def _folder(self, workers: Workers) -> Iterator[Path]:
        """Yield a new folder; what is still there at the end is removed."""
        folder = self._incoming / f"layer-{uuid.uuid4().hex}"
        folder.mkdir(mode=0o755)
        try:
            yield folder
        finally:
            if folder.exists():
                workers.run("remove", target=folder.name)
