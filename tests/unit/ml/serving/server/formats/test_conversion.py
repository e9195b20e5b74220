"""scikit-learn's models are served as ONNX only where that says the same as the library."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import numpy
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from proa.ml.serving.server.formats import conversion_process, converting
from proa.ml.serving.server.formats.conversion import Converted
from proa.ml.serving.server.formats.converted import ConvertedModel
from proa.ml.serving.server.formats.converting import convert
from proa.ml.serving.server.formats.estimators import EstimatorModel
from proa.ml.serving.server.formats.forests import NotEqual
from proa.ml.serving.server.formats.onnx import start_session
from proa.ml.serving.server.formats.protocol import InputError, LoadOptions, TensorModel
from proa.ml.serving.server.formats.sklearn import load

DIGITS = load_digits(return_X_y=True)
CANCER = load_breast_cancer(return_X_y=True)
DIABETES = load_diabetes(return_X_y=True)
TEXT_LABELS = (CANCER[0], numpy.array(["malignant", "benign"])[CANCER[1]])


def serve(tmp_path: Path, estimator: Any, method: str = "predict") -> ConvertedModel:
    """Return the estimator's equal in ONNX."""
    joblib.dump(estimator, tmp_path / "model.joblib")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # samples are where overflows are
        model, about = convert(tmp_path / "model.joblib")
    (tmp_path / "model.onnx").write_bytes(model)
    session = start_session(tmp_path / "model.onnx", 1)
    return ConvertedModel(session, Converted(tmp_path / "model.onnx", about, ""), "sklearn", method)


@pytest.mark.parametrize(
    ("estimator", "data"),
    [
        pytest.param(make_pipeline(StandardScaler(), LogisticRegression()), DIGITS, id="scaled linear"),
        pytest.param(make_pipeline(StandardScaler(), LogisticRegression()), TEXT_LABELS, id="labels of text"),
        pytest.param(GaussianNB(), CANCER, id="naive bayes"),
        pytest.param(RandomForestClassifier(20, random_state=0), DIGITS, id="forest"),
        pytest.param(RandomForestClassifier(20, max_depth=4, random_state=0), CANCER, id="shallow forest"),
        pytest.param(
            GradientBoostingClassifier(n_estimators=10, random_state=0), CANCER, id="boosted, two classes"
        ),
        pytest.param(
            GradientBoostingClassifier(n_estimators=3, random_state=0), DIGITS, id="boosted, ten classes"
        ),
    ],
)
def test_labels_are_equal_and_probabilities_to_the_last_digits(
    tmp_path: Path, estimator: Any, data: Any
) -> None:
    rows, labels = data
    estimator.fit(rows, labels)
    found = serve(tmp_path, estimator).predict({"x": rows})["output-0"]
    assert numpy.array_equal(found, estimator.predict(rows))
    assert found.dtype == (object if labels.dtype.kind == "U" else estimator.predict(rows).dtype)
    likely = serve(tmp_path, estimator, "predict_proba").predict({"x": rows})["output-0"]
    assert numpy.abs(likely - estimator.predict_proba(rows)).max() < 1e-12


@pytest.mark.parametrize(
    "estimator",
    [
        Ridge(),
        ExtraTreesRegressor(10, random_state=0),
        GradientBoostingRegressor(n_estimators=10, random_state=0),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_regressions_are_equal(tmp_path: Path, estimator: Any) -> None:
    rows, values = DIABETES
    estimator.fit(rows, values)
    found = serve(tmp_path, estimator).predict({"x": rows})["output-0"]
    assert found.shape == (len(rows),)
    assert numpy.allclose(found, estimator.predict(rows), rtol=1e-12)


def test_a_tree_decides_the_same_on_its_thresholds_and_beside_them(tmp_path: Path) -> None:
    rows, labels = CANCER
    tree = DecisionTreeClassifier(random_state=0).fit(rows, labels)
    model = serve(tmp_path, tree)
    splits = tree.tree_.feature >= 0
    for feature, threshold in zip(tree.tree_.feature[splits], tree.tree_.threshold[splits], strict=True):
        near = rows[:40].copy()
        for value in (
            threshold,
            numpy.nextafter(threshold, 1e9),
            numpy.float32(threshold),
            threshold * (1 + 6e-8),
        ):
            near[:, feature] = value
            assert numpy.array_equal(model.predict({"x": near})["output-0"], tree.predict(near))


def test_what_is_missing_goes_where_the_tree_sends_it(tmp_path: Path) -> None:
    rows, labels = (numpy.array(part) for part in CANCER)
    rows[numpy.random.default_rng(0).random(rows.shape) < 0.1] = numpy.nan
    forest = RandomForestClassifier(10, random_state=0).fit(rows, labels)
    found = serve(tmp_path, forest).predict({"x": rows})["output-0"]
    assert numpy.array_equal(found, forest.predict(rows))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("estimator", "why"),
    [
        pytest.param(SVC(), "SVMClassifier", id="computes in float32"),
        pytest.param(
            make_pipeline(FunctionTransformer(numpy.tanh), LogisticRegression()), "skl2onnx", id="any code"
        ),
    ],
)
def test_what_has_no_equal_is_not_converted(tmp_path: Path, estimator: Any, why: str) -> None:
    joblib.dump(estimator.fit(*CANCER), tmp_path / "model.joblib")
    with pytest.raises(NotEqual, match=why):
        convert(tmp_path / "model.joblib")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param(
            numpy.ones((2, 3)), r"\[2, 3\] does not fit the model: expected \[rows, 30\]", id="width"
        ),
        pytest.param(numpy.full((1, 30), numpy.nan), "NaN or infinity", id="NaN"),
        pytest.param(numpy.full((1, 30), numpy.inf), "NaN or infinity", id="infinity"),
        pytest.param(numpy.full((1, 30), "a", dtype=object), "no matrix of numbers", id="text"),
        pytest.param(numpy.ones((0, 30)), "no rows", id="nothing"),
    ],
)
def test_what_the_library_refuses_is_refused(tmp_path: Path, rows: Any, message: str) -> None:
    model = serve(tmp_path, make_pipeline(StandardScaler(), LogisticRegression()).fit(*CANCER))
    with pytest.raises(InputError, match=message):
        model.predict({"x": rows})


