"""Say what is wrong with an InferenceService that its definition cannot tell: what annotations say, and names' lengths.

Pure. Messages are upstream's where upstream has one, behind the field that they are about. Source: KServe's validating
webhook (pkg/apis/serving/v1beta1/inference_service_validation.go, component.go).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from proa.ml.serving.kinds import (
    AUTOSCALER_CLASS,
    COMPONENTS,
    DEPLOYMENT_MODE,
    KNATIVE_MODES,
    PREDICTOR,
    STANDARD_MODES,
)
from proa.ml.serving.records import Object
from proa.objects import meta

KNATIVE, STANDARD = KNATIVE_MODES[0], STANDARD_MODES[0]
AUTOSCALERS = ("hpa", "external", "keda", "none")
KNATIVE_CLASS = "autoscaling.knative.dev/class"
KNATIVE_HPA = "hpa.autoscaling.knative.dev"
KPA_METRICS, HPA_METRICS = ("concurrency", "rps"), ("cpu", "memory")
MAX_LABEL = 63
"""Of a Service's name and of a label's value, which a revision's name is."""
REVISION_SUFFIX = len("-00001")
MAX_TIMEOUT_SECONDS = 99_999
"""Of a route's rule, which tells seconds with five digits."""
PERCENTAGE = "the target utilization percentage should be a [1-100] integer"


