"""What serves a model tells its makers nothing, unless the pod's environment says that it may.

onnxruntime (from 1.32 on, on Linux too), MLflow and Hugging Face's libraries report how they are used over the network
unless one of these variables is set before they are imported; onnxruntime keeps what it has not yet sent, and an id of
the device, in the home directory.
"""

from __future__ import annotations

import os

SILENCE = {
    "ORT_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}


def silence_telemetry() -> None:
    """Set what is not set, for this process and those that it starts."""
    for name, value in SILENCE.items():
        os.environ.setdefault(name, value)
