"""Say why a scikit-learn file cannot be opened: what it is, what was expected, the versions, and what would help.

What the file is, its first bytes tell; why a pickle does not open, the error, its last byte and the version that is
written in it. Nothing is opened here. Formats: Python's pickletools; joblib's docs on compression.
"""

from __future__ import annotations

import mmap
import pickle
import platform
import re
import zipfile
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import NamedTuple

HEAD_BYTES = 512
MOST_SEARCHED_BYTES = 1 << 30
_MOST_WORDS = 200
_COMPRESSED = (
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ",
    b"]\x00\x00",
    b"\x04\x22\x4d\x18",
    b"x\x01",
    b"x\x9c",
    b"x\xda",
    b"x^",
)
"""How files of gzip, bz2, xz, lzma, lz4 and zlib begin: what joblib reads."""
_OLD_PICKLE = re.compile(rb"\(|c[\w.]+\n|[IFSVN]")
_VERSION = re.compile(rb"_sklearn_version.{0,6}?(?:\x8c(.)|X(.{4}))", re.S)
"""The version follows as a text, whose length is one byte (SHORT_BINUNICODE) or four (BINUNICODE)."""
_MOST_OF_VERSION = 32
_EARLY = ("truncated", "exhausted before end", "EOF: reading")
_MISSING_NAME = re.compile(
    r"(?:Can't get attribute|module) '(?P<a>[\w.]+)'.*?(?:module|attribute) '(?P<b>[\w.]+)'", re.S
)
_PACKAGES = ("scikit-learn", "joblib", "numpy")
_AGAIN = "write or upload it again, and compare its size with the original's"
_RETRAIN = (
    "save the model again with the versions that are here, serve it in an image that has those it was made with, "
    "or export it to ONNX"
)


class Finding(NamedTuple):
    """What is wrong, and what would help."""

    what: str
    helps: str


def explain(path: Path, error: Exception) -> str:
    """Return why the file of an estimator cannot be opened, in words for who made it."""
    found = find_cause(path, error)
    writer = "skops.io.dump" if path.suffix == ".skops" else "joblib.dump or pickle.dump"
    said = " ".join(str(error).split())
    said = said if len(said) <= _MOST_WORDS else f"{said[:_MOST_WORDS]}..."
    return (
        f"{path.name} ({path.stat().st_size:,} bytes) cannot be opened: {found.what}. "
        f"Expected is a fitted scikit-learn estimator or pipeline, as {writer} writes it. {describe_versions(path)}. "
        f"What would help: {found.helps}. ({type(error).__name__}{': ' if said else ''}{said})"
    )


