"""file://: a file or a folder of the node, where it is shown to this container, else of the container's own image.

What is there is copied, so that a revision's files stay what they were. Links are followed inside the folder only.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from proa.ml.serving.storage.archives import kind_of
from proa.ml.serving.storage.pieces import Model, Opened, Piece, StorageError, Surroundings

CHUNK_BYTES = 1 << 20


def find(uri: str, around: Surroundings) -> Model:
    """Return what is at a path."""
    path = Path(posixpath.normpath("/" + unquote(uri.removeprefix("file://")).lstrip("/")))
    root = path
    if around.sources is not None and (around.sources / str(around.number)).is_dir():
        root = around.sources / str(around.number) / path.name
    if not root.exists():
        where = (
            "on the node"
            if root != path
            else "in the initializer's image: the namespace may not mount hostPaths"
        )
        raise StorageError(f"Local path {uri} does not exist {where}")
    if root.is_file():
        return Model([_piece(root, path.name)._replace(unpack=kind_of(path.name))], str(path))
    files = [_piece(file, file.relative_to(root).as_posix()) for file in sorted(_files(root))]
    if len(files) == 1:
        files = [files[0]._replace(unpack=kind_of(files[0].path))]
    return Model(files, str(path))


def _files(root: Path) -> Iterator[Path]:
    real = root.resolve()
    for folder, _, names in os.walk(root):
        for name in names:
            file = Path(folder) / name
            if not file.is_file():
                raise StorageError(f"{file.relative_to(root)} is no file, or a link to nothing")
            if file.is_symlink() and not file.resolve().is_relative_to(real):
                raise StorageError(f"{file.relative_to(root)} is a link that leads out of the folder")
            yield file


def _piece(file: Path, path: str) -> Piece:
    found = file.stat()
    identity = (
        f"file\n{found.st_dev}\n{found.st_ino}\n{found.st_size}\n{found.st_mtime_ns}\n{found.st_ctime_ns}"
    )
    return Piece(path, found.st_size, identity, lambda offset: Opened(offset, _chunks(file, offset)))


def _chunks(file: Path, offset: int) -> Iterator[bytes]:
    with file.open("rb") as stream:
        stream.seek(offset)
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk
