"""List the Deployments of an InferenceService in Standard mode: one a component, and one for each of spec.canary. Pure.

A canary is the predictor with what it says otherwise, under its own name, and with a fixed number of replicas: its part
of the predictor's. Once a predictor of that name takes its place, its Deployment stays as it is.
Source: canaryReplicaCount, buildCanaryPredictor and adjustStableMinReplicasForCanaries of KServe's
pkg/controller/v1beta1/inferenceservice/components/predictor.go.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.ml.serving.kinds import AUTOSCALER_CLASS, COMPONENTS, PREDICTOR
from proa.ml.serving.revisions.names import component_name, predictor_name
from proa.objects import meta

_OF_SCALING = ("maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling")
BY_HPA, BY_NOBODY, BY_OTHERS = "hpa", "none", "external"


class Variant(NamedTuple):
    """One Deployment to be. `isvc` is the InferenceService as if it were this one's alone."""

    kind: str
    name: str
    isvc: Object
    canary: str = ""
    """The canary's name; "" for the one that is no canary."""
    percent: int = 0
    """A canary's part of the traffic."""

    @property
    def spec(self) -> Object:
        """Return what its component says."""
        found: Object = self.isvc["spec"][self.kind]
        return found

    @property
    def scaled_by(self) -> str:
        """Return who writes its replicas after it was made."""
        if self.canary:
            return BY_NOBODY
        said = meta.annotations(self.isvc).get(AUTOSCALER_CLASS) or BY_HPA
        return said if said in (BY_HPA, BY_NOBODY) else BY_OTHERS

    @property
    def replicas(self) -> int:
        """Return how many pods it begins with, or has where nobody scales it."""
        least = self.spec.get("minReplicas")
        wanted = 1 if least is None else int(least)
        return wanted if self.scaled_by == BY_NOBODY else max(1, wanted)


def list_variants(isvc: Object) -> list[Variant]:
    """Return what an InferenceService (with its defaults) has: its components, then the canaries."""
    spec = isvc["spec"]
    found = [Variant(kind, component_name(isvc, kind), isvc) for kind in COMPONENTS if spec.get(kind)]
    return [*found, *(_canary(isvc, canary) for canary in spec.get("canary") or ())]


def stable_min_replicas(
    variant: Variant, canaries: Collection[Variant], ready: Collection[str]
) -> int | None:
    """Return the least replicas of the stable predictor, fewer by those of canaries that are ready."""
    least: int | None = variant.spec.get("minReplicas")
    taken = sum(one.replicas for one in canaries if one.name in ready)
    if least is None or variant.kind != PREDICTOR or not taken:
        return least
    return max(least - taken, 1)


def _canary(isvc: Object, canary: Object) -> Variant:
    stable, own = isvc["spec"][PREDICTOR], canary[PREDICTOR]
    merged = _merge(stable, own)
    for field in _OF_SCALING:
        merged.pop(field, None)
    merged["minReplicas"] = _replicas(stable, canary)
    meant = {**isvc, "spec": {**isvc["spec"], PREDICTOR: merged}}
    name = predictor_name(meta.name(isvc), own["name"])
    return Variant(PREDICTOR, name, meant, own["name"], canary.get("trafficPercent") or 0)


def _replicas(stable: Object, canary: Object) -> int:
    own = canary[PREDICTOR].get("minReplicas")
    if own is not None:
        return int(own)
    least = stable.get("minReplicas")
    return math.ceil((1 if least is None else least) * (canary.get("trafficPercent") or 0) / 100)


def _merge(base: Any, over: Any) -> Any:
    """Return objects merged field by field; all else, lists too, is the second's."""
    if isinstance(base, dict) and isinstance(over, dict):
        return {**base, **{key: _merge(base.get(key), value) for key, value in over.items()}}
    return over
