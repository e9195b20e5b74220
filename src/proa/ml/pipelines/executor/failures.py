"""Say why a step's pod failed, or will never start: which task, what happened, what would help.

Pure: pods, events and the end of the log come in, messages go out. Reasons and messages are the kubelet's
(pkg/kubelet/{images,container,eviction}) and the scheduler's, which are the same on every Kubernetes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from proa.ml.pipelines.executor.failure_hints import find_hint
from proa.ml.pipelines.executor.pod import MAIN
from proa.ml.pipelines.executor.step_failed import StepFailed
from proa.ml.pipelines.records import Json

Pod = Mapping[str, Any]

PATIENCE_SECONDS = 15.0
"""How long what is missing in the cluster (a secret, a key, a claim) may take to appear."""
PULL_PATIENCE_SECONDS = 120.0
"""How long a registry may be out of reach."""
_LINES, _LONGEST_LINES = 6, 900
_END_OF_INPUT = "}"
"""With what the SDK's executor ends its account of the ExecutorInput, before the step's own words."""
_NEVER_PULLED = re.compile(
    r"not found|not exist|unknown|denied|unauthorized|no match|manifest|forbidden", re.I
)
_MISSING = re.compile(r'(secret|configmap|persistentvolumeclaim) "([^"]+)" not found', re.I)
_MISSING_KEY = re.compile(r"couldn't find key (\S+) in (Secret|ConfigMap) (\S+)", re.I)
_SETBACKS = frozenset({"FailedMount", "FailedScheduling", "FailedAttachVolume"})
_PROGRESS = frozenset({"Scheduled", "Pulling", "Pulled", "Created", "Started"})
"""Reasons of events, by which it is judged whether a setback is still one."""
_DISRUPTIONS = {
    "DeletionByTaintManager": "its node became unreachable or was drained",
    "PreemptionByScheduler": "a pod of higher priority took its place",
    "EvictionByEvictionAPI": "it was evicted",
    "DeletionByPodGC": "its node is gone",
    "TerminationByKubelet": "its node ended it",
}
_LOST = frozenset({"NodeLost", "NodeShutdown", "Terminated", "Shutdown"})


def explain_end(task: str, pod: Pod | None, log: str = "") -> StepFailed:
    """Return why a pod failed; None for a pod that is gone without having told its result. `log` is its log's end."""
    if pod is None:
        return _failed(
            task,
            "its pod was deleted before it ended. It is not known what it did; a retry starts it again",
            "PodLost",
        )
    status = pod.get("status", {})
    reason, message = status.get("reason", ""), status.get("message", "")
    if reason == "DeadlineExceeded":
        limit = pod["spec"].get("activeDeadlineSeconds")
        return _failed(
            task, f"it ran longer than its {limit} seconds. Allow more with kubernetes.set_timeout()", reason
        )
    if reason == "Evicted":
        return _explain_eviction(task, message)
    for name, terminated in _ended_containers(status):
        if terminated.get("exitCode", 0) or terminated.get("reason") not in (None, "Completed"):
            return _explain_exit(task, pod, name, terminated, log)
    return _explain_loss(task, status)


def find_stuck(task: str, pod: Pod, events: Sequence[Json], waited_seconds: float) -> StepFailed | None:
    """Return why a pod that has not begun never will; None while it may. `events` are the pod's, newest last."""
    status = pod.get("status", {})
    if status.get("phase", "Pending") != "Pending":
        return None
    for name, waiting in _waiting_containers(status):
        if found := _find_stuck_container(task, pod, name, waiting, waited_seconds):
            return found
        if waiting.get("reason") == "CrashLoopBackOff" and waited_seconds >= PATIENCE_SECONDS:
            return _explain_exit(task, pod, name, _last_end(status, name), "")
    if waited_seconds < PATIENCE_SECONDS:
        return None
    for event in reversed(events):
        if event.get("reason") in _PROGRESS:
            return None  # what failed before that has come right
        if event.get("reason") in _SETBACKS:
            return _explain_missing(task, str(event.get("message", "")))
    return None


def describe_waiting(pod: Pod) -> str:
    """Return what a pod that has not begun waits for, in one sentence; "" where it waits for nothing in particular."""
    status = pod.get("status", {})
    for condition in status.get("conditions", []):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"no node takes it yet: {condition.get('message', '')}".rstrip(": ")
    for name, waiting in _waiting_containers(status):
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return f"container '{name}': {waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
    return ""


def last_lines(log: str) -> str:
    """Return the end of a log as messages have it: a few lines, without what is empty or the SDK's own."""
    lines = [line.rstrip() for line in log.splitlines() if line.strip()]
    told = max((place for place, line in enumerate(lines) if line == _END_OF_INPUT), default=-1)
    lines = lines[told + 1 :] or lines
    return "\n".join(lines[-_LINES:])[-_LONGEST_LINES:]


def _explain_exit(task: str, pod: Pod, name: str, terminated: Json, log: str) -> StepFailed:
    code = int(terminated.get("exitCode", 0))
    who = "its container" if name == MAIN else f"its container '{name}'"
    text = log if log and name == MAIN else terminated.get("message", "")
    reason = terminated.get("reason", "Error")
    if reason == "OOMKilled":
        limit = _memory_limit(pod, name)
        what = f"{who} used more memory than its limit of {limit}" if limit else f"{who} ran out of memory"
        return _failed(task, f"{what} and was killed. Allow more with .set_memory_limit()", reason, code)
    if reason == "ContainerStatusUnknown":
        return _failed(task, f"{who} was lost with its node; a retry starts it again", reason, code)
    hint = find_hint(text, code, _image(pod, name))
    if reason in ("StartError", "ContainerCannotRun"):
        return _failed(task, f"{who} could not be started: {last_lines(text)}. {hint}".rstrip(), reason, code)
    ended = f"{who} ended with exit code {code}"
    lines = last_lines(text)
    said = f". Its log ends:\n{lines}" if lines else " and left no word in its log"
    return _failed(task, f"{ended}{said}\n{hint}".rstrip() if hint else f"{ended}{said}", reason, code)


