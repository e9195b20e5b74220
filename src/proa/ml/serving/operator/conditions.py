"""Keep an InferenceService's conditions as Knative's condition sets do: sorted by type, Ready from what it depends on.

Pure. Ready depends on PredictorReady and IngressReady alone, as KServe has it (a transformer's or explainer's trouble
is told by IngressReady too, which waits for them). A condition whose words change gets a new time.
Source: knative.dev/pkg/apis/condition_set.go; conditionSet of KServe's
pkg/apis/serving/v1beta1/inference_service_status.go.
"""

from __future__ import annotations

from collections.abc import Iterable

from proa.client.protocol import Object
from proa.objects import meta

READY = "Ready"
PREDICTOR_READY, INGRESS_READY = "PredictorReady", "IngressReady"
ROUTES_READY, LATEST_DEPLOYMENT_READY = "RoutesReady", "LatestDeploymentReady"
CANARY_PREDICTOR_READY, STOPPED = "CanaryPredictorReady", "Stopped"
COMPONENT_READY = {
    "predictor": PREDICTOR_READY,
    "transformer": "TransformerReady",
    "explainer": "ExplainerReady",
}
ROUTE_READY = {
    "predictor": "PredictorRouteReady",
    "transformer": "TransformerRouteReady",
    "explainer": "ExplainerRoutesReady",
}
CONFIGURATION_READY = {
    "predictor": "PredictorConfigurationReady",
    "transformer": "TransformerConfigurationReady",
    "explainer": "ExplainerConfigurationReady",
}
TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"
_DEPENDENTS = (PREDICTOR_READY, INGRESS_READY)
_TERMINAL = (READY, *_DEPENDENTS)


class Conditions:
    """The conditions of one InferenceService while its status is made. `now` is seconds since the epoch."""

    def __init__(self, found: Iterable[Object], now: float) -> None:
        self._found = {one["type"]: one for one in found}
        self._now = now
        for type in _TERMINAL:
            if type not in self._found:
                self.set(type, UNKNOWN)

    def set(self, type: str, status: str, reason: str = "", message: str = "") -> None:
        """Set one."""
        made = {"type": type, "status": status}
        if reason:
            made["reason"] = reason
        if message:
            made["message"] = message
        if type not in _TERMINAL:
            made["severity"] = "Info"
        known = self._found.get(type)
        if (
            known is not None
            and {key: value for key, value in known.items() if key != "lastTransitionTime"} == made
        ):
            return
        self._found[type] = {**made, "lastTransitionTime": meta.format_time(self._now)}

    def clear(self, *types: str) -> None:
        """Forget some."""
        for type in types:
            self._found.pop(type, None)

    def status(self, type: str) -> str:
        """Return a condition's status; "" where it is not there."""
        return str((self._found.get(type) or {}).get("status") or "")

    def set_together(self, type: str, parts: Iterable[str]) -> None:
        """Set one that is true if all parts are; of those that are not the last one is its reason."""
        status, reason = TRUE, ""
        for part in parts:
            if self.status(part) != TRUE:
                status = FALSE if self.status(part) == FALSE else UNKNOWN
                reason = f"{part} not ready"
        self.set(type, status, reason)

    def as_list(self) -> list[Object]:
        """Return them, with Ready as its dependents have it."""
        self._settle()
        return [self._found[type] for type in sorted(self._found)]

    def _settle(self) -> None:
        for status in (FALSE, UNKNOWN):
            for type in _DEPENDENTS:
                if self.status(type) == status:
                    found = self._found[type]
                    self.set(READY, status, found.get("reason", ""), found.get("message", ""))
                    return
        self.set(READY, TRUE)
