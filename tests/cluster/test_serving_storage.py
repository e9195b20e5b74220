"""Models' files in pods: fetched once a node, seen read-only, told of where that fails; and models that come and go."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.clusters import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
DEADLINE_SECONDS = 180.0
SERVING = "serving.kserve.io/"


class Team:
    """One namespace's objects."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def apply(self, kind: str, version: str, name: str, spec: Any) -> None:
        made = {"apiVersion": SERVING + version, "kind": kind, "metadata": {"name": name}, "spec": spec}
        self.cluster.kubectl("apply", "-n", self.namespace, "-f", "-", stdin=json.dumps(made))

    def serve_files(self, name: str, uri: str) -> str:
        """Serve what is at a URI, as files, by a container of ours; return the address once it is ready."""
        container = {
            "name": "kserve-container",
            "image": "proa.local/python",
            "command": ["python", "-m", "http.server", "8080", "--directory", "/mnt/models"],
            "env": [{"name": "STORAGE_URI", "value": uri}],
        }
        self.apply("InferenceService", "v1beta1", name, {"predictor": {"containers": [container]}})
        return self.until_ready("isvc", name)

    def until_ready(self, kind: str, name: str) -> str:
        self.until(kind, name, lambda status: condition(status, "Ready") == "True", "Ready")
        return str(self.cluster.get(kind, name, "-n", self.namespace)["status"]["url"])

    def until(
        self, kind: str, name: str, is_so: Callable[[dict[str, Any]], bool], what: str
    ) -> dict[str, Any]:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not is_so(status := self.cluster.get(kind, name, "-n", self.namespace).get("status") or {}):
            assert time.monotonic() < deadline, f"not within {DEADLINE_SECONDS} s: {what}: {status}"
            time.sleep(0.1)
        return status

    def pod_of(self, service: str) -> dict[str, Any]:
        label = f"serving.kserve.io/inferenceservice={service}"
        [pod] = self.cluster.get("pods", "-n", self.namespace, "-l", label)["items"]
        return dict(pod)


def condition(status: dict[str, Any], type: str) -> str:
    return next((one["status"] for one in status.get("conditions") or () if one["type"] == type), "")


def ask(url: str, path: str, body: Any = None) -> tuple[int, str]:
    """Ask at an address of the gateway on this machine."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port or 80, timeout=60)
    try:
        data = None if body is None else json.dumps(body)
        connection.request("GET" if data is None else "POST", path, data, {"Host": str(parts.hostname)})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_a_models_files_come_once_a_node_and_a_later_pod_has_the_same(
    cluster: Cluster, namespace: str, tmp_path: Path
):
    """Given a model on the node, its files stay what they were for the revision, and nobody can change them."""
    team = Team(cluster, namespace)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.txt").write_text("one")
    url = team.serve_files("files", f"file://{tmp_path}/model")
    assert ask(url, "/weights.txt") == (200, "one")
    pod = team.pod_of("files")["metadata"]["name"]
    inside = ("exec", pod, "-n", namespace, "-c", "kserve-container", "--")
    assert cluster.kubectl(*inside, "touch", "/mnt/models/weights.txt", check=False).returncode != 0

    (tmp_path / "model" / "weights.txt").write_text("two")
    cluster.kubectl("delete", "pod", pod, "-n", namespace, "--now")
    deadline = time.monotonic() + DEADLINE_SECONDS
    while ask(url, "/weights.txt") != (200, "one"):
        assert time.monotonic() < deadline, "the next pod does not answer"
        time.sleep(0.1)

    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=baseline")
    copy = team.serve_files("copy", f"http://files.{namespace}.svc/weights.txt")
    assert ask(copy, "/weights.txt") == (200, "one")
    assert "hostPath" not in json.dumps(team.pod_of("copy")["spec"]["volumes"])

    predictor = {
        "model": {"modelFormat": {"name": "onnx"}, "storageUri": f"http://files.{namespace}.svc/none.onnx"}
    }
    team.apply("InferenceService", "v1beta1", "none", {"predictor": predictor})
    status = team.until(
        "isvc", "none", lambda found: "lastFailureInfo" in found.get("modelStatus", {}), "told"
    )
    assert "none.onnx answered 404" in status["modelStatus"]["lastFailureInfo"]["message"]


def test_trained_models_are_served_together_and_come_and_go(cluster: Cluster, namespace: str, tmp_path: Path):
    """Given a predictor without a model of its own, it has those that TrainedModels name for it."""
    team = Team(cluster, namespace)
    for factor in (2.0, 3.0):
        (tmp_path / f"times-{factor:.0f}.onnx").write_bytes(make_model(factor))
    team.serve_files("files", f"file://{tmp_path}")
    many = {"predictor": {"model": {"modelFormat": {"name": "onnx"}, "protocolVersion": "v2"}}}
    team.apply("InferenceService", "v1beta1", "many", many)
    for factor in (2, 3):
        add(team, f"times-{factor}", factor)
    url = team.until_ready("tm", "times-2")
    assert urlsplit(url).path == "/v2/models/times-2/infer"
    team.until_ready("tm", "times-3")
    assert until_answer(url, "times-2", 200) == [4.0]
    assert until_answer(url, "times-3", 200) == [6.0]

    cluster.kubectl("delete", "tm", "times-3", "-n", namespace)
    assert until_answer(url, "times-3", 404) == []
    add(team, "times-2", 3)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while until_answer(url, "times-2", 200) != [6.0]:
        assert time.monotonic() < deadline, "the model is not another"
        time.sleep(0.1)
    cluster.kubectl("delete", "isvc", "many", "-n", namespace)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while cluster.get("tm", "-n", namespace)["items"]:
        assert time.monotonic() < deadline, "a TrainedModel stays without its InferenceService"
        time.sleep(0.1)


def add(team: Team, name: str, factor: int) -> None:
    model = {"framework": "onnx", "memory": "16Mi"}
    model["storageUri"] = f"http://files.{team.namespace}.svc/times-{factor}.onnx"
    team.apply("TrainedModel", "v1alpha1", name, {"inferenceService": "many", "model": model})


def until_answer(url: str, model: str, status: int) -> list[float]:
    """Return a model's answer to 2 once it has that status."""
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [2.0]}
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (answer := ask(url, f"/v2/models/{model}/infer", {"inputs": [tensor]}))[0] != status:
        assert time.monotonic() < deadline, f"{model} answers {answer}, not {status}"
        time.sleep(0.1)
    if status != 200:
        return []
    found: list[float] = json.loads(answer[1])["outputs"][0]["data"]
    return found


def make_model(factor: float) -> bytes:
    """Return an ONNX model that multiplies."""
    onnx = pytest.importorskip("onnx", reason="not on this machine: onnx")
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        "times",
        [helper.make_tensor_value_info("x", float32, [None])],
        [helper.make_tensor_value_info("y", float32, [None])],
        [helper.make_tensor("factor", float32, [1], [factor])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())
