"""Say of TrainedModels what the predictor that serves many is told: a ConfigMap of models, within its memory. Pure.

Source: pkg/modelconfig/configmap.go and pkg/controller/v1alpha1/trainedmodel of KServe.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import orjson

from proa.client.protocol import Object
from proa.ml.serving.kinds import MAIN_CONTAINER
from proa.objects import meta
from proa.objects.quantity import parse_quantity

FILE = "models.json"
MEMORY_READY, SERVICE_READY, IS_MULTI_MODEL = (
    "MemoryResourceAvailable",
    "InferenceServiceReady",
    "IsMMSPredictor",
)


def config_name(service: str) -> str:
    """Return the name of the ConfigMap with an InferenceService's models."""
    return f"modelconfig-{service}-0"


def make_config(service: Object, models: Iterable[Object]) -> Object:
    """Return the ConfigMap; its models are in the order of their names."""
    entries = [
        {"modelName": meta.name(model), "modelSpec": model["spec"]["model"]}
        for model in sorted(models, key=meta.name)
    ]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": config_name(meta.name(service)), "labels": meta.labels(service)},
        "data": {FILE: orjson.dumps(entries).decode()},
    }


def fitting(models: Sequence[Object], limit: str | int | None) -> list[Object]:
    """Return the models that fit into the predictor's memory together, the older first; without a limit all do."""
    by_age = sorted(models, key=lambda one: (one["metadata"].get("creationTimestamp") or "", meta.name(one)))
    if limit is None:
        return by_age
    left, found = parse_quantity(limit), []
    for model in by_age:
        needed = parse_quantity(model["spec"]["model"]["memory"])
        if needed <= left:
            left -= needed
            found.append(model)
    return found


def memory_limit(pod_spec: Object) -> str | int | None:
    """Return the memory limit of the container that serves; None where it has none."""
    for container in pod_spec["containers"]:
        if container.get("name") == MAIN_CONTAINER:
            limits = (container.get("resources") or {}).get("limits") or {}
            limit: str | int | None = limits.get("memory")
            return limit
    return None


def predict_path(model: str, protocol: str) -> str:
    """Return the path at which a model is asked for predictions."""
    return f"/v2/models/{model}/infer" if protocol == "v2" else f"/v1/models/{model}:predict"