def _explain_eviction(task: str, message: str) -> StepFailed:
    advice = "Free disk or memory on the node, or ask for what it needs with requests"
    if "emptydir" in message.lower():
        advice = "Its volume is full: give it a larger size limit, or write less"
    elif "ephemeral" in message.lower():
        advice = "Its disk is full: write less outside of volumes, or mount one (kubernetes.add_ephemeral_volume())"
    return _failed(task, f"its pod was evicted: {message.rstrip('. ')}. {advice}", "Evicted")


def _explain_loss(task: str, status: Mapping[str, Any]) -> StepFailed:
    for condition in status.get("conditions", []):
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            why = _DISRUPTIONS.get(condition.get("reason", ""), condition.get("message", "it was disrupted"))
            return _failed(task, f"its pod was ended: {why}. A retry starts it again", "Disrupted")
    reason, message = status.get("reason", ""), status.get("message", "")
    if reason in _LOST:
        return _failed(task, f"its pod was lost with its node ({reason}); a retry starts it again", reason)
    said = ": ".join(part for part in (reason, message) if part) or "its node did not say why"
    return _failed(task, f"its pod failed: {said}", reason or "Failed")


def _find_stuck_container(task: str, pod: Pod, name: str, waiting: Json, waited: float) -> StepFailed | None:
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    image = _image(pod, name)
    if reason == "InvalidImageName":
        return _failed(
            task, f"'{image}' is not the name of an image. Correct base_image", reason, can_retry=False
        )
    if reason == "ErrImageNeverPull":
        text = f"image '{image}' is not on the node, and its pull policy is Never. Load it, or allow pulling"
        return _failed(task, text, reason, can_retry=False)
    if reason in ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"):
        is_away = "RegistryUnavailable" in (reason, *message.split(": "))
        is_final = not is_away and bool(_NEVER_PULLED.search(message.replace(image, "")))
        if not is_final and waited < PULL_PATIENCE_SECONDS:
            return None
        text = (
            f"image '{image}' cannot be pulled: {last_lines(message)}. Check its name and tag, that the node reaches"
            " the registry, and, for a private one, kubernetes.set_image_pull_secrets()"
        )
        return _failed(task, text, "ErrImagePull", can_retry=not is_final)
    if reason in ("CreateContainerConfigError", "CreateContainerError") and waited >= PATIENCE_SECONDS:
        return _explain_missing(task, message) or _failed(
            task, f"its container cannot be made: {message}", reason
        )
    return None


def _explain_missing(task: str, message: str) -> StepFailed | None:
    """Return the failure for what is not in the cluster; None where the message is not of something missing."""
    if found := _MISSING.search(message):
        kind = {"secret": "Secret", "configmap": "ConfigMap"}.get(found[1].lower(), "PersistentVolumeClaim")
        made = {"Secret": "secret generic", "ConfigMap": "configmap"}.get(kind)
        how = (
            f"Create it (kubectl create {made} {found[2]} ...), or mark it optional" if made else "Create it"
        )
        text = f"{kind} '{found[2]}' is not in the run's namespace. {how}, or correct its name"
        return _failed(task, text, f"Missing{kind}")
    if found := _MISSING_KEY.search(message):
        return _failed(
            task,
            f"{found[2]} '{found[3].rpartition('/')[2]}' has no key '{found[1]}'. Add it, or mark it optional",
            "MissingKey",
        )
    return None


def _ended_containers(status: Mapping[str, Any]) -> list[tuple[str, Json]]:
    """Return what has terminated: init containers first, as they came first; sidecars' ends say nothing."""
    regular = status.get("containerStatuses", [])
    found = [
        *status.get("initContainerStatuses", []),
        *sorted(regular, key=lambda item: item["name"] != MAIN),
    ]
    ended = [(item["name"], item.get("state", {}).get("terminated")) for item in found]
    has_main = any(name == MAIN and end for name, end in ended)
    first = [item for item in ended if item[0] == MAIN] if has_main else ended
    return [(name, end) for name, end in first if end]


def _waiting_containers(status: Mapping[str, Any]) -> list[tuple[str, Json]]:
    found = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    return [
        (item["name"], item["state"]["waiting"]) for item in found if item.get("state", {}).get("waiting")
    ]


def _last_end(status: Mapping[str, Any], name: str) -> Json:
    """Return how a container that is to be started again ended last."""
    for item in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        if item["name"] == name:
            found: Json = item.get("lastState", {}).get("terminated") or {}
            return found
    return {}


def _image(pod: Pod, name: str) -> str:
    return str(_container(pod, name).get("image", ""))


def _memory_limit(pod: Pod, name: str) -> str:
    return str(_container(pod, name).get("resources", {}).get("limits", {}).get("memory", ""))


def _container(pod: Pod, name: str) -> Mapping[str, Any]:
    found = [*pod["spec"].get("initContainers", []), *pod["spec"].get("containers", [])]
    return next((item for item in found if item["name"] == name), {})


def _failed(
    task: str, text: str, reason: str, exit_code: int | None = None, *, can_retry: bool = True
) -> StepFailed:
    return StepFailed(f"task '{task}': {text}", can_retry=can_retry, exit_code=exit_code, reason=reason)
