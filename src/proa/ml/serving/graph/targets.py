"""Say where the steps of a graph lead: the InferenceServices that they name, by address and predict path. Pure.

Source: GetPredictorEndpoint and GetModelName in KServe's pkg/controller/v1beta1/inferenceservice/utils/utils.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from proa.client.protocol import Object
from proa.ml.serving.kinds import PREDICTOR, TRANSFORMER, TRANSFORMER_CONTAINER
from proa.ml.serving.spec.defaults import has_many_models, with_defaults
from proa.objects import meta

PATHS = {"v1": "/v1/models/{}:predict", "v2": "/v2/models/{}/infer"}
_MODEL_NAME_FLAGS = ("--model_name", "--model-name")
_MODEL_NAME_VARIABLE = "MLSERVER_MODEL_NAME"
_PROTOCOL_VARIABLE = "PROTOCOL"

FindService = Callable[[str], Object | None]
FindRuntime = Callable[[str], Object | None]


class NotReady(Exception):
    """A graph cannot be carried out yet, or at all: which service, and why."""


def resolve(spec: Object, find_service: FindService, find_runtime: FindRuntime) -> Object:
    """Return the spec with a URL for each step that names a service; raise NotReady."""
    nodes = {
        name: {
            **node,
            "steps": [_resolve(step, find_service, find_runtime) for step in node.get("steps") or ()],
        }
        for name, node in spec["nodes"].items()
    }
    return {**spec, "nodes": nodes}


def _resolve(step: Object, find_service: FindService, find_runtime: FindRuntime) -> Object:
    name = step.get("serviceName")
    if not name or step.get("serviceUrl"):
        return step
    service = find_service(name)
    if service is None:
        raise NotReady(f"Failed to find graph service {name}")
    return {**step, "serviceUrl": find_url(service, find_runtime)}


def find_url(service: Object, find_runtime: FindRuntime) -> str:
    """Return where an InferenceService is asked for predictions; raise NotReady."""
    url = ((service.get("status") or {}).get("address") or {}).get("url")
    if not url:
        raise NotReady(f"service {meta.name(service)} is not ready")
    spec = with_defaults(service)["spec"]
    predictor = spec[PREDICTOR]
    model, path = _model_name(service, spec), ""
    if transformer := spec.get(TRANSFORMER):
        path = PATHS.get(_protocol_of(transformer.get("containers") or ()), "")
    elif not has_many_models(predictor):
        path = PATHS.get(_predictor_protocol(predictor, find_runtime), "")
    return str(url) + path.format(model)


def _predictor_protocol(predictor: Object, find_runtime: FindRuntime) -> str:
    model = predictor.get("model")
    if model is None:
        return _protocol_of(predictor.get("containers") or ())
    protocol: str = model.get("protocolVersion") or "v1"
    if name := model.get("runtime"):
        runtime = find_runtime(name)
        if runtime is None:
            raise NotReady(f"there is no ServingRuntime or ClusterServingRuntime {name}")
        versions = runtime["spec"].get("protocolVersions") or ()
        known = [version for version in versions if version in PATHS]
        if versions and not known:
            raise NotReady("the runtime does not support a protocol compatible with Inference Graphs")
        if known and not model.get("protocolVersion"):
            protocol = known[0]
    return protocol


def _protocol_of(containers: Sequence[Object]) -> str:
    """Return the protocol that a user's container says it speaks."""
    beside = [one for one in containers if one.get("name") == TRANSFORMER_CONTAINER]
    for container in beside or containers[:1]:
        return _variable(container, _PROTOCOL_VARIABLE) or "v1"
    return "v1"


def _model_name(service: Object, spec: Object) -> str:
    """Return what the model is called in paths: as arguments or a variable say, else as the service."""
    predictor = spec[PREDICTOR]
    for container in ((spec.get(TRANSFORMER) or {}).get("containers") or ())[:1]:
        if name := _argument(container.get("args") or ()):
            return name
    served: Object = predictor.get("model") or next(iter(predictor.get("containers") or ()), {})
    named = _variable(served, _MODEL_NAME_VARIABLE) if "model" in predictor else ""
    return named or _argument(served.get("args") or ()) or meta.name(service)


def _variable(container: Mapping[str, Any], name: str) -> str:
    return next(
        (str(one.get("value") or "") for one in container.get("env") or () if one.get("name") == name), ""
    )


def _argument(arguments: Iterable[str]) -> str:
    found, is_next = "", False
    for argument in arguments:
        if is_next and not argument.startswith("--"):
            found = argument
        flag, _, value = argument.partition("=")
        is_next = argument in _MODEL_NAME_FLAGS
        if flag in _MODEL_NAME_FLAGS and value:
            found = value
    return found
