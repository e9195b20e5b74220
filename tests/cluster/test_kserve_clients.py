"""KServe's own REST and gRPC clients, and its data models, against the model server on a model of real digits."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

from support.sdk_venvs import TORCH, make_sdk_venv

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300, func_only=True)]
PROGRAM = Path(__file__).with_name("programs") / "kserve_clients.py"
ROWS = numpy.arange(128, dtype=numpy.float32).reshape(2, 64) % 16


@pytest.fixture(scope="module")
def kserve_python() -> str:
    """Return the interpreter of KServe's environment; it may take minutes to make, which is none of the test's time."""
    return str(make_sdk_venv("torch", TORCH))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Return the folder of an ONNX model, and the scikit-learn model that it was made of."""
    from skl2onnx import to_onnx
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folder = tmp_path_factory.mktemp("digits")
    images, labels = load_digits(return_X_y=True)
    found = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(images, labels)
    graph = to_onnx(found, images[:1].astype("float32"), options={"zipmap": False})
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    return folder, found


@pytest.fixture(scope="module")
def ports(model: tuple[Path, Any]) -> Iterator[tuple[str, str]]:
    """Return where a model server answers: HTTP and gRPC."""
    command = [sys.executable, "-m", "proa.ml.serving.server", "--model_name=m", f"--model_dir={model[0]}",
               "--http_port=0", "--grpc_port=0", "--load-port=-1", "--host=127.0.0.1",
               "--quiet-seconds=0.1"]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "listening" in line)
        found = dict(word.split("=") for word in line.split() if "=" in word)
        next(line for line in process.stderr if "ready models=m" in line)
        yield found["http"], found["grpc"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0


def test_kserves_clients_get_the_librarys_predictions_by_each_protocol(
    kserve_python: str, model: tuple[Path, Any], ports: tuple[str, str], tmp_path: Path
) -> None:
    output = tmp_path / "answers.json"
    done = subprocess.run(
        [kserve_python, str(PROGRAM), *ports, str(output)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(output.read_text())
    labels = model[1].predict(ROWS).tolist()
    rest, grpc = answers["rest"], answers["grpc"]
    assert [row["label"] for row in rest["v1"]] == labels
    for found in (rest["v2"], rest["binary"], grpc["typed"], grpc["raw"]):
        assert found["label"] == labels
        assert numpy.allclose(found["probabilities"], model[1].predict_proba(ROWS), atol=1e-5)
    assert (rest["v2 id"], rest["binary id"]) == ("7", "7")
    assert (rest["ready"], grpc["ready"]) == ([True] * 5, [True] * 3)
    assert grpc["refused"] == ["NOT_FOUND", "Model with name other does not exist."]
    assert len(answers["schemas"]) == 7
    assert answers["errors"] == [
        [404, {"error": "Model with name other does not exist."}],
        [400, {"error": 'Expected "instances" to be a list'}],
    ]
