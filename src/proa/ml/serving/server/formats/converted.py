"""A scikit-learn model that is served as its equal in ONNX: the same inputs, outputs and refusals as the library's.

Numbers of any type are computed in float64. (The library computes some of a pipeline in float32 where it is asked in
FP32: it differs from itself there, in the seventh digit.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from proa.ml.serving.server.formats.conversion import Converted
from proa.ml.serving.server.formats.protocol import InputError, TensorSpec
from proa.ml.serving.server.formats.rows import OUTPUT, check_width, make_matrix

if TYPE_CHECKING:
    from proa.ml.serving.server.formats.protocol import Arrays


class ConvertedModel:
    """A session that stands for an estimator."""

    is_batchable = True

    def __init__(self, session: Any, converted: Converted, platform: str, method: str) -> None:
        self.platform = platform
        about = converted.about
        self._session = session
        self._input = session.get_inputs()[0].name
        self._width, self._columns = about["width"], tuple(about["columns"])
        self._largest, self._takes_gaps = about["largest"], about["takes_gaps"]
        output, spec, dtype, shape = about["methods"][method]
        self._outputs, self._dtype, self._shape = [output], dtype, tuple(shape)
        self.inputs: Sequence[TensorSpec] = [_read_spec(about["input"])]
        self.outputs: Sequence[TensorSpec] = [_read_spec(spec)]

    def predict(self, inputs: Arrays) -> Arrays:
        """Return output-0, as the estimator's method would."""
        import numpy

        rows = make_matrix(inputs, self._columns)
        if rows.dtype != numpy.float64:
            rows = _widen(rows)
        if rows.ndim != 2 or rows.shape[1] != self._width:
            check_width(rows, self._width, self._columns)
            raise InputError(f"input of shape {list(rows.shape)}; expected [rows, {self._width}]")
        if not len(rows):
            raise InputError("input has no rows; expected at least one")
        if not numpy.isfinite(rows).all() and (not self._takes_gaps or numpy.isinf(rows).any()):
            raise InputError("Input X contains NaN or infinity, which the model was not trained for")
        if self._largest and numpy.nanmax(numpy.abs(rows), initial=0) > self._largest:
            raise InputError("Input X contains a value too large for dtype('float32')")
        found = self._session.run(self._outputs, {self._input: rows})[0]
        if found.shape[1:] != self._shape:
            found = found.reshape((len(rows), *self._shape))
        return {OUTPUT: found if found.dtype.name == self._dtype else _restore(found, self._dtype)}

    def close(self) -> None:
        """Let go of the session."""
        self._session = None


def _widen(rows: Any) -> Any:
    import numpy

    try:
        return rows.astype(numpy.float64)
    except (ValueError, TypeError) as error:
        raise InputError(f"input is no matrix of numbers: {error}") from error


def _restore(found: Any, dtype: str) -> Any:
    """Return labels in the type that the library has them in; texts as objects."""
    return found.astype(object) if dtype.startswith("<U") or dtype == "object" else found.astype(dtype)


def _read_spec(found: Any) -> TensorSpec:
    name, datatype, shape = found
    return TensorSpec(name, datatype, tuple(shape))