def find_cause(path: Path, error: Exception) -> Finding:
    """Return what is wrong with a file that raised this."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    wrong = _find_other_format(path, head)
    if wrong is not None:
        return wrong
    if path.suffix == ".skops":
        return _explain_names(error) or Finding("skops does not take what is in it", _RETRAIN)
    if head[:1] == b"\x80" and head[1] > pickle.HIGHEST_PROTOCOL:
        here = f"Python {platform.python_version()} reads up to {pickle.HIGHEST_PROTOCOL}"
        return Finding(
            f"it is a pickle of protocol {head[1]}, and {here}", "save it with protocol=4, or " + _AGAIN
        )
    if head.startswith(_COMPRESSED):
        if _is_early(error):
            return Finding("it ends early: it is a compressed pickle of which the end is missing", _AGAIN)
    elif not head.startswith(b"\x80") and not _OLD_PICKLE.match(head):
        begins = head[:24].decode("ascii", "backslashreplace")
        return Finding(
            f"it is no pickle: it begins with {begins!r}",
            "give the file of the model, or name its modelFormat",
        )
    elif _is_early(error) or _read_last_byte(path) != pickle.STOP:
        return Finding("it ends early: it is a pickle of which the end is missing", _AGAIN)
    by_name = _explain_names(error)
    if by_name is not None:
        return by_name
    written, here = find_written_version(path), _find_version("scikit-learn")
    if written and here and written != here:
        return Finding(f"scikit-learn {here} does not read what scikit-learn {written} wrote", _RETRAIN)
    return Finding("it is a pickle that is damaged, or that needs other versions", f"{_AGAIN}; or {_RETRAIN}")


def find_written_version(path: Path) -> str:
    """Return the version of scikit-learn that a pickle says it was written by, "" where it does not say."""
    if not 0 < path.stat().st_size <= MOST_SEARCHED_BYTES:
        return ""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found = _VERSION.search(data)
        if found is None:
            return ""
        length = int.from_bytes(found[1] or found[2], "little")
        said = data[found.end() : found.end() + min(length, _MOST_OF_VERSION)].decode("ascii", "replace")
        return said if said.isprintable() else ""


def describe_versions(path: Path) -> str:
    """Return what wrote the file, where it says so, and what is here."""
    here = [f"{package} {found}" for package in _PACKAGES if (found := _find_version(package))]
    written = find_written_version(path)
    said = f"It was written by scikit-learn {written}; here" if written else "Here"
    return f"{said} are {', '.join(here)} and Python {platform.python_version()}"


def _find_other_format(path: Path, head: bytes) -> Finding | None:
    """Return what a file is that is neither a pickle nor skops, where its beginning tells."""
    is_zip = head.startswith(b"PK\x03\x04")
    if not head:
        return Finding("it is empty", _AGAIN)
    if head.startswith(b"version https://git-lfs"):
        return Finding(
            "it is a pointer of Git LFS, not the file itself", "run git lfs pull, and upload what it brings"
        )
    if head.lstrip()[:1] == b"<":
        return Finding(
            "it is a web page, as a server answers who has to log in",
            "look at the address, and give access to it",
        )
    if head.lstrip()[:1] == b"{":
        return Finding("it is JSON", "name the format that it is, such as modelFormat xgboost")
    if head.startswith(b"tree\n"):
        return Finding("it is a model of LightGBM", "name modelFormat lightgbm, and call it *.txt or *.bst")
    if head.startswith(b"\x89HDF"):
        return Finding(
            "it is HDF5, as Keras writes it", "export the model to ONNX, and name modelFormat onnx"
        )
    if is_zip and path.suffix != ".skops":
        return _explain_archive(path)
    if path.suffix == ".skops" and not is_zip:
        return Finding(
            "it is no archive of skops", "save it with skops.io.dump, or call a pickle *.joblib or *.pkl"
        )
    return None


def _explain_archive(path: Path) -> Finding:
    try:
        names = zipfile.ZipFile(path).namelist()
    except (zipfile.BadZipFile, OSError):
        return Finding("it is a zip archive that is damaged", _AGAIN)
    if any(name.endswith("data.pkl") for name in names):
        return Finding(
            "it is a file of PyTorch's", "name modelFormat pytorch, and save it by torch.jit or torch.export"
        )
    if "schema.json" in names:
        return Finding("it is a file of skops'", "call it *.skops")
    return Finding("it is a zip archive", "give the file of the model that is in it")


def _explain_names(error: Exception) -> Finding | None:
    """Return which module, class or function is missing that a pickle names."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        root = error.name.partition(".")[0]
        package = next(iter(packages_distributions().get(root, ())), "") if root != error.name else ""
        if not package:
            helps = "install it in the image of the runtime, or serve the model in an image of your own"
            return Finding(f"it needs the module {error.name}, which the image of the runtime has not", helps)
        here = f"{package} {_find_version(package)}"
        return Finding(f"it needs the module {error.name}, which {here} has not", _RETRAIN)
    found = _MISSING_NAME.search(str(error)) if isinstance(error, AttributeError) else None
    if found is None:
        return None
    name, module = (found["a"], found["b"]) if str(error).startswith("Can't") else (found["b"], found["a"])
    if module == "__main__":
        helps = "put it in a module that the image of the runtime has, and save the model again"
        return Finding(f"it needs {name}, which was defined in the program or notebook that saved it", helps)
    return Finding(f"it needs {name} of {module}, which is not there", _RETRAIN)


def _is_early(error: Exception) -> bool:
    """Tell whether whoever read the file says that it ended too early."""
    return isinstance(error, EOFError) or any(words in str(error) for words in _EARLY)


def _read_last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1)


def _find_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
