"""The list of formats, which of them a folder has, and loading one.

Formats have the names of KServe's runtimes' supportedModelFormats. A module is imported when a model of it is loaded.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import cast
from urllib.parse import urlsplit

from proa.ml.serving.server.formats import files
from proa.ml.serving.server.formats.protocol import Load, LoadOptions, Model, ModelError, ModelMissing

_PACKAGE = "proa.ml.serving.server.formats"
FORMATS = {
    "sklearn": f"{_PACKAGE}.sklearn",
    "xgboost": f"{_PACKAGE}.xgboost",
    "lightgbm": f"{_PACKAGE}.lightgbm",
    "onnx": f"{_PACKAGE}.onnx",
    "mlflow": f"{_PACKAGE}.mlflow",
    "pytorch": f"{_PACKAGE}.pytorch",
    "huggingface": f"{_PACKAGE}.huggingface",
    "custom": f"{_PACKAGE}.custom",
    "fastapi": f"{_PACKAGE}.fastapi",
}
_BY_ENDING = {
    ".onnx": "onnx",
    ".joblib": "sklearn",
    ".pkl": "sklearn",
    ".pickle": "sklearn",
    ".skops": "sklearn",
    ".ubj": "xgboost",
    ".pt": "pytorch",
    ".pth": "pytorch",
    ".pt2": "pytorch",
    ".torchscript": "pytorch",
}
_PROGRAMS = {
    "fastapi": re.compile(rb"^(app\s*[:=]|(async )?def app\b)", re.M),
    "custom": re.compile(rb"^class Model\b", re.M),
}
"""What a program has that serves itself: any other file of its folder is its own matter."""
_LIGHTGBM_STARTS = b"tree\n"


def load_model(folder: Path, format_name: str, options: LoadOptions) -> Model:
    """Return the folder's model; "" as the format's name is the one that its files tell. Raises ModelError."""
    name = (format_name or find_format(folder)).lower()
    if name not in FORMATS:
        raise ModelError(f"unknown model format {name}; known are {', '.join(FORMATS)}")
    try:
        load = cast(Load, import_module(FORMATS[name]).load)
        return load(folder, options)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("proa"):
            raise
        raise ModelError(
            f"format {name} needs {error.name}, which the image of the runtime has not: {_describe_install(name)}"
        ) from error


def find_format(folder: Path) -> str:
    """Return the format of the folder's files, or of one file; raise ModelMissing where they tell none."""
    if not folder.exists():
        raise ModelMissing(f"there is no folder {folder}")
    if (folder / "MLmodel").is_file():
        return "mlflow"
    if (folder / "config.json").is_file() and _is_transformer(folder / "config.json"):
        return "huggingface"
    for format_name, program in _PROGRAMS.items():
        if any(
            path.is_file() and program.search(path.read_bytes())
            for path in _list_programs(folder, format_name)
        ):
            return format_name
    paths = [folder] if folder.is_file() else sorted(path for path in folder.iterdir() if path.is_file())
    found = {format_name for path in paths if (format_name := _find_format_of_file(path))}
    if len(found) > 1:
        raise ModelError(f"{folder} has files of {' and '.join(sorted(found))}; name one as modelFormat")
    if found:
        return found.pop()
    raise ModelMissing(
        f"no model of a known format in {folder}: {files.describe(folder)}; known are {', '.join(FORMATS)}"
    )


def find_format_of_uri(uri: str) -> str:
    """Return the format that a URI's ending tells, "" where it tells none."""
    return _BY_ENDING.get(PurePosixPath(urlsplit(uri).path).suffix, "")


def _list_programs(folder: Path, format_name: str) -> list[Path]:
    names = ("app.py", "main.py") if format_name == "fastapi" else ("model.py",)
    if folder.is_file():
        return [folder] if folder.name in names else []
    return [folder / name for name in names]


def _find_format_of_file(path: Path) -> str:
    by_ending = _BY_ENDING.get(path.suffix, "")
    if by_ending or path.suffix not in {".bst", ".txt", ".json"}:
        return by_ending
    with path.open("rb") as file:
        start = file.read(256)
    if start.startswith(_LIGHTGBM_STARTS):
        return "lightgbm"
    if path.suffix == ".bst" or (path.suffix == ".json" and b'"learner"' in start):
        return "xgboost"
    return ""


def _is_transformer(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(1 << 20)
    return b'"architectures"' in start or b'"model_type"' in start


def _describe_install(format_name: str) -> str:
    packages = {
        "sklearn": "scikit-learn",
        "xgboost": "xgboost-cpu",
        "lightgbm": "lightgbm",
        "onnx": "onnxruntime",
        "mlflow": "mlflow-skinny pandas",
        "pytorch": "torch",
        "huggingface": "torch transformers",
    }
    package = packages.get(format_name)
    if package is None:
        return "install it there"
    return f"pip install {package}, or a runtime whose image has it"
