"""Serve an XGBoost booster: a *.bst, *.json or *.ubj file. JSON and UBJSON are data and run no code.

Predictions are the booster's, as upstream's server has them: of a classifier probabilities, not labels.

Source: KServe's python/xgbserver/xgbserver/model.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proa.ml.serving.server.formats import files, settings
from proa.ml.serving.server.formats.estimators import make_outputs
from proa.ml.serving.server.formats.protocol import InputError, LoadOptions, ModelError, TensorSpec
from proa.ml.serving.server.formats.rows import INPUT, OUTPUT, check_width, make_matrix

if TYPE_CHECKING:
    from proa.ml.serving.server.formats.protocol import Arrays

ENDINGS = (".bst", ".json", ".ubj")


def load(folder: Path, options: LoadOptions) -> BoosterModel:
    """Return the folder's one file as a model. `--nthread`: threads of one prediction."""
    return load_file(files.find_model_file(folder, ENDINGS, "xgboost"), options)


def load_file(path: Path, options: LoadOptions) -> BoosterModel:
    """Return the file as a model."""
    import xgboost

    threads = settings.find_number(options.settings, "nthread") or options.threads
    try:
        booster = xgboost.Booster(params={"nthread": threads}, model_file=bytearray(path.read_bytes()))
    except xgboost.core.XGBoostError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ModelError(f"xgboost {xgboost.__version__} does not load {path.name}: {reason}") from error
    return BoosterModel(booster, threads)


class BoosterModel:
    """A booster, as a model of tensors."""

    platform = "xgboost"
    is_batchable = True

    def __init__(self, booster: Any, threads: int) -> None:
        self._booster, self._threads = booster, threads
        self._columns = tuple(booster.feature_names or ())
        self._width = int(booster.num_features())
        self.inputs: Sequence[TensorSpec] = [TensorSpec(INPUT, "FP32", (-1, self._width))]
        self.outputs: Sequence[TensorSpec] = [TensorSpec(OUTPUT, "FP32", (-1,))]

    def predict(self, inputs: Arrays) -> Arrays:
        """Return output-0, what the booster predicts."""
        import xgboost

        rows = make_matrix(inputs, self._columns)
        check_width(rows, self._width, self._columns)
        try:
            matrix = xgboost.DMatrix(rows, nthread=self._threads, feature_names=list(self._columns) or None)
            return make_outputs(self._booster.predict(matrix))
        except (ValueError, TypeError, xgboost.core.XGBoostError) as error:
            raise InputError(f"xgboost does not take this input: {error}") from error

    def close(self) -> None:
        """Let go of the booster."""
        self._booster = None
