"""Graphs of small models, as kubectl and a client of the gateway see them; what agents log and batch on the way."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.clusters import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
DEADLINE_SECONDS = 180.0
MODEL = """
import http.server, json, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.answer({})
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "ce-id" in self.headers:
            told = json.dumps([self.headers["ce-id"], self.headers["ce-type"], asked])
            sys.stdout.write(told + "\\n")  # at once: other threads write too
            sys.stdout.flush()
            return self.answer({})
        predictions = [eval(os.environ["PREDICTS"], {"x": x}) for x in asked["instances"]]
        self.answer({"predictions": predictions, "at_once": len(predictions)})
    def answer(self, told):
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


def make_model(name: str, predicts: str, **more: Any) -> dict[str, Any]:
    container = {
        "name": "kserve-container",
        "image": "proa.local/python",
        "command": ["python", "-c", MODEL],
        "env": [{"name": "PREDICTS", "value": predicts}],
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {"predictor": {"containers": [container], **more}},
    }


def make_graph(name: str, nodes: dict[str, Any], annotations: Any = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "InferenceGraph",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {"nodes": nodes, **spec},
    }


class Graphs:
    """What is served in one namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace

    def apply(self, *objects: dict[str, Any]) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.cluster.kubectl("apply", "-n", self.namespace, "-f", "-", stdin=json.dumps(listed))

    def until_ready(self, name: str, status: str = "True") -> str:
        """Return the graph's URL once its Ready is as given."""

        def url() -> str | None:
            found = self.cluster.get("inferencegraph", name, "-n", self.namespace)
            told = found.get("status") or {}
            conditions = {one["type"]: one["status"] for one in told.get("conditions") or ()}
            is_so = conditions.get("Ready") == status
            seen = told.get("observedGeneration") == found["metadata"]["generation"]
            return told.get("url", "") if is_so and seen else None

        return str(until(url, f"{name} has Ready {status}"))

    def ask(self, url: str, told: Any, path: str = "/") -> tuple[int, Any]:
        """POST to an address of the gateway on this machine."""
        parts = urlsplit(url)
        connection = http.client.HTTPConnection("127.0.0.1", parts.port or 80, timeout=60)
        try:
            connection.request("POST", path, json.dumps(told), {"Host": parts.netloc, "ce-id": "request-7"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        finally:
            connection.close()

    def log_of(self, service: str) -> list[Any]:
        labels = f"serving.kserve.io/inferenceservice={service}"
        printed = self.cluster.kubectl(
            "logs", "-n", self.namespace, "-l", labels, "-c", "kserve-container", "--tail=-1"
        )
        return [json.loads(line) for line in printed.stdout.splitlines()]


def until(read: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (found := read()) is None:
        assert time.monotonic() < deadline, f"not within {DEADLINE_SECONDS} s: {what}"
        time.sleep(0.1)
    return found


def test_models_answer_together(cluster: Cluster, namespace: str) -> None:
    graphs = Graphs(cluster, namespace)
    sink = f"http://sink.{namespace}.svc.cluster.local/"
    double = {"serviceName": "double"}
    to_instances = {"data": "$response", "mapPredictionsToInstances": True}
    steps = [double, {"serviceName": "double", **to_instances}, {"nodeName": "both", **to_instances}]
    nodes = {
        "root": {"routerType": "Sequence", "steps": steps},
        "both": {
            "routerType": "Ensemble",
            "steps": [{**double, "name": "twice"}, {"serviceName": "negate", "name": "less"}],
        },
    }  # fmt: skip
    graphs.apply(
        make_model("sink", "x"),
        make_model("double", "2 * x", logger={"url": sink, "mode": "request"}),
        make_model("negate", "-x", batcher={"maxBatchSize": 8, "maxLatency": 50}, containerConcurrency=1),
        make_graph("chain", nodes),
    )

    ready = ("--for=condition=Ready", "isvc/sink", "-n", namespace, f"--timeout={DEADLINE_SECONDS:.0f}s")
    cluster.kubectl("wait", *ready, timeout=DEADLINE_SECONDS + 30)
    url = graphs.until_ready("chain")
    status, told = graphs.ask(url, {"instances": [1, 2]})

    assert (status, told["twice"]["predictions"], told["less"]["predictions"]) == (200, [8, 16], [-4, -8])
    assert told["less"]["batchId"]
    kind = "org.kubeflow.serving.inference.request"

    def logged() -> list[Any] | None:
        found = graphs.log_of("sink")
        return found if len(found) >= 3 else None

    sent = until(logged, "three events at the sink")
    assert sorted([what, asked["instances"]] for _, what, asked in sent) == [
        [kind, [1, 2]], [kind, [2, 4]], [kind, [4, 8]],
    ]  # fmt: skip

    # another graph under the same name: rolled without a moment in which nobody answers
    nodes["root"] = {"routerType": "Switch", "steps": [{**double, "condition": "instances.#(>5)"}]}
    graphs.apply(make_graph("chain", {"root": nodes["root"]}))
    until(
        lambda: True if graphs.ask(url, {"instances": [7]})[1].get("at_once") == 1 else None,
        "the new graph answers",
    )
    refusal = {
        "error": "Failed to process request",
        "cause": "None of the routes matched with the switch condition",
    }
    until(
        lambda: True if graphs.ask(url, {"instances": [1]}) == (404, refusal) else None,
        "the new graph is the only one that answers",
    )

    graphs.apply(make_graph("chain", {"root": nodes["root"]}, {"serving.kserve.io/stop": "true"}))
    assert graphs.until_ready("chain", "False") == ""
