"""Serve a LightGBM booster: a *.bst or *.txt file, which is text and runs no code.

Predictions are the booster's, as upstream's server has them: of a classifier probabilities, not labels.

Source: KServe's python/lgbserver/lgbserver/model.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proa.ml.serving.server.formats import files, settings
from proa.ml.serving.server.formats.estimators import make_outputs
from proa.ml.serving.server.formats.protocol import InputError, LoadOptions, ModelError, TensorSpec
from proa.ml.serving.server.formats.rows import (
    INPUT,
    OUTPUT,
    check_width,
    is_by_column,
    make_matrix,
    make_rows,
)

if TYPE_CHECKING:
    from proa.ml.serving.server.formats.protocol import Arrays

ENDINGS = (".bst", ".txt")


def load(folder: Path, options: LoadOptions) -> BoosterModel:
    """Return the folder's one file as a model. `--nthread`: threads of one prediction."""
    return load_file(files.find_model_file(folder, ENDINGS, "lightgbm"), options)


def load_file(path: Path, options: LoadOptions) -> BoosterModel:
    """Return the file as a model."""
    import lightgbm

    threads = settings.find_number(options.settings, "nthread") or options.threads
    try:
        booster = lightgbm.Booster(model_file=path)
    except lightgbm.basic.LightGBMError as error:
        raise ModelError(f"lightgbm {lightgbm.__version__} does not load {path.name}: {error}") from error
    return BoosterModel(booster, threads)


class BoosterModel:
    """A booster, as a model of tensors."""

    platform = "lightgbm"
    is_batchable = True

    def __init__(self, booster: Any, threads: int) -> None:
        self._booster, self._threads = booster, threads
        self._columns = tuple(booster.feature_name())
        self._width = int(booster.num_feature())
        self.inputs: Sequence[TensorSpec] = [TensorSpec(INPUT, "FP64", (-1, self._width))]
        classes = int(booster.num_model_per_iteration())
        self.outputs: Sequence[TensorSpec] = [
            TensorSpec(OUTPUT, "FP64", (-1,) if classes == 1 else (-1, classes))
        ]

    def predict(self, inputs: Arrays) -> Arrays:
        """Return output-0, what the booster predicts."""
        import lightgbm

        # columns of categories are told apart by pandas' types only
        is_table = is_by_column(inputs, self._columns)
        rows = make_rows(inputs, self._columns) if is_table else make_matrix(inputs)
        check_width(rows, self._width, self._columns)
        try:
            return make_outputs(self._booster.predict(rows, num_threads=self._threads))
        except (ValueError, TypeError, lightgbm.basic.LightGBMError) as error:
            raise InputError(f"lightgbm does not take this input: {error}") from error

    def close(self) -> None:
        """Let go of the booster."""
        self._booster = None
