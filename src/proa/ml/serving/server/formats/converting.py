"""Make an ONNX model that is equal to a scikit-learn file, or say why there is none: a process of its own.

`python -m proa.ml.serving.server.formats.converting FILE STEM [TRUSTED_TYPES]` writes STEM.json and STEM.onnx.

Theory. Equal means: the same labels for all inputs but those that the library itself decides by the last bit of a
float64 (it adds in another order for one row than for a hundred), and numbers that differ by no more than that. So:
1. The graph computes in float64, as the library does. skl2onnx makes such graphs of DoubleTensorType for all that is
   made of plain operators; ONNX's own LinearClassifier, Scaler, Normalizer, SVM* compute in float32 and are refused,
   and so is any other narrow constant, cast or operator: a float32 would move a value across a threshold.
2. Trees are ours (forests.py): scikit-learn rounds inputs to float32 before it compares, so rounding them is what is
   equal there, and thresholds are rounded down to the float32 below, which decides the same for every float32.
3. What is left is checked on samples: both must give the same for ordinary rows, rows about the data the model was
   trained on, as its own parameters tell, rows on and beside thresholds, one row and many, tiny and huge magnitudes.
4. What the library refuses (NaN, infinity, numbers beyond float32) must be refused: what of this it does is found by
   trying, and told in STEM.json. Where it takes NaN, as trees do, samples have some.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import secrets
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from proa.ml.serving.server.formats.estimators import (
    describe_input,
    describe_output,
    find_columns,
    find_width,
)
from proa.ml.serving.server.formats.forests import OWN, NotEqual, register
from proa.ml.serving.server.formats.protocol import LoadOptions, ModelError
from proa.ml.serving.storage.conversions import MOST_BYTES, trim

CPU_SECONDS = 300
MEMORY_BYTES, MEMORY_BY_SIZE = 1 << 30, 16
"""Of its own data: the libraries have a quarter of this, and a model is there as objects, as a graph and as bytes."""
NICENESS = 10
TOLERANCE = 1e-9
"""Of numbers, relative to the largest of the block: float64 has 1e-16, a sum of thousands loses some of it."""
_INPUT = "input_0"
_NARROW_OPERATORS = (
    "LinearClassifier",
    "LinearRegressor",
    "Scaler",
    "Normalizer",
    "SVMClassifier",
    "SVMRegressor",
)
_ML_OPERATORS = {"ArrayFeatureExtractor"}
"""Of ONNX's own operators for classical models, those that leave numbers as they are."""
_MAX_WIDTH = 20_000
_LARGEST_TRIED = 1e101
_LARGEST = (3.4028234663852886e38, 1e30, 1e15)
"""Of float32; and less where a step before, which scales, makes more of it."""


class Limits(NamedTuple):
    """What the library refuses."""

    largest: float
    """The largest number it takes; 0 for the largest of float64."""
    takes_gaps: bool
    """NaN is a value that is missing."""


def main(arguments: list[str]) -> int:
    """Write what there is to tell; return the process' exit code."""
    path, stem, trusted = Path(arguments[0]), Path(arguments[1]), (arguments[2:] or [""])[0]
    _stay_small(path.stat().st_size)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # samples are where overflows are
            model, about = convert(path, trusted)
    except NotEqual as error:
        model, about = b"", {"why": str(error)}
    if len(model) > MOST_BYTES:
        model, about = b"", {"why": f"it would have {len(model) >> 20} MB, more than {MOST_BYTES >> 20}"}
    if model:
        _write(stem.with_suffix(".onnx"), model)
    _write(stem.with_suffix(".json"), json.dumps(about).encode())
    trim([stem.parent], MOST_BYTES, keep=stem.name)
    return 0


def _stay_small(size: int) -> None:
    """Give way to the server: in time, and where memory ends."""
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    data = MEMORY_BYTES + MEMORY_BY_SIZE * size
    resource.setrlimit(resource.RLIMIT_DATA, (data, data))
    with contextlib.suppress(OSError):  # as the kernel lets it: a higher number is everybody's right
        Path("/proc/self/oom_score_adj").write_text("1000")


def convert(path: Path, trusted: str = "") -> tuple[bytes, dict[str, Any]]:
    """Return the ONNX model's bytes and what a server has to know of it; raise NotEqual."""
    from proa.ml.serving.server.formats import sklearn

    try:
        estimator = sklearn.open_estimator(path, LoadOptions("", settings={"trusted_types": trusted}))
    except ModelError as error:
        raise NotEqual(str(error)) from error
    width = find_width(estimator)
    if not 0 < width <= _MAX_WIDTH:
        raise NotEqual(f"it has {width} features; converted are models of 1 to {_MAX_WIDTH} numbers")
    model = _make_graph(estimator, width)
    _check_wide(model)
    has_probabilities = hasattr(estimator, "predict_proba")
    encoded = model.SerializeToString()
    outputs = [output.name for output in model.graph.output]
    limits = _check_equal(estimator, encoded, outputs if has_probabilities else outputs[:1], width)
    example = estimator.predict(_example(width))
    methods = {
        "predict": [outputs[0], describe_output(estimator, "predict"), str(example.dtype), example.shape[1:]]
    }
    if has_probabilities:
        shape = (len(estimator.classes_),)
        methods["predict_proba"] = [outputs[1], describe_output(estimator, "predict_proba"), "float64", shape]
    about = {
        "why": "",
        "width": width,
        "columns": find_columns(estimator),
        "input": describe_input(estimator),
        "largest": limits.largest,
        "takes_gaps": limits.takes_gaps,
        "methods": methods,
    }
    return encoded, about


