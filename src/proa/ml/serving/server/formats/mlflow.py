"""Serve a model that MLflow saved, a folder with a file MLmodel: by its library's flavour, else by MLflow's pyfunc.

The flavours sklearn, xgboost, lightgbm, onnx and pytorch are opened without MLflow, which takes seconds to import,
and predict what pyfunc would: sklearn's by the method that MLmodel names, estimators of XGBoost and LightGBM labels.
The signature says the inputs' names and types: columns, or tensors.

Source: MLflow's mlflow/models/model.py (MLmodel) and the save_model of each flavour.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from proa.ml.serving.server.formats import files
from proa.ml.serving.server.formats.datatypes import DATATYPES
from proa.ml.serving.server.formats.estimators import EstimatorModel, make_outputs
from proa.ml.serving.server.formats.protocol import (
    InputError,
    LoadOptions,
    ModelError,
    ModelMissing,
    TensorModel,
    TensorSpec,
)
from proa.ml.serving.server.formats.rows import INPUT, OUTPUT, is_by_column, make_matrix, make_rows

if TYPE_CHECKING:
    from proa.ml.serving.server.formats.protocol import Arrays

PLATFORM = "mlflow"
_FILE = "MLmodel"
_COLUMNS = {
    "boolean": "BOOL",
    "integer": "INT32",
    "long": "INT64",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
    "binary": "BYTES",
    "datetime": "BYTES",
}
Flavour = Mapping[str, Any]


def load(folder: Path, options: LoadOptions) -> TensorModel:
    """Return the folder's model."""
    if not (folder / _FILE).is_file():
        raise ModelMissing(
            f"no {_FILE} in {folder}: {files.describe(folder) if folder.is_dir() else 'no folder'}"
        )
    described = yaml.safe_load((folder / _FILE).read_text())
    flavours = described.get("flavors") if isinstance(described, dict) else None
    if not isinstance(flavours, dict) or not flavours:
        raise ModelError(f"{_FILE} in {folder} names no flavors")
    _add_code(folder, flavours)
    for name, load_flavour in _FLAVOURS.items():
        if name in flavours:
            model = load_flavour(folder, flavours, options)
            break
    else:
        if "python_function" not in flavours:
            raise ModelError(
                f"{_FILE} has flavors {', '.join(flavours)}; served are {', '.join(_FLAVOURS)}, python_function"
            )
        return _load_pyfunc(folder, _read_signature(described))
    signature = _read_signature(described)
    if isinstance(model, EstimatorModel):
        model.inputs, model.outputs = signature.inputs or model.inputs, signature.outputs or model.outputs
    return model


def _load_sklearn(folder: Path, flavours: Flavour, options: LoadOptions) -> TensorModel:
    from proa.ml.serving.server.formats import sklearn

    flavour = flavours["sklearn"]
    path = _find_data(folder, flavour, "pickled_model")
    method = flavours.get("python_function", {}).get("predict_fn", "predict")
    return sklearn.load_file(path, _trust(options, flavour), method)


def _load_xgboost(folder: Path, flavours: Flavour, options: LoadOptions) -> TensorModel:
    from proa.ml.serving.server.formats import xgboost

    path, kind = _find_data(folder, flavours["xgboost"], "data"), _find_class(flavours["xgboost"], "xgboost")
    if kind is None:
        return xgboost.load_file(path, options)
    estimator = kind()
    estimator.load_model(str(path))
    estimator.set_params(n_jobs=options.threads)
    return EstimatorModel(estimator, PLATFORM)


def _load_lightgbm(folder: Path, flavours: Flavour, options: LoadOptions) -> TensorModel:
    from proa.ml.serving.server.formats import lightgbm, sklearn

    flavour = flavours["lightgbm"]
    path = _find_data(folder, flavour, "data")
    if _find_class(flavour, "lightgbm") is None:
        return lightgbm.load_file(path, options)
    estimator = sklearn.open_estimator(path, _trust(options, flavour))
    estimator.set_params(n_jobs=options.threads)
    return EstimatorModel(estimator, PLATFORM)


def _load_onnx(folder: Path, flavours: Flavour, options: LoadOptions) -> TensorModel:
    from proa.ml.serving.server.formats import onnx

    return onnx.load_file(_find_data(folder, flavours["onnx"], "data"), options)


def _load_pytorch(folder: Path, flavours: Flavour, options: LoadOptions) -> TensorModel:
    from proa.ml.serving.server.formats import pytorch

    data = _find_data(folder, flavours["pytorch"], "model_data")
    if (data / "model.pt2").is_file():
        return pytorch.load_file(data / "model.pt2", options)
    return pytorch.load_pickled(data / "model.pth", options)


_FLAVOURS = {
    "sklearn": _load_sklearn,
    "xgboost": _load_xgboost,
    "lightgbm": _load_lightgbm,
    "onnx": _load_onnx,
    "pytorch": _load_pytorch,
}


class _Signature:
    """What MLmodel says of inputs and outputs; none of either where it says nothing."""

    def __init__(
        self, inputs: Sequence[TensorSpec] = (), outputs: Sequence[TensorSpec] = (), *, is_table: bool = False
    ) -> None:
        self.inputs, self.outputs, self.is_table = inputs, outputs, is_table


