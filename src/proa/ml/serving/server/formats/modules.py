"""Import a user's module from a model's folder, or from the image: `module:name`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from proa.ml.serving.server.formats.protocol import ModelError


def load_object(folder: Path, word: str) -> Any:
    """Return what `module:name` names. The folder's modules come first; raise ModelError where there is none."""
    module_name, colon, name = word.partition(":")
    if not colon or not name or not module_name:
        raise ModelError(f"{word}: expected module:name, as in model:Model for the class Model in model.py")
    where = str(folder if folder.is_dir() else folder.parent)
    if where not in sys.path:
        sys.path.insert(0, where)
    loaded = sys.modules.get(module_name)
    if loaded is not None and _is_another(loaded, Path(where), module_name):
        del sys.modules[module_name]  # of another model's folder, which has modules of the same name
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{word}: no module {error.name} in {where} or in the image"
            + ("" if error.name == module_name else f", which {module_name} imports")
        ) from error
    except Exception as error:  # the user's module may raise anything
        raise ModelError(
            f"{word}: importing {module_name} failed: {type(error).__name__}: {error}"
        ) from error
    try:
        found = module
        for part in name.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise ModelError(f"{word}: {module_name} ({module.__file__}) has no {name}") from error
    return found


def _is_another(module: Any, folder: Path, name: str) -> bool:
    ours = folder / f"{name.replace('.', '/')}.py"
    return ours.is_file() and getattr(module, "__file__", None) != str(ours)
