"""Write an InferenceService's status where it has changed, and tell by events when it becomes Ready, or is no more.

Source: updateStatus of pkg/controller/v1beta1/inferenceservice/controller.go of KServe.
"""

from __future__ import annotations

from proa.client.protocol import Object
from proa.ml.serving.kinds import INFERENCE_SERVICES, PREDICTOR
from proa.ml.serving.operator.conditions import FALSE, PREDICTOR_READY, READY, TRUE, Conditions
from proa.ml.serving.operator.model_status import INVALID, invalid_spec
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.reconcile.protocol import Context

DISABLE_AUTO_UPDATE = "serving.kserve.io/disable-auto-update"


def refuse(isvc: Object, reason: str, message: str, now: float, failure: str = "") -> Object:
    """Return the status of an InferenceService that cannot be served as it is asked for; what serves stays told.

    `failure` is what the model's lastFailureInfo says, where it is not the same.
    """
    before = isvc.get("status") or {}
    conditions = Conditions(before.get("conditions") or (), now)
    conditions.set(PREDICTOR_READY, FALSE, reason, message)
    return {
        **before,
        "observedGeneration": meta.generation(isvc),
        "conditions": conditions.as_list(),
        "modelStatus": invalid_spec(before.get("modelStatus") or {}, reason, failure or message, now),
    }


async def write_status(context: Context, isvc: Object, status: Object) -> None:
    """Write the status; nothing where it is as before. Raises ApiError."""
    before = isvc.get("status") or {}
    if status == before:
        return
    try:
        written = await context.client.update(INFERENCE_SERVICES, {**isvc, "status": status}, "status")
    except NotFound:
        return
    name = meta.name(isvc)
    was_ready = meta.has_condition(isvc, READY, TRUE)
    refusal, known = (
        ((one.get("modelStatus") or {}).get("lastFailureInfo") or {}) for one in (status, before)
    )
    if refusal != known and (status.get("modelStatus") or {}).get("transitionStatus") == INVALID:
        context.events.event(isvc, "Warning", "InternalError", refusal.get("message") or "")
    if not was_ready and meta.has_condition(written, READY, TRUE):
        context.events.event(isvc, "Normal", "InferenceServiceReady", f"InferenceService [{name}] is Ready")
    elif was_ready and meta.has_condition(written, READY, FALSE):
        why = ", ".join(
            one["type"]
            for one in status["conditions"]
            if one["status"] == FALSE and one["type"] not in (READY, "Stopped")
        )
        message = f"InferenceService [{name}] is no longer Ready because of: {why}"
        context.events.event(isvc, "Warning", "InferenceServiceNotReady", message)


def stays_as_it_is(isvc: Object) -> bool:
    """Tell whether nothing but a change of its own spec may change an InferenceService: a runtime's may not."""
    return (
        meta.annotations(isvc).get(DISABLE_AUTO_UPDATE) == "true"
        and meta.has_condition(isvc, READY, TRUE)
        and (isvc.get("status") or {}).get("observedGeneration") == meta.generation(isvc)
    )


def components_of(isvc: Object) -> list[str]:
    """Return which components an InferenceService has, the predictor first."""
    return [kind for kind in (PREDICTOR, "transformer", "explainer") if isvc["spec"].get(kind)]
