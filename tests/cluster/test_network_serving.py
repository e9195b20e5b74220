"""A network on real images, served as ONNX and as a FastAPI application: equal digits, one to four pods, and none."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.clusters import Cluster, run
from support.load import ConstantLoad

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("serving"),
    pytest.mark.timeout(700, func_only=True),  # making an SDK's environment is none of it
]
PROGRAM = Path(__file__).with_name("programs") / "digits_network.py"
DEADLINE_SECONDS = 180.0


def until(look: Callable[[], Any]) -> Any:
    """Return what is looked for once it is there."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, f"still {found!r}"
        time.sleep(0.1)
    return found


def make_service(name: str, format_name: str, folder: Path) -> dict[str, Any]:
    model = {"modelFormat": {"name": format_name}, "storageUri": folder.as_uri()}
    scale = {"minReplicas": 0, "maxReplicas": 4, "scaleMetric": "concurrency", "scaleTarget": 2}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "annotations": {"autoscaling.knative.dev/window": "6s"}},
        "spec": {"predictor": {**scale, "model": model}},
    }


class Served:
    """One InferenceService."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    def is_ready(self) -> bool:
        status = self.cluster.get("inferenceservice", self.name).get("status") or {}
        return any(
            each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions") or ()
        )

    def place(self) -> tuple[int, str]:
        url = urlsplit(self.cluster.get("inferenceservice", self.name)["status"]["url"])
        return url.port or 80, url.hostname or ""

    def ask(self, path: str, body: bytes) -> Any:
        """Return the answer; one that is not 200 fails."""
        port, host = self.place()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_SECONDS)
        try:
            connection.request("POST", path, body, {"Host": host, "Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        assert answer.status == 200, text
        return json.loads(text)

    def replicas(self) -> int:
        label = f"serving.kserve.io/inferenceservice={self.name}"
        found = self.cluster.kubectl("get", "deployments", "-l", label, "-o", "json").stdout
        return sum(item["spec"]["replicas"] for item in json.loads(found)["items"])


def test_a_network_reads_digits_in_both_forms_and_is_scaled_by_load(
    serving_cluster: Cluster, tmp_path: Path
) -> None:
    run([str(serving_cluster.proa.python), str(PROGRAM), str(tmp_path / "digits")], timeout=400, cwd=tmp_path)
    told = json.loads((tmp_path / "digits" / "told.json").read_text())
    assert told["accuracy"] > 0.9
    for name, format_name, folder in (
        ("digits-onnx", "onnx", tmp_path / "digits" / "onnx"),
        ("digits-application", "fastapi", tmp_path / "digits" / "application"),
    ):
        service = json.dumps(make_service(name, format_name, folder))
        serving_cluster.kubectl("apply", "-f", "-", stdin=service)
    as_onnx, as_application = (
        Served(serving_cluster, "digits-onnx"),
        Served(serving_cluster, "digits-application"),
    )
    until(as_onnx.is_ready)
    until(as_application.is_ready)

    images = told["images"]
    shape = [len(images), 1, 28, 28]
    tensor = {"name": "image", "datatype": "FP32", "shape": shape, "data": images}
    body = json.dumps({"inputs": [tensor]}).encode()
    (scores,) = as_onnx.ask("/v2/models/digits-onnx/infer", body)["outputs"]
    expected = [score for row in told["scores"] for score in row]
    assert scores["data"] == pytest.approx(expected, abs=1e-4)
    digits = as_application.ask("/digits", json.dumps({"images": images}).encode())["digits"]
    assert digits == [row.index(max(row)) for row in told["scores"]]

    port, host = as_onnx.place()
    path = "/v2/models/digits-onnx/infer"
    with ConstantLoad(port, host, path, body=body, workers=24, pace=100_000) as load:  # as fast as they can
        until(lambda: as_onnx.replicas() == 4)
        load.wait(50)
    assert load.failures == []
    until(lambda: as_onnx.replicas() == 0)
    until(lambda: as_application.replicas() == 0)
    assert as_onnx.ask(path, body)["outputs"] == [scores]
    serving_cluster.kubectl("delete", "inferenceservice", "digits-onnx", "digits-application")
