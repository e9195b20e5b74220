"""Keep which image each name means, in the OCI layout's own `index.json`: a name is an annotation of a descriptor.

Names are whole references: `docker.io/library/nginx:latest`, and `…@sha256:…` (a repo digest) for each digest that a
name has had. The file is replaced at once, under a lock; readers see the old or the new one.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from proa.images.blobs import sync_folder
from proa.images.errors import InvalidImage
from proa.images.locks import locked
from proa.images.manifests import Descriptor, read_descriptor, read_document

REF_NAME = "org.opencontainers.image.ref.name"
Names = Mapping[str, Descriptor]


class NameIndex:
    """The names of one store; what was read last is kept for as long as the file is the same."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "index.json"
        self._lock = directory / "index.lock"
        self._read: tuple[tuple[int, int, int], Names] | None = None

    def all(self) -> Names:
        """Return each name's descriptor."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return {}
        version = (found.st_ino, found.st_mtime_ns, found.st_size)
        if self._read is None or self._read[0] != version:
            self._read = (version, _decode(self._path.read_bytes()))
        return self._read[1]

    def change(self, edit: Callable[[dict[str, Descriptor]], None]) -> None:
        """Let `edit` change the names, alone."""
        with locked(self._lock):
            names = dict(self.all())
            before = dict(names)
            edit(names)
            if names != before:
                self._write(names)

    def _write(self, names: Names) -> None:
        temporary = self._path.with_name(f".index.{uuid.uuid4().hex}")
        with temporary.open("xb") as file:
            file.write(_encode(names))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._path)
        sync_folder(self._path.parent)


def _encode(names: Names) -> bytes:
    entries = [
        {
            "mediaType": target.media_type,
            "digest": target.digest,
            "size": target.size,
            "annotations": {REF_NAME: name},
        }
        for name, target in sorted(names.items())
    ]
    return json.dumps({"schemaVersion": 2, "manifests": entries}, indent=1).encode()


def _decode(data: bytes) -> Names:
    entries = read_document(data).get("manifests")
    if not isinstance(entries, list):
        raise InvalidImage("the store's index.json has no manifests")
    return {entry["annotations"][REF_NAME]: read_descriptor(entry) for entry in entries}
