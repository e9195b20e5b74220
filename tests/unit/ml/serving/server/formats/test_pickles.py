"""A file that is no model, or not one for here, is told in words for who made it."""

from __future__ import annotations

import gzip
import io
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import joblib
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from proa.ml.serving.operator.pod_trouble import MAX_WORDS
from proa.ml.serving.server.formats.pickles import find_written_version
from proa.ml.serving.server.formats.protocol import LoadOptions, ModelError
from proa.ml.serving.server.formats.sklearn import open_estimator

ROWS, LABELS = [[0.0], [1.0]], [0, 1]
HERE = sklearn.__version__


def dump(estimator: Any, protocol: int = 4) -> bytes:
    return pickle.dumps(estimator, protocol)


def dump_by_joblib(estimator: Any) -> bytes:
    file = io.BytesIO()
    joblib.dump(estimator, file)
    return file.getvalue()


def pack(*names: str) -> bytes:
    """Return a zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return file.getvalue()


LOGISTIC = LogisticRegression().fit(ROWS, LABELS)
WHOLE = dump_by_joblib(LOGISTIC)
OF_ANOTHER_VERSION = (
    dump(DecisionTreeClassifier().fit(ROWS, LABELS))
    .replace(b"missing_go_to_left", b"missing_go_to_rght")
    .replace(HERE.encode(), b"0.2.1"[: len(HERE)].ljust(len(HERE), b"0"))
)
CASES = [
    (
        "garbage",
        b"this is not a model\n" * 9,
        "it is no pickle: it begins with 'this is not a model",
        "modelFormat",
    ),
    ("bytes", bytes(range(256)), r"it is no pickle: it begins with '\x00\x01", "modelFormat"),
    ("empty", b"", "it is empty", "upload it again"),
    ("truncated", WHOLE[: len(WHOLE) // 2], "it ends early", "compare its size"),
    ("truncated in the head", WHOLE[:3], "it ends early", "compare its size"),
    ("truncated, compressed", gzip.compress(WHOLE)[:-20], "it ends early", "compare its size"),
    ("damaged, compressed", b"\x1f\x8b" + bytes(30), "it is a pickle that is damaged", "upload it again"),
    ("a page", b"<!DOCTYPE html><html>log in</html>", "it is a web page", "give access"),
    ("Git LFS", b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS", "git lfs pull"),
    ("JSON", b'{"learner": {}}', "it is JSON", "modelFormat xgboost"),
    ("LightGBM", b"tree\nversion=v4\n", "it is a model of LightGBM", "modelFormat lightgbm"),
    ("Keras", b"\x89HDF\r\n", "it is HDF5", "ONNX"),
    ("PyTorch", pack("archive/data.pkl"), "it is a file of PyTorch's", "modelFormat pytorch"),
    ("skops", pack("schema.json"), "it is a file of skops'", "*.skops"),
    ("an archive", pack("model.pkl"), "it is a zip archive", "that is in it"),
    ("half an archive", b"PK\x03\x04", "it is a zip archive that is damaged", "upload it again"),
    (
        "a newer protocol",
        b"\x80\x63" + WHOLE[2:],
        "it is a pickle of protocol 99, and Python 3",
        "protocol=4",
    ),
    ("no module", b"cnowhere\nThing\n.", "it needs the module nowhere, which the image", "install it"),
    (
        "a module that went",
        b"csklearn.gone\nThing\n.",
        f"sklearn.gone, which scikit-learn {HERE} has not",
        "ONNX",
    ),
    (
        "a class that went",
        b"csklearn.tree\nThing\n.",
        "it needs Thing of sklearn.tree, which is not there",
        "ONNX",
    ),
    (
        "a notebook's",
        b"c__main__\nThing\n.",
        "it needs Thing, which was defined in the program or notebook",
        "module",
    ),
    (
        "another version",
        OF_ANOTHER_VERSION,
        f"scikit-learn {HERE} does not read what scikit-learn 0.2",
        "ONNX",
    ),
    ("a dict", dump({"model": LOGISTIC}), "holds a dict, which has no predict", "save the estimator itself"),
    ("a transformer", dump(StandardScaler()), "holds a StandardScaler, which has no predict", "pipeline"),
]


@pytest.mark.parametrize(
    ("content", "what", "helps"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_what_cannot_be_opened_is_told_with_what_was_expected_and_what_would_help(
    tmp_path: Path, content: bytes, what: str, helps: str
) -> None:
    path = tmp_path / "model.joblib"
    path.write_bytes(content)
    with pytest.raises(ModelError) as raised:
        open_estimator(path, LoadOptions("m"))
    said = str(raised.value)
    assert said.startswith("model.joblib ")
    assert what in said
    assert "Expected is a fitted scikit-learn estimator or pipeline" in said
    assert re.search(r"are scikit-learn [\d.]+, joblib [\d.]+, numpy [\d.]+ and Python 3[\d.]+\. ", said)
    assert helps in said.partition("What would help: ")[2]
    assert "\n" not in said
    assert len(said) < MAX_WORDS - 50  # all of it is in the InferenceService's status


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_pickle_tells_by_which_version_it_was_written(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "model.pkl").write_bytes(dump(LOGISTIC, protocol))
    assert find_written_version(tmp_path / "model.pkl") == HERE
    (tmp_path / "model.pkl").write_bytes(b"")
    assert find_written_version(tmp_path / "model.pkl") == ""


def test_what_is_no_archive_of_skops_is_told(tmp_path: Path) -> None:
    pytest.importorskip("skops", reason="not on this machine: skops")
    path = tmp_path / "model.skops"
    path.write_bytes(WHOLE)
    with pytest.raises(
        ModelError, match=r"it is no archive of skops.*as skops\.io\.dump writes it.*\*\.joblib"
    ):
        open_estimator(path, LoadOptions("m"))
