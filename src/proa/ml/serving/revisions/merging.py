"""Merge what a component says with its runtime: the pods' spec, labels and annotations before anything is injected.

Pure: what comes out depends on the InferenceService and its runtime alone, so that it tells whether there is a new
revision. A runtime's containers are merged by name with the model's, arguments of both are kept; a transformer or an
explainer is told where its predictor is. Source: KServe's pkg/controller/v1beta1/inferenceservice/components/*.go and
pkg/apis/serving/v1beta1/{predictor,transformer,explainer}_*.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from proa.client.protocol import Object
from proa.ml.serving.kinds import MAIN_CONTAINER, PREDICTOR, TRANSFORMER, TRANSFORMER_CONTAINER
from proa.ml.serving.revisions.image_tags import image_of
from proa.ml.serving.revisions.names import component_labels, predictor_name
from proa.ml.serving.revisions.passed_on import passed_annotations
from proa.ml.serving.revisions.placeholders import BadPlaceholder, fill
from proa.ml.serving.revisions.words import CannotMake
from proa.ml.serving.spec.runtime_defaults import server_type
from proa.objects import meta
from proa.objects.errors import ApiError
from proa.objects.patch.strategic_merge import apply_strategic_merge
from proa.objects.patch.values import private_copy
from proa.objects.schemas.load import schema_named

NAME_VARIABLE = "INFERENCE_SERVICE_NAME"
_OF_RUNTIME = (
    "nodeSelector", "affinity", "tolerations", "volumes", "imagePullSecrets", "schedulerName", "resourceClaims",
)  # fmt: skip
_OF_MODEL = frozenset(
    {"modelFormat", "runtime", "runtimeVersion", "protocolVersion", "storageUri", "storage", "name"}
)
_OF_COMPONENT = frozenset(
    {
        "minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling",
        "containerConcurrency", "timeout", "canaryTrafficPercent", "logger", "batcher", "labels", "annotations",
        "deploymentStrategy", "model", "art", "workerSpec", "storageUris", "storageContainerName", "confidential",
        "name", "containers",
    }
)  # fmt: skip
"""Fields of a component that are none of its pods' spec, or are merged by themselves."""


class Merged(NamedTuple):
    """A component's pods before anything is injected."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: Object


def merge_component(
    isvc: Object, component: str, runtime: Object | None, disallowed: Iterable[str] = ()
) -> Merged:
    """Return the pods of a component; raise CannotMake.

    `isvc` has its defaults; `runtime` is the ServingRuntime or ClusterServingRuntime of a model, else None. Annotations
    that are `disallowed` are not passed on.
    """
    spec = isvc["spec"][component]
    of_runtime: Object = (runtime or {}).get("spec") or {}
    if component == PREDICTOR and spec.get("model"):
        pods = _merge_model(isvc, spec, runtime or {})
    else:
        pods = _merge_custom(isvc, component, spec)
    containers = [_with_variable(container, meta.name(isvc)) for container in pods["containers"]]
    return Merged(
        labels={
            **(of_runtime.get("labels") or {}),
            **meta.labels(isvc),
            **(spec.get("labels") or {}),
            **component_labels(isvc, component),
        },
        annotations={
            **passed_annotations(of_runtime.get("annotations") or {}, disallowed),
            **passed_annotations(meta.annotations(isvc), disallowed),
            **passed_annotations(spec.get("annotations") or {}, disallowed),
        },
        spec={**pods, "containers": containers},
    )


def _merge_model(isvc: Object, spec: Object, runtime: Object) -> Object:
    of_runtime = runtime.get("spec") or {}
    theirs = {container["name"]: container for container in of_runtime.get("containers") or ()}
    ours = {container["name"]: container for container in spec.get("containers") or ()}
    if not theirs:
        raise CannotMake("no container configuration found in selected serving runtime")
    if MAIN_CONTAINER not in theirs:
        raise CannotMake(f"failed to find {MAIN_CONTAINER} in ServingRuntime containers")
    model = {key: value for key, value in spec["model"].items() if key not in _OF_MODEL}
    main = _filled(_merge_containers(theirs[MAIN_CONTAINER], model), isvc, runtime)
    server = server_type(runtime)
    main["image"] = image_of(main, spec["model"].get("runtimeVersion") or "", server)
    containers = [main]
    if TRANSFORMER_CONTAINER in theirs or TRANSFORMER_CONTAINER in ours:
        beside = _merge_containers(theirs.get(TRANSFORMER_CONTAINER), ours.get(TRANSFORMER_CONTAINER))
        containers.append(_filled(beside, isvc, runtime))
    named = {MAIN_CONTAINER, TRANSFORMER_CONTAINER}
    containers += [container for name, container in theirs.items() if name not in named]
    containers += [container for name, container in ours.items() if name != TRANSFORMER_CONTAINER]
    base = {key: of_runtime[key] for key in _OF_RUNTIME if of_runtime.get(key)}
    return {**_merged(base, _pod_part(spec), "PodSpec"), "containers": containers}


def _merge_custom(isvc: Object, component: str, spec: Object) -> Object:
    containers = [*(spec.get("containers") or ())]
    if component != PREDICTOR and spec.get("art"):
        containers = [_art_container(isvc, spec)]
    if not containers:
        raise CannotMake(f"spec.{component}: name a model, or containers[0] with an image")
    first = dict(containers[0])
    if component != PREDICTOR or len(containers) == 1 or not first.get("name"):
        first["name"] = MAIN_CONTAINER
    if component != PREDICTOR and not spec.get("art"):
        first["args"] = _told_arguments(isvc, component, spec, [*(first.get("args") or ())])
    containers[0] = first
    if component == PREDICTOR and all(container.get("name") != MAIN_CONTAINER for container in containers):
        raise CannotMake(f"spec.{component}.containers: one must be called {MAIN_CONTAINER}")
    return {**_pod_part(spec), "containers": containers}


def _told_arguments(isvc: Object, component: str, spec: Object, arguments: list[str]) -> list[str]:
    """Return a transformer's or explainer's arguments, with those that KServe's servers of that kind want."""
    predictor = predictor_name(meta.name(isvc), (isvc["spec"][PREDICTOR]).get("name") or "")
    wanted = {
        "--model_name": meta.name(isvc),
        "--predictor_host": f"{predictor}.{meta.namespace(isvc)}",
        "--http_port": "8080",
    }
    if spec.get("containerConcurrency") is not None:
        wanted["--workers"] = str(spec["containerConcurrency"])
    added = [
        word
        for flag, value in wanted.items()
        if not _includes(arguments, flag) or (flag == "--http_port" and component != TRANSFORMER)
        for word in (flag, value)
    ]
    return [*arguments, *added]


