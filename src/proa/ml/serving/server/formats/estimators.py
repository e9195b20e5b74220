"""An object with scikit-learn's methods, as a model of tensors: of sklearn itself, and of what speaks like it.

Source: KServe's sklearnserver: `predict`, or `predict_proba` where that is asked for and there; one output, output-0.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from proa.ml.serving.server.formats.datatypes import find_datatype
from proa.ml.serving.server.formats.protocol import InputError, Successor, TensorSpec
from proa.ml.serving.server.formats.rows import INPUT, OUTPUT, check_width, make_rows

if TYPE_CHECKING:
    from proa.ml.serving.server.formats.protocol import Arrays


class EstimatorModel:
    """A fitted estimator or pipeline."""

    is_batchable = True

    def __init__(
        self, estimator: Any, platform: str, method: str = "predict", successor: Successor | None = None
    ) -> None:
        self.platform = platform
        self.successor = successor
        self._predict = getattr(estimator, method)
        self._columns = find_columns(estimator)
        self._width = find_width(estimator)
        self.inputs: Sequence[TensorSpec] = [describe_input(estimator)]
        self.outputs: Sequence[TensorSpec] = [describe_output(estimator, method)]
        # columns are put in order here, so that a matrix without names is no mistake
        warnings.filterwarnings("ignore", message="X does not have valid feature names")

    def predict(self, inputs: Arrays) -> Arrays:
        """Return output-0; what the estimator does not take is the input's fault."""
        rows = make_rows(inputs, self._columns)
        if self._width and getattr(rows, "ndim", 0) == 1 and self._width == 1:
            rows = rows.reshape(-1, 1)
        check_width(rows, self._width, self._columns)
        try:
            return make_outputs(self._predict(rows))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Let go of the estimator, and of who would have come after it."""
        self._predict = None
        if self.successor is not None:
            self.successor.stop()


def make_outputs(result: Any) -> Mapping[str, Any]:
    """Return a prediction as tensors: an array is output-0, a table or a dict has an output a name."""
    import numpy

    if isinstance(result, Mapping):
        return {str(name): _make_plain(numpy.asarray(values)) for name, values in result.items()}
    if hasattr(result, "columns") and hasattr(result, "to_numpy"):
        return {str(name): _make_plain(result[name].to_numpy()) for name in result.columns}
    if hasattr(result, "toarray"):  # a sparse matrix
        result = result.toarray()
    return {OUTPUT: _make_plain(numpy.asarray(result))}


def find_columns(estimator: Any) -> tuple[str, ...]:
    """Return the names of the columns that it was trained with, in order; none where it knows none."""
    return tuple(str(name) for name in getattr(estimator, "feature_names_in_", ()))


def find_width(estimator: Any) -> int:
    """Return how many features a row has, 0 where the estimator does not say (of text)."""
    try:
        return int(getattr(estimator, "n_features_in_", 0))
    except AttributeError:  # a pipeline whose first step has none
        return 0


def describe_input(estimator: Any) -> TensorSpec:
    """Return what it takes: a matrix of numbers, or texts where it knows of no features."""
    width = find_width(estimator)
    return TensorSpec(INPUT, "FP64", (-1, width)) if width else TensorSpec(INPUT, "BYTES", (-1,))


def describe_output(estimator: Any, method: str) -> TensorSpec:
    """Return what it answers, as far as a fitted estimator says."""
    import numpy

    labels = getattr(estimator, "classes_", None)
    if method != "predict":
        return TensorSpec(OUTPUT, "FP64", (-1, -1 if not isinstance(labels, numpy.ndarray) else len(labels)))
    if isinstance(labels, numpy.ndarray):
        return TensorSpec(OUTPUT, find_datatype(labels.dtype), (-1,))
    return TensorSpec(OUTPUT, "INT64" if hasattr(estimator, "cluster_centers_") else "FP64", (-1,))


def _make_plain(array: Any) -> Any:
    return array.astype(object) if array.dtype.kind in "USMm" else array
