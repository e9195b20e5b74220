"""A graph of RapidOCR's three models reads a real image as RapidOCR itself does, in one process."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.clusters import Cluster

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("serving"),
    pytest.mark.timeout(600, func_only=True),  # making an SDK's environment is none of it
]
DEADLINE_SECONDS = 240.0
MODELS = """
import base64
import cv2
import numpy as np
from rapidocr import RapidOCR
from rapidocr.utils.process_img import map_boxes_to_original


def to_text(image):
    return base64.b64encode(cv2.imencode(".png", image)[1].tobytes()).decode()


def to_image(text):
    return cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR)


class Step:
    def __init__(self, name):
        self.ocr = RapidOCR()


class Detect(Step):
    def load(self):
        self.ocr._load_det_model()

    def predict(self, payload, headers=None):
        whole = to_image(payload["instances"][0])
        image, record = self.ocr.preprocess_img(whole)
        crops, found = self.ocr.detect_and_crop(image, record)
        boxes = map_boxes_to_original(found.boxes, record, *whole.shape[:2])
        return {"predictions": [{"box": b.tolist(), "image": to_text(c)} for b, c in zip(boxes, crops)]}


class Classify(Step):
    def load(self):
        self.ocr._load_cls_model()

    def predict(self, payload, headers=None):
        lines = payload["instances"]
        turned, _ = self.ocr.cls_and_rotate([to_image(line["image"]) for line in lines])
        return {"predictions": [{**line, "image": to_text(one)} for line, one in zip(lines, turned)]}


class Recognize(Step):
    def load(self):
        self.ocr._load_rec_model()

    def predict(self, payload, headers=None):
        lines = payload["instances"]
        read = self.ocr.recognize_txt([to_image(line["image"]) for line in lines])
        made = zip(lines, read.txts, read.scores)
        return {"predictions": [{"box": line["box"], "text": text, "score": score} for line, text, score in made
                                if text.strip() and score >= self.ocr.text_score]}
"""
ALONE = """
import base64, io, json, sys
import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rapidocr import RapidOCR
image = Image.new("RGB", (640, 240), "white")
drawing, font = ImageDraw.Draw(image), ImageFont.load_default(size=42)
drawing.text((30, 30), "Hello Proa 2026", fill="black", font=font)
drawing.text((30, 130), "three models in a graph", fill="navy", font=font)
drawn = io.BytesIO()
image.save(drawn, "PNG")
read = RapidOCR()(cv2.imdecode(np.frombuffer(drawn.getvalue(), np.uint8), cv2.IMREAD_COLOR))
lines = [list(line) for line in zip(read.boxes.tolist(), read.txts, read.scores)]
print("\\n" + json.dumps([base64.b64encode(drawn.getvalue()).decode(), lines]))
"""
STEPS = {"detect": "Detect", "classify": "Classify", "recognize": "Recognize"}


def make_model(name: str, kind: str) -> dict[str, Any]:
    """Return a model server with a class of the ConfigMap `ocr`: it loads the one ONNX model of its step."""
    arguments = [
        f"--model_name={name}",
        "--format=custom",
        f"--model_class=ocr:{kind}",
        "--model_dir=/mnt/models",
    ]
    container = {
        "name": "kserve-container",
        "image": "proa.local/python",
        "command": ["python", "-m", "proa.ml.serving.server"],
        "args": arguments,
        "volumeMounts": [{"name": "code", "mountPath": "/mnt/models"}],
    }
    volume = {"name": "code", "configMap": {"name": "ocr"}}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {"predictor": {"containers": [container], "volumes": [volume]}},
    }


def make_graph() -> dict[str, Any]:
    steps = [{"serviceName": name, "name": name, "dependency": "Hard"} for name in STEPS]
    steps[1:] = [{**step, "data": "$response", "mapPredictionsToInstances": True} for step in steps[1:]]
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "InferenceGraph",
        "metadata": {"name": "ocr"},
        "spec": {"nodes": {"root": {"routerType": "Sequence", "steps": steps}}},
    }


def until_ready(cluster: Cluster) -> str:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        status = cluster.get("inferencegraph", "ocr").get("status") or {}
        if "url" in status:
            return str(status["url"])
        assert time.monotonic() < deadline, f"not Ready within {DEADLINE_SECONDS} s: {status}"
        time.sleep(0.2)


def ask(url: str, body: Any) -> tuple[int, Any]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port or 80, timeout=120)
    try:
        connection.request("POST", "/", json.dumps(body), {"Host": parts.netloc})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_three_models_in_a_graph_read_as_rapidocr_does(serving_cluster: Cluster) -> None:
    cluster = serving_cluster
    code = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ocr"}, "data": {"ocr.py": MODELS}}
    objects = [code, *(make_model(name, kind) for name, kind in STEPS.items()), make_graph()]
    cluster.kubectl(
        "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    )
    alone = subprocess.run(
        [cluster.proa.python, "-c", ALONE], capture_output=True, text=True, check=True, timeout=180
    )
    image, expected = json.loads(alone.stdout.splitlines()[-1])

    status, told = ask(until_ready(cluster), {"instances": [image]})

    assert status == 200, told
    read = told["predictions"]
    assert [line["text"] for line in read] == ["Hello Proa 2026", "three models in a graph"]
    assert [[line["box"], line["text"]] for line in read] == [[box, text] for box, text, _ in expected]
    assert [line["score"] for line in read] == pytest.approx([score for *_, score in expected], abs=1e-4)
    cluster.kubectl(
        "delete", "inferencegraph/ocr", *(f"inferenceservice/{name}" for name in STEPS), "configmap/ocr"
    )
