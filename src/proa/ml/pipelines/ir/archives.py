"""Find the pipeline in what was uploaded: text itself, a .zip or a .tar.gz with `pipeline.yaml`, or its first file.

Source: backend/src/apiserver/server/util.go (ReadPipelineFile). Never unpacks more than a package may have.
"""

from __future__ import annotations

import gzip
import io
import zlib
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import tarfile

MAX_PACKAGE_BYTES = 32 * 1024 * 1024
"""Of an upload, and of the text in it."""
_NAME = "pipeline.yaml"


def read_text(data: bytes) -> str:
    """Return the pipeline's text; raise ValueError for what holds none."""
    if len(data) > MAX_PACKAGE_BYTES:
        raise ValueError(
            f"File size too large ({len(data)} bytes). Maximum supported size: {MAX_PACKAGE_BYTES}. Consider moving "
            "large embedded artifacts or notebooks or Python code into a container image or object store."
        )
    if data[:2] == b"PK":
        data = _read_zip(data)
    elif data[:2] == b"\x1f\x8b":
        data = _read_tarball(data)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Unexpected pipeline file format. Support .zip, .tar.gz, .json or YAML: {error}"
        ) from None


def _read_zip(data: bytes) -> bytes:
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if not entries:
                raise ValueError("Error extracting pipeline from the zip file. Empty zip file")
            entry = next((e for e in entries if e.filename == _NAME), entries[0])
            _check_name(entry.filename, "zip")
            with archive.open(entry) as file:
                return _read_bounded(file)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(
            f"Error extracting pipeline from the zip file. Not a valid zip file: {error}"
        ) from None


def _read_tarball(data: bytes) -> bytes:
    """Return `pipeline.yaml`, or the first file: all of it is unpacked within the bound, so that none hides behind."""
    import tarfile

    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            unpacked = _read_bounded(packed, 4 * MAX_PACKAGE_BYTES)
        with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as archive:
            member = _find_member(archive)
            _check_name(member.name, "tarball")
            file = archive.extractfile(member)
            return _read_bounded(file) if file else b""
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise ValueError(
            f"Error extracting pipeline from the tarball file. Not a valid tarball file: {error}"
        ) from None


def _find_member(archive: tarfile.TarFile) -> tarfile.TarInfo:
    first = None
    for member in archive:
        if member.isfile() and member.name == _NAME:
            return member
        first = first or (member if member.isfile() else None)
    if first is None:
        raise ValueError("Error extracting pipeline from the tarball file. Empty tarball file")
    return first


def _check_name(name: str, kind: str) -> None:
    if not name.endswith((".yaml", ".yml")):
        where = f"Error extracting pipeline from the {kind} file."
        raise ValueError(f"{where} Expecting a pipeline.yaml file inside the {kind}. Got: {name}")


def _read_bounded(file: IO[bytes] | gzip.GzipFile, limit: int = MAX_PACKAGE_BYTES) -> bytes:
    data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"File size too large. Maximum supported size: {limit}")
    return data
