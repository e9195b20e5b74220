"""Serve an ONNX model by onnxruntime: any inputs and outputs, by their own names.

One intra-op thread unless told otherwise: requests run beside one another, and a thread pool that spins would take
their processor. Arrays are converted to the input's data type where no value changes but by rounding (FP64 to FP32,
whole numbers to floats), so that V1's numbers fit; a fraction is never cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proa.ml.serving.server.formats import files, settings
from proa.ml.serving.server.formats.datatypes import DTYPES
from proa.ml.serving.server.formats.protocol import InputError, LoadOptions, ModelError, TensorSpec
from proa.ml.serving.server.formats.rows import decode_texts

if TYPE_CHECKING:
    from proa.ml.serving.server.formats.protocol import Arrays

ENDINGS = (".onnx",)
_DATATYPES = {
    "float": "FP32",
    "double": "FP64",
    "float16": "FP16",
    "string": "BYTES",
    "bool": "BOOL",
    **{f"{sign}int{bits}": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


def load(folder: Path, options: LoadOptions) -> OnnxModel:
    """Return the folder's one *.onnx file as a model. `--batch=false`: its first axis is not the row."""
    return load_file(files.find_model_file(folder, ENDINGS, "onnx"), options)


def load_file(path: Path, options: LoadOptions) -> OnnxModel:
    """Return the file as a model; weights that are files of their own are found beside it."""
    is_one_row = not settings.is_on(options.settings, "batch", default=True)
    return OnnxModel(start_session(path, options.threads), is_one_row=is_one_row)


def start_session(path: Path, threads: int) -> Any:
    """Return onnxruntime's session; raise ModelError where it is no model that this onnxruntime runs."""
    import onnxruntime

    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads, chosen.inter_op_num_threads = threads, 1
    chosen.log_severity_level = 3
    chosen.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), chosen, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common base but this one
        raise ModelError(
            f"onnxruntime {onnxruntime.__version__} does not load {path.name}: {error}"
        ) from error


class OnnxModel:
    """A session, as a model of tensors."""

    platform = "onnxruntime_onnx"

    def __init__(self, session: Any, *, is_one_row: bool = False) -> None:
        self._session = session
        self.inputs: Sequence[TensorSpec] = [_make_spec(node) for node in session.get_inputs()]
        self.outputs: Sequence[TensorSpec] = [_make_spec(node) for node in session.get_outputs()]
        self._by_name = {spec.name: spec for spec in self.inputs}
        self._dtypes = {spec.name: DTYPES[spec.datatype] for spec in self.inputs}
        self._seen_dtypes: dict[str, Any] = {}
        self._seen_shapes: dict[str, tuple[int, ...]] = {}
        """What fitted last: most requests are like the one before."""
        self._names = [spec.name for spec in self.outputs]
        self._maps = any(node.type.startswith("seq(map(") for node in session.get_outputs())
        self.is_batchable = not is_one_row and all(
            spec.shape and spec.shape[0] == -1 for spec in (*self.inputs, *self.outputs)
        )
        import onnxruntime

        codes = onnxruntime.capi.onnxruntime_pybind11_state
        self._input_errors = (
            codes.InvalidArgument,
            codes.Fail,
            codes.RuntimeException,
            ValueError,
            TypeError,
        )

    def predict(self, inputs: Arrays) -> Arrays:
        """Return all outputs."""
        if len(inputs) == 1 == len(self.inputs):
            spec = self.inputs[0]
            feed = {spec.name: self._convert(spec, next(iter(inputs.values())))}
        else:
            unknown = [name for name in inputs if name not in self._by_name]
            missing = [name for name in self._by_name if name not in inputs]
            if unknown or missing:
                raise InputError(
                    f"inputs {', '.join(inputs)} do not fit the model: it takes {', '.join(self._by_name)}"
                )
            feed = {name: self._convert(self._by_name[name], array) for name, array in inputs.items()}
        try:
            answers = self._session.run(self._names, feed)
        except self._input_errors as error:
            raise InputError(f"onnxruntime does not take this input: {_shorten(str(error))}") from error
        if self._maps:
            answers = [_unzip(answer) if isinstance(answer, list) else answer for answer in answers]
        return dict(zip(self._names, answers, strict=True))

    def close(self) -> None:
        """Let go of the session."""
        self._session = None

    def _convert(self, spec: TensorSpec, array: Any) -> Any:
        if array.shape != self._seen_shapes.get(spec.name):
            array = self._check_shape(spec, array)
        dtype = array.dtype
        if dtype is not self._seen_dtypes.get(spec.name):
            if dtype.name != self._dtypes[spec.name]:
                return _cast(spec, array, self._dtypes[spec.name])
            self._seen_dtypes[spec.name] = dtype
        return decode_texts(array) if spec.datatype == "BYTES" else array

    def _check_shape(self, spec: TensorSpec, array: Any) -> Any:
        if len(array.shape) != len(spec.shape) and spec.shape:
            if len(spec.shape) == len(array.shape) + 1 and spec.shape[0] in (-1, 1):
                array = array[None]
            else:
                raise InputError(
                    f"input {spec.name} has shape {list(array.shape)}; expected {list(spec.shape)}"
                )
        if any(want not in (-1, have) for want, have in zip(spec.shape, array.shape, strict=False)):
            raise InputError(f"input {spec.name} has shape {list(array.shape)}; expected {list(spec.shape)}")
        if len(array.shape) == len(spec.shape):
            self._seen_shapes[spec.name] = array.shape
        return array


def _cast(spec: TensorSpec, array: Any, dtype: str) -> Any:
    import numpy

    wanted, kind = numpy.dtype(dtype), array.dtype.kind
    if kind in "OSU" or wanted.kind == "O":
        if kind in "SU" and wanted.kind == "O":
            return decode_texts(array.astype(object))
        raise InputError(
            f"input {spec.name} is of {'text' if kind in 'OSU' else array.dtype.name}; expected {spec.datatype}"
        )
    if wanted.kind == "f":
        return array.astype(wanted)
    with numpy.errstate(invalid="ignore"):
        converted = array.astype(wanted)
    if not numpy.array_equal(converted, array):
        raise InputError(f"input {spec.name} has values that are no {spec.datatype}")
    return converted


def _make_spec(node: Any) -> TensorSpec:
    """Return what a session tells of an input or output; other sequences and maps than a classifier's are refused."""
    kind = node.type
    if kind in ("seq(map(int64,tensor(float)))", "seq(map(string,tensor(float)))"):
        return TensorSpec(node.name, "FP32", (-1, -1))
    datatype = _DATATYPES.get(kind[7:-1]) if kind.startswith("tensor(") else None
    if datatype is None:
        raise ModelError(f"{node.name} is a {kind}, which no tensor of V2 is")
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in node.shape or ())
    return TensorSpec(node.name, datatype, shape)


def _unzip(rows: list[dict[Any, float]]) -> Any:
    """Return a classifier's probabilities by label (ZipMap) as a matrix, a column a label in the model's order."""
    import numpy

    return numpy.array([list(row.values()) for row in rows], dtype=numpy.float32)


def _shorten(message: str) -> str:
    return message.removeprefix("[ONNXRuntimeError] : ")[:500]
