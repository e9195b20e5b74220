"""Say how an InferenceService in Standard mode is, by its Deployments and pods. Pure but for reading the world.

Source: PropagateRawStatus and PropagateModelStatus of KServe's pkg/apis/serving/v1beta1/inference_service_status.go;
reconcileCanaryDeployments of its components/predictor.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.ml.serving.operator.choosing import Chosen
from proa.ml.serving.operator.conditions import (
    CANARY_PREDICTOR_READY,
    COMPONENT_READY,
    CONFIGURATION_READY,
    FALSE,
    INGRESS_READY,
    LATEST_DEPLOYMENT_READY,
    ROUTE_READY,
    ROUTES_READY,
    STOPPED,
    TRUE,
    UNKNOWN,
    Conditions,
)
from proa.ml.serving.operator.configuration import STANDARD
from proa.ml.serving.operator.model_status import model_status
from proa.ml.serving.operator.pod_trouble import find_trouble
from proa.ml.serving.operator.world import World
from proa.ml.serving.revisions.variants import Variant
from proa.ml.serving.routing.addresses import Readiness, address_of, routes_readiness, service_url, url_of
from proa.ml.serving.routing.parts import Routing
from proa.objects import meta


class Seen(NamedTuple):
    """A variant with its Deployment (None while there is none) and pods."""

    variant: Variant
    deployment: Object | None
    pods: Sequence[Object]

    @property
    def is_available(self) -> bool:
        """Tell whether a pod of it is available."""
        return bool(((self.deployment or {}).get("status") or {}).get("availableReplicas"))


def make_status(world: World, chosen: Chosen, seen: Sequence[Seen], routing: Routing) -> Object:
    """Return the status of the InferenceService."""
    isvc, config, now = world.isvc, world.configuration.ingress, world.context.now()
    before = isvc.get("status") or {}
    conditions = Conditions(before.get("conditions") or (), now)
    stable = [one for one in seen if not one.variant.canary]
    canaries = [one for one in seen if one.variant.canary]
    components: Object = {}
    for one in stable:
        kind = one.variant.kind
        conditions.set(COMPONENT_READY[kind], *readiness_of(one))
        is_ready = conditions.status(COMPONENT_READY[kind]) == TRUE
        known = ((before.get("components") or {}).get(kind) or {}).get("url")
        url = url_of(isvc, one.variant.name, config, world.gateway) if is_ready else known
        components[kind] = {"url": url} if url else {}
    routes = routes_readiness(
        routing.routes, world.owned(world.route_kind), world.gateway, world.settings.way
    )
    _set_others(conditions, stable, canaries, routes)
    status = {
        **before,
        "observedGeneration": meta.generation(isvc),
        "deploymentMode": STANDARD,
        "components": components,
        "modelStatus": _model_status(before.get("modelStatus") or {}, stable[0], now),
        **chosen.names,
    }
    for field in (*chosen.absent_names, "canaryStatuses"):
        status.pop(field, None)
    if canaries:
        told = {one["name"]: one.get("modelStatus") or {} for one in before.get("canaryStatuses") or ()}
        status["canaryStatuses"] = [_canary(one, told.get(one.variant.canary) or {}, now) for one in canaries]
    if conditions.status(INGRESS_READY) == TRUE:
        address = address_of(isvc, is_standard=True)
        status |= {"url": service_url(isvc, config, world.gateway), "address": {"url": address}}
    status["conditions"] = conditions.as_list()
    return status


def readiness_of(seen: Seen) -> Readiness:
    """Return a component's readiness by its Deployment's conditions; in the words of its pods where these tell why."""
    deployment = seen.deployment
    available, progressing, failed = (
        meta.find_condition(deployment or {}, type) or {}
        for type in ("Available", "Progressing", "ReplicaFailure")
    )
    found = Readiness(UNKNOWN)
    if available.get("status") == TRUE:
        found = _told(TRUE, available)
    if progressing.get("status") == FALSE and progressing.get("message"):
        found = _told(FALSE, progressing)
    elif progressing.get("reason") == "NewReplicaSetAvailable":
        found = _told(TRUE, progressing)
    elif progressing and found.status != TRUE:
        found = _told(UNKNOWN, progressing)
    if available.get("status") == FALSE:
        found = _told(FALSE, available)
    if failed.get("status") == TRUE:
        found = _told(FALSE, failed)
    if found.status == FALSE and (trouble := find_trouble(deployment, seen.pods)) is not None:
        return Readiness(FALSE, trouble.reason, trouble.message)
    return found


def _told(status: str, condition: Object) -> Readiness:
    return Readiness(status, condition.get("reason", ""), condition.get("message", ""))


def _set_others(
    conditions: Conditions, stable: Sequence[Seen], canaries: Sequence[Seen], routes: Readiness
) -> None:
    kinds = [one.variant.kind for one in stable]
    gone = [kind for kind in COMPONENT_READY if kind not in kinds]
    conditions.clear(*(COMPONENT_READY[kind] for kind in gone))
    conditions.clear(
        ROUTES_READY, LATEST_DEPLOYMENT_READY, *ROUTE_READY.values(), *CONFIGURATION_READY.values()
    )
    conditions.set(STOPPED, FALSE)
    waiting = [kind for kind in kinds if conditions.status(COMPONENT_READY[kind]) != TRUE]
    if waiting:
        name = waiting[0].capitalize()
        conditions.set(INGRESS_READY, FALSE, f"{name} Deployment NotReady", f"{name} is not ready")
    else:
        conditions.set(INGRESS_READY, *routes)
    if not canaries:
        conditions.clear(CANARY_PREDICTOR_READY)
        return
    are_ready = all(one.is_available for one in canaries)
    reason = "AllCanariesReady" if are_ready else "CanariesNotReady"
    conditions.set(CANARY_PREDICTOR_READY, TRUE if are_ready else FALSE, reason)


def _model_status(before: Object, seen: Seen, now: float) -> Object:
    """Return the model's status; a roll-out that fails is told even while old pods serve."""
    trouble = find_trouble(seen.deployment, seen.pods)
    is_failing = trouble is not None and trouble.is_failure
    is_loaded = readiness_of(seen).status == TRUE and not is_failing
    return model_status(before, seen.pods, revision="", is_loaded=is_loaded, trouble=trouble, now=now)


def _canary(seen: Seen, before: Object, now: float) -> Object:
    return {
        "name": seen.variant.canary,
        "ready": seen.is_available,
        "trafficPercent": seen.variant.percent,
        "modelStatus": _model_status(before, seen, now),
    }
