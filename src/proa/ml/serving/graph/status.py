"""Say how a graph is: Ready, its URL, and why not. Pure.

In default mode the conditions are those of a Knative Service.
Source: PropagateRawStatus and Reconcile in KServe's pkg/controller/v1alpha1/inferencegraph.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from proa.client.protocol import Object
from proa.ml.serving.operator.pod_trouble import find_trouble
from proa.ml.serving.routing.addresses import Readiness
from proa.objects import meta

READY, STOPPED = "Ready", "Stopped"
CONFIGURATIONS_READY, ROUTES_READY = "ConfigurationsReady", "RoutesReady"
TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"


class Found(NamedTuple):
    """What is there of a graph: its router's Deployment and pods, and whether requests get to it."""

    deployment: Object | None
    pods: tuple[Object, ...]
    routes: Readiness


def make_status(
    graph: Object, found: Found, url: str, mode: str, now: float, *, has_revisions: bool
) -> Object:
    """Return the status of a graph whose router is to run."""
    router = _router_readiness(graph, found)
    parts = {CONFIGURATIONS_READY: router, ROUTES_READY: found.routes}
    trouble = [part for part in parts.values() if part.status != TRUE]
    worst = next(
        (part for part in trouble if part.status == FALSE), trouble[0] if trouble else Readiness(TRUE)
    )
    conditions = {READY: worst, STOPPED: Readiness(FALSE)}
    if has_revisions:
        conditions |= parts
    return _status(graph, conditions, url if worst.status == TRUE else "", mode, now)


def make_refusal(graph: Object, reason: str, message: str, mode: str, now: float) -> Object:
    """Return the status of a graph that cannot be carried out as it is asked for; what serves goes on."""
    conditions = {READY: Readiness(FALSE, reason, message), STOPPED: Readiness(FALSE)}
    return _status(graph, conditions, "", mode, now)


def make_stopped(graph: Object, mode: str, now: float) -> Object:
    """Return the status of a graph that is stopped."""
    return _status(graph, {READY: Readiness(FALSE, "Stopped"), STOPPED: Readiness(TRUE)}, "", mode, now)


def _router_readiness(graph: Object, found: Found) -> Readiness:
    deployment = found.deployment
    if deployment is None:
        return Readiness(UNKNOWN, "Deploying", "the router's Deployment is not there yet")
    status = deployment.get("status") or {}
    progressing = meta.find_condition(deployment, "Progressing") or {}
    if progressing.get("status") == FALSE:
        trouble = find_trouble(deployment, found.pods)
        told = trouble.message if trouble is not None else progressing.get("message", "")
        return Readiness(FALSE, progressing.get("reason", ""), told)
    is_idle = (
        deployment["spec"].get("replicas") == 0 and progressing.get("reason") == "NewReplicaSetAvailable"
    )
    if status.get("availableReplicas") or is_idle:
        return Readiness(TRUE)
    trouble = find_trouble(deployment, found.pods)
    if trouble is not None:
        return Readiness(FALSE, trouble.reason, trouble.message)
    return Readiness(UNKNOWN, "Deploying", "no pod of the router is ready yet")


def _status(graph: Object, wanted: dict[str, Readiness], url: str, mode: str, now: float) -> Object:
    before = {one["type"]: one for one in (graph.get("status") or {}).get("conditions") or ()}
    made: Object = {
        "observedGeneration": meta.generation(graph),
        "conditions": list(_conditions(wanted, before, now)),
        "deploymentMode": mode,
    }
    if url:
        made["url"] = url
    return made


def _conditions(wanted: dict[str, Readiness], before: dict[str, Object], now: float) -> Iterable[Object]:
    for type in sorted(wanted):
        status, reason, message = wanted[type]
        condition = {"type": type, "status": status, "reason": reason, "message": message}
        condition = {key: value for key, value in condition.items() if value}
        known = before.get(type) or {}
        same = {key: value for key, value in known.items() if key != "lastTransitionTime"} == condition
        time = known.get("lastTransitionTime") if same else None
        yield {**condition, "lastTransitionTime": time or meta.format_time(now)}
