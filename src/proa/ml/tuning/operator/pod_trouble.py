"""Say in words what keeps a trial's pod from starting, and what ended one that failed. Pure.

What can come right by itself (a node that gets room, a registry that answers again) is trouble for as long as it lasts;
how long a trial waits is for trial_plan to say. Source of the reasons: pkg/kubelet/images/types.go,
pkg/kubelet/kuberuntime/kuberuntime_container.go and pkg/scheduler of kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from proa.client.protocol import Object
from proa.ml.tuning.collector import reading, wire
from proa.ml.tuning.kinds import COLLECTOR_CONTAINER
from proa.objects import meta
from proa.objects.quick_dataclass import dataclass

SAME_TROUBLE = {"ErrImagePull": "ImagePullBackOff", "ImageInspectError": "ImagePullBackOff"}
"""What comes and goes with the other while one trouble lasts."""
STARTING = frozenset({"", "ContainerCreating", "PodInitializing"})
MAX_WORDS = 600
HELP: Mapping[str, str] = {
    "Unschedulable": "lower the requests in the trial template, lower spec.parallelTrialCount, or add nodes",
    "ImagePullBackOff": "correct the image's name in the trial template, or give its registry's imagePullSecrets",
    "ErrImageNeverPull": "bring the image to the node, or set another imagePullPolicy than Never in the trial template",
    "InvalidImageName": "correct the image's name in the trial template",
    "CreateContainerConfigError": "make what the container refers to, or correct the trial template",
    "CreateContainerError": "correct the container's command or mounts in the trial template",
    "RunContainerError": "correct the container's command or mounts in the trial template",
    "CrashLoopBackOff": "see the container's log for why it ends",
}
HELP_OF_SCHEDULING: Mapping[str, str] = {
    "persistentvolumeclaim": "make what the pod's volumes refer to, or correct them in the trial template",
    "Insufficient": HELP["Unschedulable"],
    "affinity/selector": "correct nodeSelector and affinity in the trial template, or label a node",
    "untolerated taint": "add tolerations to the trial template, or take the taint off a node",
}
"""What would help by what the scheduler says; the first that it does say counts."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a trial does not move, as a condition says it."""

    reason: str
    message: str


def find_trouble(pods: Iterable[Object]) -> Trouble | None:
    """Return what keeps one of the pods from starting, None where all start or run."""
    for pod in pods:
        if (pod.get("status") or {}).get("phase") in (None, "Pending", "Running") and not meta.is_deleting(
            pod
        ):
            found = _unschedulable(pod) or _waiting(pod)
            if found is not None:
                return found
    return None


def is_moving(pods: Iterable[Object]) -> bool:
    """Tell whether a pod runs."""
    return any((pod.get("status") or {}).get("phase") == "Running" for pod in pods)


def describe_failure(pods: Sequence[Object], container: str) -> str:
    """Return how the trial's container ended in the pod that failed last; "" where no pod tells."""
    failed = [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Failed"]
    for pod in sorted(
        failed or pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), reverse=True
    ):
        status = pod.get("status") or {}
        ended = [*_ended(status, container)]
        if ended:
            return f"pod {meta.name(pod)}: {'; '.join(ended)}{_last_words(pod)}"
        if status.get("phase") == "Failed" and (status.get("message") or status.get("reason")):
            words = ": ".join(filter(None, (status.get("reason"), status.get("message"))))
            return f"pod {meta.name(pod)}: {_cut(words)}"
    return ""


def _ended(status: Object, container: str) -> Iterator[str]:
    """Say of containers that failed how they ended, the trial's own first."""
    statuses = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    for entry in sorted(statuses, key=lambda entry: entry.get("name") != container):
        ended = (entry.get("state") or {}).get("terminated") or (entry.get("lastState") or {}).get(
            "terminated"
        )
        if ended and ended.get("exitCode") and entry.get("name") != COLLECTOR_CONTAINER:
            words = [f"container {entry['name']} ended with exit code {ended['exitCode']}"]
            if ended.get("reason") not in (None, "Error"):
                words.append(f"({ended['reason']})")
            if ended.get("message"):
                words.append(f"- {ended['message'].strip()}")
            yield _cut(" ".join(words))


def _last_words(pod: Object) -> str:
    """Return the end of the training's output, where its collector tells it: that of one that told no metrics."""
    told = reading.find(pod)
    _, found, words = told.message.partition(wire.ENDS_WITH) if told is not None else ("", "", "")
    return f"; its output ends with: {_cut(words)}" if found else ""


def _unschedulable(pod: Object) -> Trouble | None:
    scheduled = meta.find_condition(pod, "PodScheduled")
    if scheduled is None or scheduled.get("status") != "False" or scheduled.get("reason") != "Unschedulable":
        return None
    said = (scheduled.get("message") or "").rstrip(".")
    helps = next((text for part, text in HELP_OF_SCHEDULING.items() if part in said), HELP["Unschedulable"])
    return Trouble("Unschedulable", f"pod {meta.name(pod)} finds no node: {_cut(said)}; {helps}")


def _waiting(pod: Object) -> Trouble | None:
    status = pod.get("status") or {}
    for entry in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (entry.get("state") or {}).get("waiting") or {}
        reason = SAME_TROUBLE.get(waiting.get("reason") or "", waiting.get("reason") or "")
        if reason in STARTING:
            continue
        where = f"container {entry.get('name')} of pod {meta.name(pod)} does not start: {reason}"
        words = f"{where}: {_cut(waiting['message'])}" if waiting.get("message") else where
        return Trouble(reason, f"{words}; {HELP.get(reason, 'see the events of the pod')}")
    return None


def _cut(words: str) -> str:
    flat = " ".join(words.split())
    return flat if len(flat) <= MAX_WORDS else f"{flat[:MAX_WORDS]} ..."
