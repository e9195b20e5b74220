"""Tell by its pods how far the predictor's model is: status.modelStatus. Pure.

The state of the latest revision's model is the target's; the active one is Loaded once any was. A failure stays told
after it is over. Source: PropagateModelStatus and UpdateModelRevisionStates of KServe's
pkg/apis/serving/v1beta1/inference_service_status.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from proa.client.protocol import Object
from proa.ml.serving.operator.pod_trouble import (
    MODEL_LOAD_FAILED,
    RUNTIME_UNHEALTHY,
    Trouble,
    init_status,
    newest_first,
)
from proa.ml.serving.revisions.words import INVALID_SPEC
from proa.objects import meta
from proa.objects.pods import is_ready

PENDING, LOADING, LOADED, FAILED = "Pending", "Loading", "Loaded", "FailedToLoad"
UP_TO_DATE, IN_PROGRESS, BLOCKED, INVALID = "UpToDate", "InProgress", "BlockedByFailedLoad", "InvalidSpec"
REASONS = frozenset(
    {
        *(MODEL_LOAD_FAILED, RUNTIME_UNHEALTHY, INVALID_SPEC),
        *("RuntimeDisabled", "NoSupportingRuntime", "RuntimeNotRecognized"),
    }
)
"""Of lastFailureInfo: no others may be there."""
_TRANSITIONS = {PENDING: IN_PROGRESS, LOADING: IN_PROGRESS, LOADED: UP_TO_DATE, FAILED: BLOCKED}


def model_status(
    before: Object,
    pods: Sequence[Object],
    *,
    revision: str,
    is_loaded: bool,
    trouble: Trouble | None,
    now: float,
) -> Object:
    """Return the status of the predictor's model.

    `pods` are the latest revision's; `is_loaded` tells that requests reach it; `trouble` is what keeps it from that.
    """
    after = {
        **before,
        "copies": {**(before.get("copies") or {"failedCopies": 0}), "totalCopies": _ready(pods)},
    }
    if is_loaded:
        return _with_state(after, LOADED)
    if trouble is not None and trouble.is_failure:
        return _with_failure(after, trouble, revision, now)
    newest = next(iter(newest_first(pods)), None)
    is_loading = newest is not None and "running" in (init_status(newest).get("state") or {})
    return _with_state(after, LOADING if is_loading else PENDING)


def invalid_spec(before: Object, reason: str, message: str, now: float) -> Object:
    """Return the status of a model that cannot be served as it is asked for."""
    states = {"activeModelState": "", **(before.get("states") or {}), "targetModelState": FAILED}
    info = {"reason": reason if reason in REASONS else INVALID_SPEC, "message": message}
    known = before.get("lastFailureInfo") or {}
    same = {key: known.get(key) for key in info} == info
    told = known if same else {**info, "time": meta.format_time(now)}
    return {**before, "states": states, "transitionStatus": INVALID, "lastFailureInfo": told}


def _with_state(status: Object, state: str) -> Object:
    states = {"activeModelState": "", **(status.get("states") or {}), "targetModelState": state}
    if state == LOADED:
        states["activeModelState"] = LOADED
    return {**status, "states": states, "transitionStatus": _TRANSITIONS[state]}


def _with_failure(status: Object, trouble: Trouble, revision: str, now: float) -> Object:
    info: Object = {"reason": trouble.kind, "message": trouble.message, "location": trouble.pod}
    if revision:
        info["modelRevisionName"] = revision
    if trouble.exit_code:
        info["exitCode"] = trouble.exit_code
    known = status.get("lastFailureInfo") or {}
    same = {key: value for key, value in known.items() if key != "time"} == info
    info["time"] = known.get("time") if same and "time" in known else trouble.time or meta.format_time(now)
    return {**_with_state(status, FAILED), "lastFailureInfo": info}


def _ready(pods: Sequence[Object]) -> int:
    return sum(1 for pod in pods if is_ready(pod) and not meta.is_deleting(pod))
