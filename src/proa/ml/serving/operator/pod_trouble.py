"""Say in words what keeps a component's pods from becoming ready. Pure.

What a container said last (its termination message, or the end of its log) comes first: a model that does not load, a
download that fails. Then images that cannot be had, containers that cannot be made, no node, no quota.
Source: PropagateModelStatus of KServe's pkg/apis/serving/v1beta1/inference_service_status.go; reconcileDeployment of
Knative Serving's pkg/reconciler/revision/reconcile_resources.go; pkg/kubelet/images/types.go of kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.ml.serving.kinds import INITIALIZER_CONTAINER, MAIN_CONTAINER, TRANSFORMER_CONTAINER
from proa.objects import meta
from proa.objects.pods import is_ready

MODEL_LOAD_FAILED, RUNTIME_UNHEALTHY = "ModelLoadFailed", "RuntimeUnhealthy"
SAME = {"ErrImagePull": "ImagePullBackOff", "ImageInspectError": "ImagePullBackOff"}
"""What comes and goes with the other while one trouble lasts."""
STARTING = frozenset({"", "ContainerCreating", "PodInitializing"})
MAX_WORDS = 1000
HELP = {
    "ImagePullBackOff": "correct the image, or give its registry's imagePullSecrets",
    "ErrImageNeverPull": "bring the image to the node, or set another imagePullPolicy than Never",
    "InvalidImageName": "correct the image's name",
    "CreateContainerConfigError": "make what the container refers to",
    "CreateContainerError": "correct the container's command or mounts",
    "RunContainerError": "correct the container's command or mounts",
}
HELP_WITH_STORAGE = "correct the storageUri, or what the containers mount"
"""For the storage initializer, which mounts what a file:// names."""
HELP_OF_SCHEDULING = {
    "persistentvolumeclaim": "make the claim, or name another",
    "Insufficient": "lower what its containers request, or add nodes",
    "affinity/selector": "correct its nodeSelector and affinity, or label a node",
    "untolerated taint": "add tolerations, or take the taint off a node",
}
"""What would help by what the scheduler says; the first that it does say counts."""


class Trouble(NamedTuple):
    """Why pods do not become ready. `kind` is a reason of lastFailureInfo, `reason` that of a condition."""

    kind: str
    reason: str
    message: str
    pod: str = ""
    exit_code: int = 0
    time: str = ""

    @property
    def is_failure(self) -> bool:
        """Tell whether it has been tried, and has failed."""
        return self.kind != ""


def find_trouble(deployment: Object | None, pods: Sequence[Object]) -> Trouble | None:
    """Return what is wrong with the pods, the latest first; None while all that are not ready may become so."""
    for pod in newest_first(pods):
        if is_ready(pod):
            continue
        found = next(_of_containers(pod), None) or _unschedulable(pod)
        if found is not None:
            return found
    return _of_deployment(deployment) if deployment is not None else None


def newest_first(pods: Iterable[Object]) -> list[Object]:
    """Return pods by when they were made, the newest first; of one second by name."""
    by_name = sorted(pods, key=meta.name)
    return sorted(by_name, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), reverse=True)


def init_status(pod: Object) -> Object:
    """Return the status of the storage initializer; {} where there is none."""
    statuses = (pod.get("status") or {}).get("initContainerStatuses") or ()
    return next((one for one in statuses if one.get("name") == INITIALIZER_CONTAINER), {})


def _of_containers(pod: Object) -> Iterator[Trouble]:
    status = pod.get("status") or {}
    for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        if not one.get("ready") and (found := _ended(pod, one) or _waiting(pod, one)) is not None:
            yield found


def _ended(pod: Object, status: Object) -> Trouble | None:
    """Return how a container ended that was to go on, or had to end well; one that is tried again has not recovered."""
    state, last = status.get("state") or {}, status.get("lastState") or {}
    ended = state.get("terminated") or last.get("terminated")
    if not ended:
        return None
    code = int(ended.get("exitCode") or 0)
    went_well = not code and (ended.get("reason") or "") in ("", "Completed")
    if went_well and (state.get("waiting") or {}).get("reason") != "CrashLoopBackOff":
        return None
    said = cut(ended.get("message") or "") or _without_words(status.get("name") or "", ended, code)
    is_models = status.get("name") in (INITIALIZER_CONTAINER, MAIN_CONTAINER, TRANSFORMER_CONTAINER)
    kind = MODEL_LOAD_FAILED if is_models else RUNTIME_UNHEALTHY
    at = str(ended.get("finishedAt") or "")
    return Trouble(kind, f"ExitCode{code}", said, meta.name(pod), code, at)


def _without_words(container: str, ended: Object, code: int) -> str:
    reason = ended.get("reason") or ""
    because = f" ({reason})" if reason not in ("", "Error", "Completed") else ""
    hint = "" if code else "; it has to go on, and answer requests"
    return f"container {container} ended with exit code {code}{because} and said nothing{hint}"


def _waiting(pod: Object, status: Object) -> Trouble | None:
    waiting = (status.get("state") or {}).get("waiting") or {}
    reason = SAME.get(waiting.get("reason") or "", waiting.get("reason") or "")
    if reason in STARTING:
        return None
    said = cut(waiting.get("message") or reason)
    what = f"Unable to fetch image{_named(status, said)}: {said}" if "Image" in reason else said
    known = HELP.get(reason, "")
    if reason == "CreateContainerError" and status.get("name") == INITIALIZER_CONTAINER:
        known = HELP_WITH_STORAGE
    helps = f"; {known}" if known else ""
    return Trouble(RUNTIME_UNHEALTHY, reason, f"{what}{helps}", meta.name(pod))


def _named(status: Object, said: str) -> str:
    """Return which image it is, unless that of a volume is meant, which the message names."""
    image = status.get("image") or ""
    return f' "{image}"' if image in said or 'image "' not in said else ""


def _unschedulable(pod: Object) -> Trouble | None:
    scheduled = meta.find_condition(pod, "PodScheduled")
    if scheduled is None or scheduled.get("status") != "False":
        return None
    reason = scheduled.get("reason") or "Unschedulable"
    said = cut(scheduled.get("message") or "").rstrip(".")
    known = next((text for part, text in HELP_OF_SCHEDULING.items() if part in said), "")
    helps = f"; {known}" if known else ""
    return Trouble("", reason, f"{said}{helps}", meta.name(pod))


def _of_deployment(deployment: Object) -> Trouble | None:
    failed = meta.find_condition(deployment, "ReplicaFailure")
    if failed is not None and failed.get("status") == "True":
        return Trouble("", failed.get("reason") or "FailedCreate", cut(failed.get("message") or ""))
    progressing = meta.find_condition(deployment, "Progressing")
    if progressing is not None and progressing.get("status") == "False":
        reason = progressing.get("reason") or "ProgressDeadlineExceeded"
        return Trouble("", reason, cut(progressing.get("message") or ""))
    return None


def cut(words: str) -> str:
    """Return words as one line of bounded length: the end of them, which says what happened."""
    flat = " ".join(words.split())
    return flat if len(flat) <= MAX_WORDS else f"... {flat[-MAX_WORDS:]}"
