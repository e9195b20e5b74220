"""Train a digit classifier and store it, with its metrics, on the models volume.

Version 1 is a logistic regression, version 2 a small neural network. Both are kept as their layers' weights, so
that serving needs numpy alone. Environment: MODEL_VERSION (1 or 2), MODELS (folder, default /models).
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
from digits import held_out, training


def main() -> None:
    """Train, judge on the held-out digits, store."""
    version = os.environ["MODEL_VERSION"]
    folder = Path(os.environ.get("MODELS", "/models"), "digits", version)
    pixels, labels = training()
    print(f"training version {version} on {len(labels)} digits", flush=True)
    started = time.monotonic()
    weights, biases, kind = fit(version, pixels, labels)
    seconds = time.monotonic() - started
    test_pixels, test_labels = held_out()
    accuracy = float((predict(test_pixels, weights, biases) == test_labels).mean())
    metrics = {"kind": kind, "accuracy": accuracy, "held_out": len(test_labels), "training_seconds": seconds}
    store(folder, weights, biases, metrics)
    print(json.dumps(metrics), flush=True)


def fit(version, pixels, labels):
    """Return the layers' weights and biases, and what kind of model they are."""
    if version == "1":
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(max_iter=1000).fit(pixels, labels)
        return [model.coef_.T], [model.intercept_], "logistic regression"
    if version == "2":
        from sklearn.neural_network import MLPClassifier

        model = MLPClassifier((64,), learning_rate_init=0.01, max_iter=200, random_state=0).fit(
            pixels, labels
        )
        return model.coefs_, model.intercepts_, "neural network, 64 hidden units"
    raise SystemExit(f"MODEL_VERSION={version}: there is a version 1 and a version 2")


def predict(rows, weights, biases):
    """Return the likeliest digit for each row: linear layers with ReLU between them."""
    for matrix, bias in zip(weights[:-1], biases[:-1], strict=True):
        rows = np.maximum(rows @ matrix + bias, 0)
    return (rows @ weights[-1] + biases[-1]).argmax(axis=1)


def store(folder, weights, biases, metrics):
    """Write beside, then rename: a reader sees a whole model or none."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {f"weights{i}": w for i, w in enumerate(weights)} | {
        f"biases{i}": b for i, b in enumerate(biases)
    }
    np.savez(folder / "new.npz", **{name: array.astype(np.float32) for name, array in arrays.items()})
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "new.npz").rename(folder / "model.npz")


if __name__ == "__main__":
    main()
