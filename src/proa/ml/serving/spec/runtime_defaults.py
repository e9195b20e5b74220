"""Say what a model gets by the server that was selected for it: what MLServer, TorchServe and Triton want to be told.

Pure. Which server a runtime has, its annotation says, or its name. Source: SetRuntimeDefaults of KServe's
pkg/apis/serving/v1beta1/inference_service_defaults.go.
"""

from __future__ import annotations

from proa.ml.serving.kinds import MODELS_FOLDER, PREDICTOR
from proa.ml.serving.records import Object
from proa.ml.serving.spec.selection import Selected
from proa.objects import meta

SERVER_TYPE = "serving.kserve.io/server-type"
TYPES_BY_NAME = {
    "kserve-mlserver": "mlserver",
    "kserve-torchserve": "torchserve",
    "kserve-tritonserver": "tritonserver",
    "kserve-tensorflow-serving": "tensorflow-serving",
    "kserve-huggingfaceserver": "huggingfaceserver",
    "kserve-vllmserver": "vllmserver",
}
ML_SERVER_CLASSES = {
    "xgboost": "mlserver_xgboost.XGBoostModel",
    "lightgbm": "mlserver_lightgbm.LightGBMModel",
    "mlflow": "mlserver_mlflow.MLflowRuntime",
}
ML_SERVER_CLASS = "mlserver_sklearn.SKLearnModel"
DEFAULT_PROTOCOLS = {"mlserver": "v2", "tritonserver": "v2", "torchserve": "v1"}


def server_type(runtime: Object) -> str:
    """Return which server a runtime has, "" where nobody says."""
    return meta.annotations(runtime).get(SERVER_TYPE) or TYPES_BY_NAME.get(meta.name(runtime), "")


def with_runtime(isvc: Object, selected: Selected) -> Object:
    """Return the InferenceService with its runtime, the protocol, and what the runtime's server wants to be told."""
    spec = isvc["spec"]
    model: Object = spec[PREDICTOR]["model"]
    server = server_type(selected.runtime)
    said = model.get("protocolVersion") or DEFAULT_PROTOCOLS.get(server)
    model = {**model, "runtime": meta.name(selected.runtime), "protocolVersion": said or selected.protocol}
    labels = meta.labels(isvc)
    if server == "mlserver":
        model = _with_env(model, _ml_server_env(model, meta.name(isvc)))
        labels = {
            **labels,
            "modelClass": ML_SERVER_CLASSES.get(model["modelFormat"]["name"], ML_SERVER_CLASS),
        }
    elif server == "torchserve":
        model = {
            **model,
            "env": [*(model.get("env") or ()), _variable("PROTOCOL_VERSION", model["protocolVersion"])],
        }
        is_v2 = model["protocolVersion"] in ("v2", "grpc-v2")
        labels = {**labels, "serviceEnvelope": "kservev2" if is_v2 else "kserve"}
    elif server == "tritonserver" and not (model.get("storageUri") or model.get("storage")):
        model = {**model, "args": [*(model.get("args") or ()), "--model-control-mode=explicit"]}
    predictor = {**spec[PREDICTOR], "model": model}
    metadata = {**isvc["metadata"], "labels": labels} if labels else isvc["metadata"]
    return {**isvc, "metadata": metadata, "spec": {**spec, PREDICTOR: predictor}}


def _ml_server_env(model: Object, name: str) -> list[Object]:
    if not (model.get("storageUri") or model.get("storage")):
        return [_variable("MLSERVER_LOAD_MODELS_AT_STARTUP", "false")]
    return [_variable("MLSERVER_MODEL_NAME", name), _variable("MLSERVER_MODEL_URI", MODELS_FOLDER)]


def _with_env(model: Object, added: list[Object]) -> Object:
    env = [*(model.get("env") or ())]
    known = {entry["name"] for entry in env}
    return {**model, "env": [*env, *(entry for entry in added if entry["name"] not in known)]}


def _variable(name: str, value: str) -> Object:
    return {"name": name, "value": value}