def _make_graph(estimator: Any, width: int) -> Any:
    import skl2onnx
    from skl2onnx.common.data_types import DoubleTensorType

    register()
    types = [(_INPUT, DoubleTensorType([None, width]))]
    reasons = []
    for chosen in ({id(estimator): {"zipmap": False}}, {}):
        if chosen and not hasattr(estimator, "classes_"):
            continue
        try:
            return skl2onnx.convert_sklearn(
                estimator,
                initial_types=types,
                options=chosen or None,
                black_op=set(_NARROW_OPERATORS),
                target_opset={"": 18, "ai.onnx.ml": 3},
            )
        except NotEqual:
            raise
        except Exception as error:  # converters raise what they like
            reasons.append(f"{type(error).__name__}: {error}".splitlines()[0][:300])
    raise NotEqual(f"skl2onnx: {'; '.join(reasons)}")


def _check_wide(model: Any) -> None:
    """Raise NotEqual where anything in the graph is narrower than float64 but what rounds as the library does."""
    from onnx import AttributeProto, TensorProto

    narrow = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16}
    if any(
        tensor.data_type in narrow and not tensor.name.startswith(OWN) for tensor in model.graph.initializer
    ):
        raise NotEqual("its graph has float32 constants")
    for node in model.graph.node:
        if node.name.startswith(OWN):
            continue
        if node.domain == "ai.onnx.ml" and node.op_type not in _ML_OPERATORS:
            raise NotEqual(f"its graph has {node.op_type}, which computes in float32")
        for attribute in node.attribute:
            has_narrow = (
                (attribute.name == "to" and attribute.i in narrow)
                or (attribute.type == AttributeProto.TENSOR and attribute.t.data_type in narrow)
                or (attribute.type == AttributeProto.FLOATS and len(attribute.floats))
            )
            if has_narrow:
                raise NotEqual(f"its graph has {node.op_type} with float32")


def _check_equal(estimator: Any, encoded: bytes, outputs: list[str], width: int) -> Limits:
    """Compare on samples; return what the library refuses, raise NotEqual."""
    import onnxruntime

    from proa.ml.serving.server.formats.samples import make_samples

    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads, chosen.log_severity_level = 1, 3
    try:
        session = onnxruntime.InferenceSession(encoded, chosen, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base but this one
        raise NotEqual(f"onnxruntime: {str(error)[:300]}") from error
    limits = _find_limits(estimator, width)
    for name, rows in make_samples(estimator, width, limits.largest or _LARGEST_TRIED, limits.takes_gaps):
        _compare(name, estimator, session, outputs, rows)
        _compare(f"{name}, one row", estimator, session, outputs, rows[:1])
    return limits


def _find_limits(estimator: Any, width: int) -> Limits:
    """Return what finite numbers the library refuses; raise NotEqual where it takes what is no number."""
    import numpy

    takes_gaps = not _is_refused(estimator, numpy.full((1, width), numpy.nan))
    if not all(_is_refused(estimator, numpy.full((1, width), wrong)) for wrong in (numpy.inf, -numpy.inf)):
        raise NotEqual("it takes infinity")
    if not _is_refused(estimator, numpy.full((1, width), 1e39)):
        return Limits(0.0, takes_gaps)
    for largest in _LARGEST:
        edges = numpy.array([[largest] * width, [-largest] * width])
        if not _is_refused(estimator, edges):
            return Limits(largest, takes_gaps)
    raise NotEqual(f"it refuses {_LARGEST[-1]:g}")


def _is_refused(estimator: Any, rows: Any) -> bool:
    try:
        estimator.predict(rows)
    except ValueError:
        return True
    return False


def _compare(name: str, estimator: Any, session: Any, outputs: list[str], rows: Any) -> None:
    import numpy

    with numpy.errstate(all="ignore"):
        try:
            expected = [estimator.predict(rows)]
            if len(outputs) > 1:
                expected.append(estimator.predict_proba(rows))
        except ValueError as error:
            raise NotEqual(f"it refuses some samples ({name}): {error}") from error
    try:
        answers = session.run(outputs, {_INPUT: rows})
    except Exception as error:  # onnxruntime's errors have no common base but this one
        raise NotEqual(f"onnxruntime ({name}): {str(error)[:300]}") from error
    for output, want, have in zip(outputs, expected, answers, strict=True):
        want = numpy.asarray(want)
        if want.size != have.size:
            raise NotEqual(f"{output} ({name}) has shape {have.shape}, not {want.shape}")
        have = have.reshape(want.shape)
        if want.dtype.kind == "f":
            scale = numpy.abs(want[numpy.isfinite(want)]).max(initial=1e-300)
            with numpy.errstate(all="ignore"):
                is_equal = numpy.allclose(have, want, rtol=TOLERANCE, atol=TOLERANCE * scale, equal_nan=True)
        else:
            is_equal = bool((have == want).all())
        if not is_equal:
            raise NotEqual(f"{output} differs from the library's ({name})")


def _example(width: int) -> Any:
    import numpy

    return numpy.ones((2, width))


def _write(path: Path, data: bytes) -> None:
    """Put a file there whole: a server that starts meanwhile sees all of it or nothing."""
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    beside.write_bytes(data)
    beside.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