def _load_pyfunc(folder: Path, signature: _Signature) -> TensorModel:
    from mlflow import pyfunc

    try:
        return PyfuncModel(pyfunc.load_model(str(folder)), signature)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"the model needs {error.name}, which the image of the runtime has not; install it there"
        ) from error
    except Exception as error:  # a model's own code may raise anything
        raise ModelError(f"MLflow does not load {folder}: {type(error).__name__}: {error}") from error


class PyfuncModel:
    """A model of MLflow's python_function, which takes tables, arrays or dicts of arrays."""

    platform = PLATFORM
    is_batchable = True

    def __init__(self, model: Any, signature: _Signature) -> None:
        self._model, self._is_table = model, signature.is_table
        self.inputs: Sequence[TensorSpec] = signature.inputs or [TensorSpec(INPUT, "FP64", (-1, -1))]
        self.outputs: Sequence[TensorSpec] = signature.outputs or [TensorSpec(OUTPUT, "FP64", (-1,))]
        self._columns = tuple(spec.name for spec in signature.inputs) if signature.is_table else ()
        self._datatypes = {spec.name: spec.datatype for spec in signature.inputs}

    def predict(self, inputs: Arrays) -> Arrays:
        """Return output-0, or an output a column."""
        from mlflow.exceptions import MlflowException

        try:
            return make_outputs(self._model.predict(self._make_input(inputs)))
        except (MlflowException, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Let go of the model."""
        self._model = None

    def _make_input(self, inputs: Arrays) -> Any:
        if not self._is_table:
            if len(self._datatypes) > 1:
                return dict(inputs)
            return make_rows(inputs)
        import pandas

        if is_by_column(inputs, self._columns):
            table = make_rows(inputs, self._columns)
        else:
            rows = make_matrix(inputs)
            if rows.ndim != 2 or rows.shape[1] != len(self._columns):
                names = ", ".join(self._columns)
                raise InputError(
                    f"input of shape {list(rows.shape)}; expected [rows, {len(self._columns)}]: {names}"
                )
            table = pandas.DataFrame(rows, columns=list(self._columns))
        return table.astype(
            {name: _PANDAS[found] for name in self._columns if (found := self._datatypes[name]) in _PANDAS}
        )


_PANDAS = {"INT32": "int32", "INT64": "int64", "FP32": "float32", "FP64": "float64", "BOOL": "bool"}


def _read_signature(described: Mapping[str, Any]) -> _Signature:
    signature = described.get("signature") or {}
    inputs, is_table = _read_schema(signature.get("inputs"), INPUT)
    outputs, _ = _read_schema(signature.get("outputs"), OUTPUT)
    return _Signature(inputs, outputs, is_table=is_table)


def _read_schema(text: str | None, only: str) -> tuple[list[TensorSpec], bool]:
    """Return a schema's tensors, and whether they are columns. `only` is the name of one that has none."""
    schema = json.loads(text) if text else []
    specs, is_table = [], False
    for number, entry in enumerate(schema):
        name = str(entry.get("name", only if len(schema) == 1 else f"{only[:-1]}{number}"))
        if entry.get("type") == "tensor":
            tensor = entry["tensor-spec"]
            specs.append(TensorSpec(name, DATATYPES.get(tensor["dtype"], "BYTES"), tuple(tensor["shape"])))
        else:
            is_table = is_table or "name" in entry
            specs.append(TensorSpec(name, _COLUMNS.get(str(entry.get("type")), "BYTES"), (-1, 1)))
    return specs, is_table


def _find_data(folder: Path, flavour: Flavour, key: str) -> Path:
    name = flavour.get(key)
    if not isinstance(name, str):
        raise ModelError(f"{_FILE} in {folder} does not say {key}")
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{_FILE} names {name}, which is outside of the model's folder")
    if not path.exists():
        raise ModelError(f"{_FILE} names {name}, which is not in {folder}: {files.describe(folder)}")
    return path


def _find_class(flavour: Flavour, library: str) -> Any:
    """Return the library's estimator that the flavour names, None for its Booster."""
    word = str(flavour.get("model_class", f"{library}.Booster"))
    module, _, name = word.rpartition(".")
    if name == "Booster":
        return None
    if module != library and not module.startswith(f"{library}."):
        raise ModelError(f"{_FILE} names the class {word}, which is none of {library}'s")
    return getattr(importlib.import_module(module), name)


def _trust(options: LoadOptions, flavour: Flavour) -> LoadOptions:
    """Return the options with the types that whoever saved the model trusted, as MLflow does."""
    named = flavour.get("skops_trusted_types") or []
    trusted = ",".join([*named, options.settings.get("trusted_types", "")])
    return options._replace(settings={**options.settings, "trusted_types": trusted})


def _add_code(folder: Path, flavours: Flavour) -> None:
    """Let the model's own modules be imported, which were saved with it (code_paths)."""
    for flavour in flavours.values():
        code = flavour.get("code") if isinstance(flavour, dict) else None
        if code:
            where = str(_find_data(folder, flavour, "code"))
            if where not in sys.path:
                sys.path.insert(0, where)
