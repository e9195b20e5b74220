"""What is in a folder is found, and loaded, or told in words that help."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression

from proa.ml.serving.server.formats.loading import find_format, find_format_of_uri, load_model
from proa.ml.serving.server.formats.onnx import OnnxModel
from proa.ml.serving.server.formats.protocol import (
    InputError,
    LoadOptions,
    ModelError,
    ModelMissing,
    TensorSpec,
)
from proa.ml.serving.server.formats.rows import make_matrix, make_rows
from proa.ml.serving.wire.refusals import Refused
from support.model_server import Doubler, Running, serve

OPTIONS = LoadOptions("m", settings={"convert": "false"})
WINE = load_wine(return_X_y=True)
CUSTOM = """
class Model:
    def __init__(self, name):
        self.name = name
    def load(self):
        self.factor, self.ready = 2, True
    def preprocess(self, payload, headers):
        return payload["instances"]
    async def predict(self, rows, headers=None):
        return [self.factor * row for row in rows]
    def postprocess(self, result):
        if not result:
            raise InvalidInput("no instances")
        return {"predictions": result, "by": self.name}
class InvalidInput(ValueError):
    pass
"""


def put(folder: Path, **contents: str | bytes) -> Path:
    """Write files; of a name's last _ a dot is made."""
    for name, content in contents.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / ".".join(name.rsplit("_", 1))).write_bytes(data)
    return folder


def make_onnx(folder: Path) -> Path:
    """Write a model of two inputs and two outputs: a + b as FP32, and n as INT64."""
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Identity", ["n"], ["same"])]
    shapes = {"a": TensorProto.FLOAT, "b": TensorProto.FLOAT, "n": TensorProto.INT64}
    inputs = [helper.make_tensor_value_info(name, kind, ["rows", 2]) for name, kind in shapes.items()]
    outputs = [
        helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["rows", 2]),
        helper.make_tensor_value_info("same", TensorProto.INT64, ["rows", 2]),
    ]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9),
        folder / "model.onnx",
    )
    return folder