class Problem(NamedTuple):
    """What is wrong, and where."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


def check(isvc: Object, mode: str) -> list[Problem]:
    """Return what is wrong, nothing for none. `isvc` has its defaults; `mode` is what it is deployed in."""
    return [
        *_check_mode(isvc),
        *_check_name(isvc),
        *_check_autoscaler(isvc, mode),
        *(
            problem
            for kind in COMPONENTS
            if kind in isvc["spec"]
            for problem in _check_component(isvc, kind, mode)
        ),
        *_check_predictor(isvc["spec"][PREDICTOR]),
        *_check_canaries(isvc, mode),
    ]


def _check_mode(isvc: Object) -> Iterator[Problem]:
    field = f"metadata.annotations[{DEPLOYMENT_MODE}]"
    said = meta.annotations(isvc).get(DEPLOYMENT_MODE)
    before = (isvc.get("status") or {}).get("deploymentMode")
    if said == "ModelMesh":
        yield Problem(field, f"ModelMesh is not carried out: say {KNATIVE} or {STANDARD}")
    elif said and before and _known(said) != _known(before):
        words = f"deploymentMode cannot be changed from '{_known(before)}' to '{_known(said)}'"
        yield Problem(field, f"update rejected: {words}; make another InferenceService")


def _known(mode: str) -> str:
    for modes in (KNATIVE_MODES, STANDARD_MODES):
        if mode in modes:
            return modes[0]
    return mode


def _check_name(isvc: Object) -> Iterator[Problem]:
    predictor = isvc["spec"][PREDICTOR].get("name")
    longest = max(
        (
            f"{predictor}-{kind}" if kind == PREDICTOR and predictor else kind
            for kind in COMPONENTS
            if kind in isvc["spec"]
        ),
        key=len,
    )
    most = MAX_LABEL - len(f"-{longest}") - REVISION_SUFFIX
    if len(meta.name(isvc)) > most:
        words = f"must be no more than {most} characters, so that {meta.name(isvc)}-{longest}-00001 is a name"
        yield Problem("metadata.name", words)


def _check_autoscaler(isvc: Object, mode: str) -> Iterator[Problem]:
    said = meta.annotations(isvc).get(AUTOSCALER_CLASS)
    field = f"metadata.annotations[{AUTOSCALER_CLASS}]"
    if said is not None and said not in AUTOSCALERS:
        yield Problem(field, f"[{said}] is not a supported autoscaler class type")
    elif said == "keda" and mode == STANDARD:
        yield Problem(field, "KEDA's ScaledObjects are not made: say hpa, external or none")


def _check_component(isvc: Object, kind: str, mode: str) -> Iterator[Problem]:
    component, field = isvc["spec"][kind], f"spec.{kind}"
    annotations = meta.annotations(isvc)
    if mode == STANDARD:
        if annotations.get(AUTOSCALER_CLASS) == "hpa":
            yield from _check_hpa(component, field)
    elif annotations.get(KNATIVE_CLASS) == KNATIVE_HPA:
        yield from _check_hpa(component, field)
    else:
        yield from _check_kpa(component, field)
    yield from _check_numbers(component, field)
    yield from _check_protocol(component, field)
    yield from _check_storage_uris(component.get("storageUris") or (), f"{field}.storageUris")
    if component.get("storageUris") and _own_uri(component):
        yield Problem(f"{field}.storageUris", "Setting both StorageURI and StorageURIs is not supported.")


def _check_kpa(component: Object, field: str) -> Iterator[Problem]:
    if component.get("deploymentStrategy") is not None:
        words = "customizing deploymentStrategy is only supported for raw deployment mode"
        yield Problem(f"{field}.deploymentStrategy", words)
    metric = component.get("scaleMetric") or "concurrency"
    if metric not in KPA_METRICS:
        words = f"[{metric}] is not a supported metric"
        hint = f"; cpu and memory are with annotation {KNATIVE_CLASS}: {KNATIVE_HPA}, or in {STANDARD} mode"
        yield Problem(f"{field}.scaleMetric", words + hint)
    target = component.get("scaleTarget")
    if metric == "rps" and target is not None and target < 1:
        yield Problem(f"{field}.scaleTarget", "the target for rps should be greater than 1")


def _check_hpa(component: Object, field: str) -> Iterator[Problem]:
    metric, target = component.get("scaleMetric") or "cpu", component.get("scaleTarget")
    if metric not in HPA_METRICS:
        yield Problem(f"{field}.scaleMetric", f"[{metric}] is not a supported metric")
    elif target is not None:
        if (metric == "cpu" and target < 1) or target > 100:
            yield Problem(f"{field}.scaleTarget", PERCENTAGE)
        elif metric == "memory" and target < 1:
            yield Problem(f"{field}.scaleTarget", "the target memory should be greater than 1 MiB")
    for index, source in enumerate((component.get("autoScaling") or {}).get("metrics") or ()):
        at = f"{field}.autoScaling.metrics[{index}]"
        if source["type"] != "Resource":
            words = f"invalid HPA metric source type with value [{source['type']}],"
            words += "valid metric source types are Resource"
            yield Problem(f"{at}.type", words)
        elif "resource" not in source:
            yield Problem(f"{at}.resource", "metricSpec.Resource is not set for resource metric source type")


def _check_numbers(component: Object, field: str) -> Iterator[Problem]:
    timeout, batcher = component.get("timeout"), component.get("batcher") or {}
    if timeout is not None and not 0 <= timeout <= MAX_TIMEOUT_SECONDS:
        yield Problem(
            f"{field}.timeout", f"{timeout} is no number of seconds from 0 to {MAX_TIMEOUT_SECONDS}"
        )
    for name in ("maxBatchSize", "maxLatency"):
        if (said := batcher.get(name)) is not None and said < 1:
            yield Problem(f"{field}.batcher.{name}", f"{said} is below 1")


def _check_protocol(component: Object, field: str) -> Iterator[Problem]:
    if "model" in component or not component.get("containers"):
        return
    said = _variable(component["containers"][0], "PROTOCOL")
    if said is not None and said not in ("v1", "v2"):
        yield Problem(f"{field}.containers[0].env", f"invalid protocol {said}. Must be one of [v1, v2]")


def _own_uri(component: Object) -> str | None:
    """Return the URI that a custom container names by its environment."""
    containers = component.get("containers") or ()
    return _variable(containers[0], "STORAGE_URI") if containers and "model" not in component else None


def _variable(container: Object, name: str) -> str | None:
    return next(
        (entry.get("value", "") for entry in container.get("env") or () if entry["name"] == name), None
    )


def _check_storage_uris(uris: Sequence[Object], field: str) -> Iterator[Problem]:
    claims = [uri["mountPath"] for uri in uris if uri["uri"].startswith("pvc://")]
    others = [uri["mountPath"] for uri in uris if not uri["uri"].startswith("pvc://")]
    if len(claims) > len(set(claims)):
        yield Problem(field, "PVC storage paths must be unique")
    if len(others) > 1 and posixpath.commonpath(others) == "/":
        words = f"Current paths: [{' '.join(others)}] have no common parent beyond root"
        yield Problem(field, f"storage paths must have a common parent directory. {words}")


def _check_predictor(predictor: Object) -> Iterator[Problem]:
    field = f"spec.{PREDICTOR}"
    if predictor.get("workerSpec") is not None:
        yield Problem(f"{field}.workerSpec", "a predictor of several nodes is not carried out: leave it out")
    if (predictor.get("model") or {}).get("confidential", {}).get("enabled"):
        words = "encrypted models are not carried out: nothing here attests to a key broker; leave it out"
        yield Problem(f"{field}.model.confidential", words)
    if predictor.get("storageContainerName"):
        words = "there are no ClusterStorageContainers: leave it out, the URI's scheme says how it is fetched"
        yield Problem(f"{field}.storageContainerName", words)


def _check_canaries(isvc: Object, mode: str) -> Iterator[Problem]:
    if not isvc["spec"].get("canary"):
        return
    if mode != STANDARD:
        words = f"canary is only supported in {STANDARD} deployment mode"
        hint = f"; in {KNATIVE} mode spec.predictor.canaryTrafficPercent says how much a new revision gets"
        yield Problem("spec.canary", words + hint)
    for index, canary in enumerate(isvc["spec"]["canary"]):
        name = f"{meta.name(isvc)}-{canary[PREDICTOR]['name']}-{PREDICTOR}"
        if len(name) > MAX_LABEL:
            words = (
                f"must be no more than {MAX_LABEL - len(name) + len(canary[PREDICTOR]['name'])} characters"
            )
            yield Problem(f"spec.canary[{index}].predictor.name", f"{words}, so that {name} is a name")
