"""Say what an InferenceService leaves open: the one form of a model, its protocol, what pods get by default.

Pure: the object that users wrote stays as it is; whoever acts on it asks here first. Follows the defaults of KServe's
mutating webhook (pkg/apis/serving/v1beta1/inference_service_defaults.go and predictor_custom.go).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.ml.serving.kinds import COMPONENTS, MAIN_CONTAINER, PREDICTOR
from proa.ml.serving.records import Object
from proa.objects import meta

LEGACY_FORMATS = (
    "sklearn", "xgboost", "tensorflow", "pytorch", "triton", "onnx", "huggingface", "pmml", "lightgbm", "paddle",
)  # fmt: skip
"""What a predictor may have in place of `model`: the format is the key."""
FORMAT_ANNOTATION = "modelFormat"
V2_FORMS = frozenset({"triton", "onnx", "huggingface"})
"""Old forms whose protocol is v2 unless they say otherwise."""
V2_FORMATS = frozenset({"triton", "vLLM"})
"""Formats of `model` likewise."""


def with_defaults(isvc: Object, resources: Mapping[str, Any] | None = None) -> Object:
    """Return the InferenceService with all that is left open filled in.

    `resources` are the requests and limits of containers that users bring (inferenceService.resource of the
    configuration, as a container has them).
    """
    spec = dict(isvc.get("spec") or {})
    for kind in COMPONENTS:
        if kind in spec:
            spec[kind] = _component(kind, spec[kind], resources or {})
    if spec.get("canary"):
        spec["canary"] = [_canary(canary, resources or {}) for canary in spec["canary"]]
    model = (spec.get(PREDICTOR) or {}).get("model")
    annotations = meta.annotations(isvc)
    if model and FORMAT_ANNOTATION not in annotations:
        annotations = {**annotations, FORMAT_ANNOTATION: model["modelFormat"]["name"]}
    metadata = {**isvc["metadata"], "annotations": annotations}
    return {**isvc, "metadata": metadata, "spec": spec}


def to_model_form(predictor: Object) -> Object:
    """Return a predictor with `model` in place of an old form (`sklearn`, …); others as they are."""
    for name in LEGACY_FORMATS:
        if name in predictor:
            rest = {key: value for key, value in predictor.items() if key != name}
            given = dict(predictor[name] or {})
            if name in V2_FORMS:
                given.setdefault("protocolVersion", "v2")
            return {**rest, "model": {"modelFormat": {"name": name}, **given}}
    return predictor


def has_many_models(predictor: Object) -> bool:
    """Tell whether TrainedModels bring a predictor's models: it has none of its own. It is in one form."""
    model = predictor.get("model")
    if model is None:
        containers = predictor.get("containers") or [{}]
        env = {entry.get("name"): entry.get("value") for entry in containers[0].get("env") or ()}
        return env.get("MULTI_MODEL_SERVER") == "true"
    if model["modelFormat"]["name"] == "huggingface":
        return False
    return not (model.get("storageUri") or model.get("storage") or predictor.get("storageUris"))


def _canary(canary: Object, resources: Mapping[str, Any]) -> Object:
    return {**canary, PREDICTOR: _component(PREDICTOR, canary[PREDICTOR], resources)}


def _component(kind: str, component: Object, resources: Mapping[str, Any]) -> Object:
    spec = {"automountServiceAccountToken": False, **component}
    if kind == PREDICTOR:
        spec = to_model_form(spec)
    if "model" in spec:
        model = spec["model"]
        if model["modelFormat"]["name"] in V2_FORMATS:
            model = {**model, "protocolVersion": model.get("protocolVersion") or "v2"}
        return {**spec, "model": model}
    if spec.get("containers"):
        first, *others = spec["containers"]
        if kind != PREDICTOR or not others or not first.get("name"):
            first = {**first, "name": MAIN_CONTAINER}
        spec["containers"] = [_with_resources(first, resources), *others]
    elif "art" in spec:
        spec["art"] = _with_resources(spec["art"] or {}, resources)
    return spec


def _with_resources(container: Object, resources: Mapping[str, Any]) -> Object:
    given = container.get("resources") or {}
    missing = {kind: {**amounts, **(given.get(kind) or {})} for kind, amounts in resources.items() if amounts}
    return {**container, "resources": {**given, **missing}} if missing else container