@pytest.mark.parametrize(
    ("files", "format_name"),
    [
        ({"model_joblib": ""}, "sklearn"),
        ({"model_skops": ""}, "sklearn"),
        ({"model_bst": "tree\nversion=v4"}, "lightgbm"),
        ({"model_txt": "tree\nversion=v4"}, "lightgbm"),
        ({"model_bst": b"{L\x00"}, "xgboost"),
        ({"model_json": '{"learner": {}}'}, "xgboost"),
        ({"model_onnx": "", "labels_txt": "cat\ndog"}, "onnx"),
        ({"model_pt2": ""}, "pytorch"),
        ({"MLmodel": "flavors: {}", "model_pkl": ""}, "mlflow"),
        ({"config_json": '{"architectures": []}', "vocab_txt": ""}, "huggingface"),
        ({"app_py": "app = FastAPI()", "weights_pt": ""}, "fastapi"),
        ({"model_py": "class Model:", "model_pt": ""}, "custom"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_tell_their_format(tmp_path: Path, files: dict[str, str], format_name: str) -> None:
    assert find_format(put(tmp_path, **files)) == format_name


def test_one_file_tells_its_format_as_its_folder_does(tmp_path: Path) -> None:
    put(tmp_path, model_py=CUSTOM, notes_txt="hi")
    assert find_format(tmp_path / "model.py") == "custom"
    with pytest.raises(
        ModelMissing, match=r"no model of a known format in .*notes\.txt: it is a file; known are"
    ):
        find_format(tmp_path / "notes.txt")


@pytest.mark.parametrize(
    ("uri", "format_name"),
    [
        ("https://host/models/m.joblib#sha256=0", "sklearn"),
        ("s3://bucket/m.onnx", "onnx"),
        ("s3://bucket/m", ""),
        ("mlflow://m/1", ""),
    ],
)
def test_a_uri_tells_its_format_by_its_ending(uri: str, format_name: str) -> None:
    assert find_format_of_uri(uri) == format_name


def test_what_is_not_found_is_told_with_what_is_there(tmp_path: Path) -> None:
    put(tmp_path, readme_md="x")
    with pytest.raises(ModelMissing, match=r"no model of a known format in .*: it has readme\.md"):
        load_model(tmp_path, "", OPTIONS)
    with pytest.raises(
        ModelMissing, match=r"no sklearn model in .* expected one file \*\.joblib, \*\.pkl, \*\.pickle"
    ):
        load_model(tmp_path, "sklearn", OPTIONS)
    with pytest.raises(ModelError, match="unknown model format tensorrt; known are sklearn"):
        load_model(tmp_path, "tensorrt", OPTIONS)


def test_two_models_in_one_folder_are_refused(tmp_path: Path) -> None:
    put(tmp_path, a_joblib="", b_pkl="")
    with pytest.raises(ModelError, match=r"More than one model file is detected.*a\.joblib, b\.pkl"):
        load_model(tmp_path, "sklearn", OPTIONS)


def test_probabilities_are_asked_for_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimator = LogisticRegression(max_iter=20000).fit(*WINE)
    joblib.dump(estimator, tmp_path / "model.joblib")
    monkeypatch.setenv("PREDICT_PROBA", "true")
    model: Any = load_model(tmp_path, "", OPTIONS)
    assert numpy.array_equal(model.predict({"any": WINE[0]})["output-0"], estimator.predict_proba(WINE[0]))
    assert model.outputs == [TensorSpec("output-0", "FP64", (-1, 3))]


def test_columns_are_put_in_the_order_of_training() -> None:
    columns = {"b": numpy.array([3, 4]), "a": numpy.array([[1], [2]])}
    assert make_matrix(columns, ("a", "b")).tolist() == [[1, 3], [2, 4]]
    with pytest.raises(InputError, match=r"missing columns: c; the request has b, a"):
        make_rows(columns, ("a", "b", "c"))
    with pytest.raises(InputError, match="different numbers of rows: a 2, b 1"):
        make_matrix({"a": numpy.ones(2), "b": numpy.ones(1)})


def test_texts_are_texts_whether_they_came_as_bytes_or_not() -> None:
    assert make_rows({"x": numpy.array([b"caf\xc3\xa9", "tea"], dtype=object)}) == ["café", "tea"]
    with pytest.raises(InputError, match="not UTF-8"):
        make_rows({"x": numpy.array([b"\xff"], dtype=object)})


def test_a_transformer_of_columns_by_number_takes_a_matrix(tmp_path: Path) -> None:
    chosen = make_column_transformer(("passthrough", [0, 3]))
    from sklearn.pipeline import make_pipeline

    estimator = make_pipeline(chosen, LogisticRegression(max_iter=5000)).fit(*WINE)
    joblib.dump(estimator, tmp_path / "model.joblib")
    model: Any = load_model(tmp_path, "", OPTIONS)
    assert numpy.array_equal(model.predict({"x": WINE[0]})["output-0"], estimator.predict(WINE[0]))
    with pytest.raises(InputError, match=r"expected \[rows, 13\]"):
        model.predict({"x": WINE[0][:, :2]})


def test_onnx_has_inputs_by_name_and_takes_numbers_that_fit(tmp_path: Path) -> None:
    model = load_model(make_onnx(tmp_path), "", OPTIONS)
    assert isinstance(model, OnnxModel)
    assert model.inputs[2] == TensorSpec("n", "INT64", (-1, 2))
    assert model.is_batchable
    found = model.predict(
        {"a": numpy.array([[1, 2]]), "n": numpy.array([[3.0, 4.0]]), "b": numpy.array([[0.5, 1e-9]])}
    )
    assert found["sum"].tolist() == [[1.5, 2.0]]
    assert found["same"].tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"n": numpy.array([[0.5, 1.0]])}, "input n has values that are no INT64"),
        ({"a": numpy.array([[1.0]])}, r"input a has shape \[1, 1\]; expected \[-1, 2\]"),
        ({"a": numpy.array([["x", "y"]])}, "input a is of text; expected FP32"),
        ({"c": numpy.ones((1, 2))}, "do not fit the model: it takes a, b, n"),
        (
            {"a": numpy.ones((3, 2), dtype=numpy.float32), "b": numpy.ones((2, 2))},
            "onnxruntime does not take this",
        ),
    ],
    ids=["fraction", "shape", "text", "name", "rows"],
)
def test_onnx_refuses_what_does_not_fit(tmp_path: Path, changed: dict[str, Any], why: str) -> None:
    model: Any = load_model(make_onnx(tmp_path), "", OPTIONS)
    with pytest.raises(InputError, match=why):
        model.predict({name: numpy.ones((1, 2)) for name in "abn"} | changed)


