"""Find the one file of a model in its folder, or say what is there and what was looked for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from proa.ml.serving.server.formats.protocol import ModelError, ModelMissing

_MOST_NAMED = 12


def find_model_file(folder: Path, endings: Iterable[str], what: str) -> Path:
    """Return the one file of the folder that ends so; `what` is the format, for messages.

    The rule of upstream's servers: files of the folder itself only, and exactly one. A path of a file is that file.
    """
    endings = tuple(endings)
    if folder.is_file():
        return folder
    if not folder.is_dir():
        raise ModelMissing(f"there is no folder {folder}")
    found = sorted(path for path in folder.iterdir() if path.is_file() and path.name.endswith(endings))
    if not found:
        raise ModelMissing(
            f"no {what} model in {folder}: {describe(folder)}; expected one file *{', *'.join(endings)}"
        )
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:_MOST_NAMED])
        raise ModelError(
            f"More than one model file is detected, Only one is allowed within model_dir: {names} in {folder}; "
            f"leave the one that is to be served, or give each model a folder of its own"
        )
    return found[0]


def describe(folder: Path) -> str:
    """Say what is in a folder, or that it is a file, in a few words."""
    if folder.is_file():
        return "it is a file"
    names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    if not names:
        return "the folder is empty"
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"it has {', '.join(names[:_MOST_NAMED])}{more}"
