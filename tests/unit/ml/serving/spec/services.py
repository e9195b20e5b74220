"""InferenceServices and runtimes, as tests write them."""

from __future__ import annotations

from typing import Any

from proa.client.protocol import Object


def make_service(predictor: Any = None, *, name: str = "iris", **spec: Any) -> Object:
    """Return an InferenceService; without a predictor, one of scikit-learn."""
    annotations = spec.pop("annotations", None)
    metadata: Object = {"name": name, "namespace": "default", "uid": "1"}
    if annotations:
        metadata["annotations"] = annotations
    kind = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService"}
    return {**kind, "metadata": metadata, "spec": {"predictor": predictor or {"model": make_model()}, **spec}}


def make_model(name: str = "sklearn", version: str = "", **fields: Any) -> Object:
    """Return what stands at `model`."""
    model_format = {"name": name, "version": version} if version else {"name": name}
    return {"modelFormat": model_format, "storageUri": "s3://models/iris", **fields}


def make_runtime(
    name: str, *formats: str, namespace: str = "", made: str = "2026-01-01", **fields: Any
) -> Object:
    """Return a runtime; a format is `NAME[:VERSION][=PRIORITY]`, one that begins with `-` is not selected by itself."""
    metadata: Object = {"name": name, "creationTimestamp": f"{made}T00:00:00Z"}
    if namespace:
        metadata["namespace"] = namespace
    if "annotations" in fields:
        metadata["annotations"] = fields.pop("annotations")
    spec = {"protocolVersions": ["v1"], "containers": [{"name": "kserve-container", "image": name}], **fields}
    return {
        "metadata": metadata,
        "spec": {**spec, "supportedModelFormats": [_format(one) for one in formats]},
    }


def _format(text: str) -> Object:
    label, _, priority = text.partition("=")
    name, _, version = label.removeprefix("-").partition(":")
    made: Object = {"name": name, "autoSelect": not text.startswith("-")}
    if version:
        made["version"] = version
    if priority:
        made["priority"] = int(priority)
    return made
