"""What an InferenceService, its Deployments and pods say, in the words of `proa models`: pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.ml.serving.kinds import (
    COMPONENT_LABEL,
    PREDICTOR,
    REVISION_LABEL,
    SERVICE_LABEL,
)
from proa.ml.serving.revisions.names import component_name, predictor_name
from proa.objects import meta
from proa.objects.pods import is_ready

READY, WAITING, FAILED, STOPPED = "Ready", "Waiting", "Failed", "Stopped"
_FAILED_TRANSITIONS = ("BlockedByFailedLoad", "InvalidSpec")


class RevisionFacts(NamedTuple):
    """One revision: who gets how much, how many replicas there are, and which pods."""

    name: str
    percent: int
    tag: str
    wanted: int
    ready: int
    pods: tuple[str, ...]


class Served(NamedTuple):
    """One InferenceService."""

    name: str
    namespace: str
    state: str
    why: str
    """What keeps it, or what failed, for people."""
    url: str
    address: str
    format: str
    source: str
    runtime: str
    revisions: tuple[RevisionFacts, ...]
    created: float
    is_failed: bool
    """The latest revision cannot be rolled out; an older one may serve all the same."""
    is_settled: bool
    """The status is of the spec as it is now, and nothing is under way."""


def read_served(service: Object, deployments: Iterable[Object], pods: Iterable[Object]) -> Served:
    """Return what they say; `deployments` and `pods` are those of its predictor."""
    status = service.get("status") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    model = status.get("modelStatus") or {}
    failure = model.get("lastFailureInfo") or {}
    is_observed = status.get("observedGeneration") == meta.generation(service)
    has_failed = model.get("transitionStatus") in _FAILED_TRANSITIONS
    is_refused = model.get("transitionStatus") == "InvalidSpec"  # Ready then says more than the failure
    ready = conditions.get("Ready") or {}
    state = WAITING
    if (conditions.get("Stopped") or {}).get("status") == "True":
        state = STOPPED
    elif ready.get("status") == "True":
        state = READY
    elif has_failed:
        state = FAILED
    component = (status.get("components") or {}).get(PREDICTOR) or {}
    is_rolled_out = component.get("latestReadyRevision") == component.get("latestCreatedRevision")
    form, source = _model_of(service)
    known = list(deployments)
    return Served(
        name=meta.name(service),
        namespace=meta.namespace(service),
        state=state,
        why=(failure.get("message") if has_failed and not is_refused else "") or ready.get("message") or "",
        url=status.get("url") or "",
        address=(status.get("address") or {}).get("url") or "",
        format=form,
        source=source,
        runtime=status.get("servingRuntimeName") or status.get("clusterServingRuntimeName") or "",
        revisions=tuple(
            _revisions(component.get("traffic") or _standard_traffic(service, known), known, pods)
        ),
        created=meta.parse_time(service["metadata"]["creationTimestamp"]),
        is_failed=is_observed and has_failed,
        is_settled=is_observed and (has_failed or (state == READY and is_rolled_out) or state == STOPPED),
    )


def by_service(objects: Iterable[Object]) -> dict[str, list[Object]]:
    """Return those of predictors by `namespace/name` of their InferenceService."""
    found: dict[str, list[Object]] = {}
    for obj in objects:
        labels = meta.labels(obj)
        if labels.get(SERVICE_LABEL) and labels.get(COMPONENT_LABEL, PREDICTOR) == PREDICTOR:
            found.setdefault(f"{meta.namespace(obj)}/{labels[SERVICE_LABEL]}", []).append(obj)
    return found


def _standard_traffic(service: Object, deployments: Sequence[Object]) -> list[Mapping[str, object]]:
    """Return who gets how much where there are no revisions: ready canaries theirs, one predictor the rest."""
    told = (service.get("status") or {}).get("canaryStatuses") or ()
    canaries = {predictor_name(meta.name(service), one["name"]): one for one in told}
    shares = {name: int(one.get("trafficPercent") or 0) for name, one in canaries.items() if one.get("ready")}
    serving = [
        name
        for one in deployments
        if (name := _revision_of(one)) not in canaries and (one.get("status") or {}).get("availableReplicas")
    ]
    main = component_name(service, PREDICTOR)
    if any(REVISION_LABEL in meta.labels(one) for one in deployments) or not serving:
        return []
    shares[main if main in serving else serving[0]] = 100 - sum(shares.values())
    return [{"revisionName": name, "percent": percent} for name, percent in shares.items()]


def _revisions(
    traffic: Collection[Mapping[str, object]], deployments: Iterable[Object], pods: Iterable[Object]
) -> Iterable[RevisionFacts]:
    """Yield revisions, the newest first; where there are none (Standard mode), Deployments."""
    percents: dict[str, int] = {}
    tags: dict[str, str] = {}
    for target in traffic:
        name = str(target.get("revisionName") or "")
        percents[name] = percents.get(name, 0) + int(str(target.get("percent") or 0))
        if target.get("tag"):
            tags[name] = str(target["tag"])
    by_owner: dict[str, list[Object]] = {}
    for pod in pods:
        by_owner.setdefault(_revision_of(pod), []).append(pod)
    named = {_revision_of(deployment): deployment for deployment in deployments}
    for name in sorted(named, reverse=True):
        its = by_owner.get(name, [])
        yield RevisionFacts(
            name=name,
            percent=percents.get(name, 0 if traffic else 100),
            tag=tags.get(name, ""),
            wanted=(named[name].get("spec") or {}).get("replicas") or 0,
            ready=sum(is_ready(pod) for pod in its),
            pods=tuple(sorted(meta.name(pod) for pod in its)),
        )


def _revision_of(obj: Object) -> str:
    labels = meta.labels(obj)
    return labels.get(REVISION_LABEL) or labels.get("app", "").removeprefix("isvc.") or meta.name(obj)


def _model_of(service: Object) -> tuple[str, str]:
    """Return the format and the URI of the predictor, in whichever form it is written."""
    predictor = (service.get("spec") or {}).get("predictor") or {}
    model = predictor.get("model")
    if isinstance(model, dict):
        return str((model.get("modelFormat") or {}).get("name") or ""), str(model.get("storageUri") or "")
    if predictor.get("containers"):
        return "container", str((predictor["containers"][0] or {}).get("image") or "")
    for name, value in predictor.items():
        if isinstance(value, dict) and ("storageUri" in value or "runtimeVersion" in value):
            return name, str(value.get("storageUri") or "")
    return "", ""
