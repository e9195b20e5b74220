"""Choose the runtime of an InferenceService's model; the InferenceService with its defaults. Pure.

Source: reconcileModel of pkg/controller/v1beta1/inferenceservice/components/predictor.go of KServe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.ml.serving.kinds import PREDICTOR
from proa.ml.serving.revisions.words import NO_RUNTIME, RUNTIME_DISABLED, RUNTIME_UNKNOWN, CannotMake
from proa.objects import meta

NAME_FIELDS = ("servingRuntimeName", "clusterServingRuntimeName")


class Chosen(NamedTuple):
    """An InferenceService with its defaults, and the runtime of its model, or why there is none."""

    isvc: Object
    runtime: Object | None = None
    refusal: CannotMake | None = None

    @property
    def names(self) -> Mapping[str, str]:
        """Return the status field that names the runtime."""
        if self.runtime is None:
            return {}
        return {NAME_FIELDS[0 if meta.namespace(self.runtime) else 1]: meta.name(self.runtime)}

    @property
    def absent_names(self) -> Iterable[str]:
        """Return which status fields name no runtime now."""
        return () if self.refusal else [field for field in NAME_FIELDS if field not in self.names]


def choose_runtime(isvc: Object, runtimes: Sequence[Object], cluster_runtimes: Sequence[Object]) -> Chosen:
    """Return the InferenceService as it is meant, with its runtime."""
    spec = isvc["spec"][PREDICTOR]
    for key in (
        "sklearn",
        "xgboost",
        "lightgbm",
        "onnx",
        "pytorch",
        "huggingface",
        "tensorflow",
        "triton",
        "pmml",
    ):
        if key in spec:
            model = {**spec[key], "modelFormat": {"name": key}}
            predictor = {**{k: v for k, v in spec.items() if k != key}, "model": model}
            isvc = {**isvc, "spec": {**isvc["spec"], PREDICTOR: predictor}}
            spec = predictor
    model = spec.get("model")
    if not model:
        return Chosen(isvc)
    all_of = [*runtimes, *cluster_runtimes]
    if name := model.get("runtime"):
        found = next((one for one in all_of if meta.name(one) == name), None)
        if found is None:
            return Chosen(
                isvc, refusal=CannotMake("Waiting for runtime to become available", RUNTIME_UNKNOWN)
            )
        if found["spec"].get("disabled"):
            return Chosen(isvc, refusal=CannotMake("Specified runtime is disabled", RUNTIME_DISABLED))
        return Chosen(isvc, found)
    wanted = model["modelFormat"]["name"]
    for one in all_of:
        for supported in one["spec"].get("supportedModelFormats") or ():
            if (
                supported["name"] == wanted
                and supported.get("autoSelect")
                and not one["spec"].get("disabled")
            ):
                return Chosen(isvc, one)
    return Chosen(
        isvc,
        refusal=CannotMake(f"No runtime found to support specified framework/version: {wanted}", NO_RUNTIME),
    )