def test_a_class_is_called_as_kserve_calls_its_models(tmp_path: Path) -> None:
    model: Any = load_model(put(tmp_path, model_py=CUSTOM), "", OPTIONS)
    try:
        assert asyncio.run(model.predict({"instances": [1, 2]}, {})) == {"predictions": [2, 4], "by": "m"}
        with pytest.raises(InputError, match="no instances"):
            asyncio.run(model.predict({"instances": []}, {}))
        with pytest.raises(NotImplementedError):
            asyncio.run(model.explain({}, {}))
    finally:
        model.close()


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("model", "expected module:name"),
        ("nowhere:Model", "no module nowhere"),
        ("broken:Model", "importing broken failed: ZeroDivisionError"),
        ("thing:Absent", "has no Absent"),
        ("thing:Thing", "has no method predict"),
    ],
)
def test_a_class_that_is_not_there_is_told(tmp_path: Path, word: str, why: str) -> None:
    put(tmp_path, broken_py="1 / 0", thing_py="class Thing: pass")
    with pytest.raises(ModelError, match=why):
        load_model(tmp_path, "custom", OPTIONS._replace(settings={"model_class": word}))


TRANSFORMER = """
import numpy
class Model:
    def preprocess(self, payload):
        rows = numpy.array(payload["instances"], dtype=float)
        return {"inputs": [{"name": "x", "data": rows}]}
    def postprocess(self, result):
        [output] = result["outputs"]
        return {"predictions": output["data"].sum(axis=1).tolist()}
"""


def test_a_transformer_asks_its_predictor_by_arrays(tmp_path: Path) -> None:
    put(tmp_path, model_py=TRANSFORMER)

    async def body(predictor: Running) -> None:
        told = {"predictor_host": f"127.0.0.1:{predictor.ports.http}", "predictor_protocol": "v2"}
        model: Any = load_model(tmp_path, "", OPTIONS._replace(settings=told))
        try:
            answer = await model.predict({"instances": [[1, 2], [3, 4]]}, {"X-Request-Id": "1"})
            assert answer == {"predictions": [6.0, 14.0]}
            with pytest.raises(Refused, match=r"7\.0 is not taken") as refused:
                await model.predict({"instances": [[7, 7]]}, {})
            assert refused.value.status == 400
        finally:
            model.close()

    serve(body, Doubler(refused=7.0))


def test_two_folders_may_have_modules_of_one_name(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        put(tmp_path / name, app_py=f"async def app(scope, receive, send): ...\napp.name = {name!r}")
    found = [load_model(tmp_path / name, "fastapi", OPTIONS) for name in ("one", "two")]
    assert [model.app.name for model in found] == ["one", "two"]  # type: ignore[union-attr]


def test_mlflow_names_the_file_and_the_method_and_may_not_leave_its_folder(tmp_path: Path) -> None:
    estimator = LogisticRegression(max_iter=20000).fit(*WINE)
    joblib.dump(estimator, tmp_path / "model.pkl")
    described = "flavors:\n  sklearn: {pickled_model: %s}\n  python_function: {predict_fn: predict_proba}\n"
    put(tmp_path, MLmodel=described % "model.pkl")
    model: Any = load_model(tmp_path, "", OPTIONS)
    assert numpy.array_equal(model.predict({"x": WINE[0]})["output-0"], estimator.predict_proba(WINE[0]))
    put(tmp_path, MLmodel=described % "../model.pkl")
    with pytest.raises(ModelError, match="outside of the model's folder"):
        load_model(tmp_path, "", OPTIONS)


def test_a_library_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, model_ubj="")
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(ModelError, match=r"format xgboost needs xgboost.*pip install xgboost-cpu"):
        load_model(tmp_path, "", OPTIONS)
