"""Find the ONNX model that is equal to a scikit-learn file, or say who can make one: in a process of its own, once.

A server that finds one imports onnxruntime alone, not scikit-learn: a tenth of the start, half of the memory, and ten
times the requests. converting.py decides whether there is one; what it found is kept, a refusal too, by the digest of
the file and the versions of all that takes part:
- in /mnt/converted, where the revision has a folder in the node's model cache, or the one that $PROA_CONVERTED names,
- else beside the file, in .converted/, where that can be written to,
- else in the temporary folder, where it lasts as long as the container.
Of each of these no more is kept than storage/conversions.py says; what was used last stays.
Nobody waits for one that is to be made: the library serves meanwhile (sklearn.py), and where conversion_process.py has
come to its end, what was made takes the library's place, or serves from the next start on.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from proa.ml.serving.kinds import CONVERTED_FOLDER
from proa.ml.serving.server.formats import settings
from proa.ml.serving.server.formats.conversion_process import ConversionProcess
from proa.ml.serving.server.formats.protocol import LoadOptions
from proa.ml.serving.storage.conversions import touch

MAX_BYTES = 256 << 20
"""Of a file that is converted; larger ones are served by the library."""
REVISION = 1
"""Of what converting.py does: another does not take what this one made."""
FOLDER, SWITCH = "PROA_CONVERTED", "PROA_CONVERT"
_BESIDE, _SCRATCH = ".converted", "proa-converted-"
_PACKAGES = ("scikit-learn", "skl2onnx", "onnx", "onnxruntime", "numpy")
_NEEDED_BYTES, _NEEDED_BY_SIZE = 512 << 20, 6
"""Of a memory limit: for the library, in the server and in the process that converts, and for a file in both."""
_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")


class Converted(NamedTuple):
    """A model of ONNX and what it takes (`about`, as converting.py writes it), or why there is none.

    `process` makes one, where there is none yet.
    """

    path: Path | None
    about: dict[str, Any]
    why: str
    process: ConversionProcess | None = None


def find_converted(path: Path, options: LoadOptions) -> Converted:
    """Return what was made of the file at an earlier start, or with what it can be made now."""
    if not settings.is_on({**os.environ, **options.settings}, _find_switch(options), default=True):
        return _none("turned off")
    size = path.stat().st_size
    if size > MAX_BYTES:
        return _none(f"{path.name} is larger than {MAX_BYTES >> 20} MB")
    versions = _find_versions()
    if versions is None:
        return _none("skl2onnx is not installed")
    name = _make_name(path, versions, options)
    folders = _list_folders(path)
    for folder in folders:
        found = read_converted(folder / name)
        if found is not None:
            return found
    kept_in = next((folder for folder in folders if _make_writable(folder)), None)
    if kept_in is None:
        return _none("there is no folder to keep it in")
    limit = _find_memory_limit()
    if limit is not None and limit < _NEEDED_BYTES + _NEEDED_BY_SIZE * size:
        return _none(f"the memory limit of {limit >> 20} MB leaves no room to make it")
    return Converted(None, {}, "it is being made", ConversionProcess(path, kept_in / name, options))


def read_converted(stem: Path) -> Converted | None:
    """Return what is kept; None where nothing is, or where it is of somebody else in the temporary folder."""
    about_path, model_path = stem.with_suffix(".json"), stem.with_suffix(".onnx")
    try:
        if stem.parent.name.startswith(_SCRATCH) and stem.parent.lstat().st_uid != os.getuid():
            return None
        about = json.loads(about_path.read_bytes())
    except (OSError, ValueError):
        return None
    touch(about_path)
    if about.get("why"):
        return Converted(None, {}, str(about["why"]))
    return Converted(model_path, about, "") if model_path.is_file() else None


def _find_switch(options: LoadOptions) -> str:
    return "convert" if "convert" in options.settings else SWITCH


def _find_versions() -> str | None:
    try:
        return " ".join(f"{package}={version(package)}" for package in _PACKAGES)
    except PackageNotFoundError:
        return None


def _make_name(path: Path, versions: str, options: LoadOptions) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(f"{REVISION} {versions} {options.settings.get('trusted_types', '')}".encode())
    return digest.hexdigest()[:32]


def _list_folders(path: Path) -> list[Path]:
    told = Path(os.environ.get(FOLDER, CONVERTED_FOLDER))
    scratch = Path(tempfile.gettempdir()) / f"{_SCRATCH}{os.getuid()}"
    return [*([told] if told.is_dir() else []), path.parent / _BESIDE, scratch]


def _make_writable(folder: Path) -> bool:
    """Tell whether files can be made in the folder, which is made where it is not there.

    In the temporary folder, where anybody may have made it, it must be this user's.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
        if not stat.S_ISDIR(about.st_mode) or (
            folder.name.startswith(_SCRATCH) and about.st_uid != os.getuid()
        ):
            return False
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _find_memory_limit() -> int | None:
    try:
        text = _MEMORY_LIMIT.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _none(why: str) -> Converted:
    return Converted(None, {}, why)