def _art_container(isvc: Object, spec: Object) -> Object:
    art = spec["art"]
    predictor = predictor_name(meta.name(isvc), (isvc["spec"][PREDICTOR]).get("name") or "")
    own = [*(art.get("args") or ())]
    arguments = ["--model_name", meta.name(isvc), "--http_port", "8080"]
    if not _includes(own, "--predictor_host"):
        arguments += ["--predictor_host", f"{predictor}.{meta.namespace(isvc)}"]
    if spec.get("containerConcurrency") is not None and not _includes(own, "--workers"):
        arguments += ["--workers", str(spec["containerConcurrency"])]
    if art.get("storageUri"):
        arguments += ["--storage_uri", "/mnt/models"]
    arguments += ["--adversary_type", art.get("type") or ""]
    for key, value in sorted((art.get("config") or {}).items()):
        arguments += [f"--{key}", value]
    image = art.get("image") or f"kserve/art-explainer:{art.get('runtimeVersion') or 'latest'}"
    kept = {key: art[key] for key in art if key not in {"type", "config", "storageUri", "runtimeVersion"}}
    return {**kept, "name": MAIN_CONTAINER, "image": image, "args": [*arguments, *own]}


def _includes(arguments: Iterable[str], flag: str) -> bool:
    return any(argument == flag or argument.startswith(f"{flag}=") for argument in arguments)


def _pod_part(spec: Object) -> Object:
    return {key: value for key, value in spec.items() if key not in _OF_COMPONENT}


def _merge_containers(theirs: Object | None, ours: Object | None) -> Object:
    """Return the runtime's container with the InferenceService's merged in, and the arguments of both."""
    merged = _merged(theirs or {}, ours or {}, "Container")
    arguments = [*((theirs or {}).get("args") or ()), *((ours or {}).get("args") or ())]
    return {**merged, "args": arguments} if arguments else merged


def _merged(base: Object, patch: Object, kind: str) -> Object:
    try:
        schema = schema_named(f"io.k8s.api.core.v1.{kind}")
        merged: Object = private_copy(apply_strategic_merge(base, patch, schema))
    except ApiError as error:
        what = "container" if kind == "Container" else "serving runtime PodSpecs"
        raise CannotMake(f"failed to merge {what}. Detail: {error.message}") from None
    return merged


def _filled(container: Object, isvc: Object, runtime: Object) -> Object:
    try:
        filled: Object = fill(container, isvc)
    except BadPlaceholder as error:
        name = f"{meta.name(runtime)} Container {container.get('name')}"
        raise CannotMake(f"failed to replace placeholders in serving runtime {name}: {error}") from None
    return filled


def _with_variable(container: Object, name: str) -> Object:
    others = [entry for entry in container.get("env") or () if entry.get("name") != NAME_VARIABLE]
    return {**container, "env": [*others, {"name": NAME_VARIABLE, "value": name}]}