def test_numbers_beyond_float32_are_refused_by_trees(tmp_path: Path) -> None:
    model = serve(tmp_path, DecisionTreeClassifier().fit(*CANCER))
    with pytest.raises(InputError, match="too large for dtype"):
        model.predict({"x": numpy.full((1, 30), 1e39)})


def succeed(model: Any) -> TensorModel | None:
    """Return what takes the place of a model that the library serves."""
    assert isinstance(model, EstimatorModel)
    assert model.successor is not None
    return model.successor.make()


def test_the_library_serves_until_the_model_is_converted_and_the_next_start_finds_that(
    tmp_path: Path,
) -> None:
    estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(*CANCER)
    joblib.dump(estimator, tmp_path / "model.joblib")
    meanwhile = load(tmp_path, LoadOptions("m"))
    first = succeed(meanwhile)
    assert isinstance(meanwhile, EstimatorModel)
    assert isinstance(first, ConvertedModel)
    assert (first.inputs, first.outputs) == (meanwhile.inputs, meanwhile.outputs)
    again = load(tmp_path, LoadOptions("m", settings={"predict_proba": "true"}))
    assert isinstance(again, ConvertedModel)
    assert again.predict({"x": CANCER[0][:5]})["output-0"].shape == (5, 2)
    assert numpy.array_equal(first.predict({"x": CANCER[0]})["output-0"], estimator.predict(CANCER[0]))
    [kept] = (tmp_path / ".converted").glob("*.onnx")
    kept.write_bytes(b"damaged")
    assert isinstance(load(tmp_path, LoadOptions("m")), EstimatorModel)


def test_the_library_alone_serves_where_conversion_is_turned_off(tmp_path: Path) -> None:
    joblib.dump(GaussianNB().fit(*DIGITS), tmp_path / "model.joblib")
    model = load(tmp_path, LoadOptions("m", settings={"convert": "false"}))
    assert isinstance(model, EstimatorModel)
    assert model.successor is None


PROGRAMS = {
    "refuses": "pathlib.Path(sys.argv[2] + '.json').write_text(json.dumps({'why': 'it has SVMClassifier'}))",
    "fails": "sys.exit(3)",
    "takes too long": "signal.pause()",
}


@pytest.mark.parametrize(
    ("program", "told", "is_kept"),
    [
        pytest.param("refuses", "it has SVMClassifier", True, id="there is no equal"),
        pytest.param("fails", "the process that makes it ended with 3", False, id="it fails"),
        pytest.param("takes too long", "longer than 1 s", False, id="it takes too long"),
    ],
)
def test_the_library_serves_on_where_nothing_is_made_and_only_a_refusal_is_kept(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    program: str,
    told: str,
    is_kept: bool,
) -> None:
    joblib.dump(SVC().fit(*CANCER), tmp_path / "model.joblib")
    (tmp_path / "aside.py").write_text(f"import json, pathlib, signal, sys\n{PROGRAMS[program]}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(conversion_process, "PROGRAM", "aside")
    options = LoadOptions("m", settings={"convert_seconds": "1"} if program == "takes too long" else {})
    with caplog.at_level(logging.INFO):
        assert succeed(load(tmp_path, options)) is None
    assert told in caplog.records[-1].getMessage()
    again = load(tmp_path, options)
    assert isinstance(again, EstimatorModel)
    assert (again.successor is None) == is_kept


def test_what_is_made_for_a_model_that_is_closed_is_made_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "aside.py").write_text("import signal, sys\nopen(sys.argv[1], 'w').close()\nsignal.pause()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(conversion_process, "PROGRAM", "aside")
    started = tmp_path / "started"
    os.mkfifo(started)
    process = conversion_process.ConversionProcess(started, tmp_path / "stem", LoadOptions("m"))
    with ThreadPoolExecutor(1) as executor:
        running = executor.submit(process.run)
        started.read_bytes()  # until it is open at the other end, and closed
        process.stop()
        assert "ended with -9" in running.result(60)
    assert "stopped" in process.run()


def test_a_conversion_gives_way_and_has_bounds(tmp_path: Path) -> None:
    program = (
        "import os, resource; from proa.ml.serving.server.formats import converting; converting._stay_small(0); "
        "print(os.nice(0), *(resource.getrlimit(one)[0] for one in (resource.RLIMIT_CPU, resource.RLIMIT_DATA)))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    niceness, seconds, data = map(int, said.split())
    assert niceness >= os.nice(0) + converting.NICENESS or niceness == 19
    assert (seconds, data) == (converting.CPU_SECONDS, converting.MEMORY_BYTES)
