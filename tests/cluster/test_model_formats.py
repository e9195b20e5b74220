"""Each format of models, trained on real data, says over the wire what its library says."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.sdk_venvs import TORCH, make_sdk_venv

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600, func_only=True)]
PROGRAM = Path(__file__).with_name("programs") / "model_formats.py"
SOURCE = Path(__file__).resolve().parents[2] / "src"
LONGEST = 500
"""Seconds that training and serving all of them may take on a busy machine."""
MODELS = {
    "sklearn_pipeline",
    "sklearn_forest",
    "sklearn_as_it_is",
    "sklearn_texts",
    "skops",
    "xgboost",
    "lightgbm",
    "onnx",
    "text_detector",
    "text_direction",
    "text_recognizer",
    "mlflow_sklearn",
    "mlflow_xgboost",
    "mlflow_lightgbm",
    "mlflow_python",
    "torchscript",
    "torch_exported",
    "classification_of_texts",
    "classification_of_tokens",
    "masks_to_fill",
    "embeddings",
    "generation",
    "as_its_equal_in_onnx",
}


@pytest.fixture(scope="module")
def kserve_python() -> str:
    """Return the interpreter of KServe's environment; it may take minutes to make, which is none of the test's time."""
    return str(make_sdk_venv("torch", TORCH))


def test_predictions_are_equal_to_the_librarys_own(kserve_python: str, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [kserve_python, str(PROGRAM), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LONGEST)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    told: dict[str, dict[str, Any]] = {found["name"]: found for found in map(json.loads, lines)}
    assert {name: found["wrong"] for name, found in told.items() if "wrong" in found} == {}
    assert set(told) == MODELS
