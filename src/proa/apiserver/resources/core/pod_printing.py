"""Show a pod in `kubectl get pods`: how many containers are ready, and one word for what goes on.

Follows printPod in pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from proa.apiserver.registry.definition import Ago, Column
from proa.apiserver.resources.printing import AGE, NAME, NONE, doc
from proa.client.protocol import Object
from proa.objects.meta import has_condition
from proa.objects.pods import is_sidecar

COLUMNS = (
    NAME,
    Column("Ready", description="The aggregate readiness state of this pod for accepting traffic."),
    Column("Status", description="The aggregate status of the containers in this pod."),
    Column(
        "Restarts",
        description="The number of times the containers in this pod have been restarted and when the last "
        "container in this pod has restarted.",
    ),
    AGE,
    Column("IP", description=doc("core.v1.PodStatus.podIP"), priority=1),
    Column("Node", description=doc("core.v1.PodSpec.nodeName"), priority=1),
    Column("Nominated Node", description=doc("core.v1.PodStatus.nominatedNodeName"), priority=1),
    Column("Readiness Gates", description=doc("core.v1.PodSpec.readinessGates"), priority=1),
)


def summarize(pod: Object) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    sidecars = _sidecars(spec)
    total = len(spec.get("containers", ())) + len(sidecars)
    statuses = _counted_statuses(status, sidecars)
    ready = len([s for s in statuses if s.get("ready") and "running" in (s.get("state") or {})])
    initializing = _initializing_word(spec, status, sidecars)
    addresses = status.get("podIPs")
    metadata = pod["metadata"]
    return (
        metadata["name"],
        f"{ready}/{total}",
        _status_word(pod, status, initializing),
        _restarts(pod, status, statuses, initializing),
        Ago(metadata.get("creationTimestamp")),
        (addresses[0].get("ip") if addresses else status.get("podIP")) or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        _readiness_gates(pod, spec),
    )


def status_word(pod: Object) -> str:
    """Return the STATUS column: Running, Init:0/1, CrashLoopBackOff, Terminating, …"""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    return _status_word(pod, status, _initializing_word(spec, status, _sidecars(spec)))


def _status_word(pod: Object, status: Object, initializing: str) -> str:
    word: str = status.get("reason") or status.get("phase", "")
    for condition in status.get("conditions", ()):
        if condition.get("reason") == "SchedulingGated" and condition.get("type") == "PodScheduled":
            word = "SchedulingGated"
    word = initializing or word
    if not initializing or has_condition(pod, "Initialized"):
        word = _running_word(pod, status, word)
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if status.get("phase") not in ("Succeeded", "Failed"):
            return "Terminating"
    return word


def _sidecars(spec: Object) -> Collection[str | None]:
    containers = spec.get("initContainers")
    return {c.get("name") for c in containers if is_sidecar(c)} if containers else ()


def _initializing_word(spec: Object, status: Object, sidecars: Collection[str | None]) -> str:
    for index, init in enumerate(status.get("initContainerStatuses", ())):
        state = init.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting")
        if ended and ended.get("exitCode", 0) == 0:
            continue
        if init.get("name") in sidecars and init.get("started"):
            continue
        if ended:
            return "Init:" + _ended_word(ended)
        if waiting and waiting.get("reason", "") not in ("", "PodInitializing"):
            return f"Init:{waiting['reason']}"
        return f"Init:{index}/{len(spec.get('initContainers', ()))}"
    return ""


def _running_word(pod: Object, status: Object, word: str) -> str:
    is_running = False
    for container in reversed(status.get("containerStatuses", ())):
        state = container.get("state") or {}
        if (state.get("waiting") or {}).get("reason"):
            word = state["waiting"]["reason"]
        elif state.get("terminated"):
            word = _ended_word(state["terminated"])
        elif container.get("ready") and "running" in state:
            is_running = True
    if word == "Completed" and is_running:
        return "Running" if has_condition(pod, "Ready") else "NotReady"
    return word


def _ended_word(terminated: Object) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    signal = terminated.get("signal", 0)
    return f"Signal:{signal}" if signal else f"ExitCode:{terminated.get('exitCode', 0)}"


def _counted_statuses(status: Object, sidecars: Collection[str | None]) -> list[Object]:
    """Return the statuses of what runs all the time: sidecars, then containers."""
    init = status.get("initContainerStatuses", ()) if sidecars else ()
    return [s for s in init if s.get("name") in sidecars] + list(status.get("containerStatuses", ()))


def _restarts(pod: Object, status: Object, statuses: list[Object], initializing: str) -> str | Ago:
    """Return how often containers were restarted, and when the last of them ended."""
    if initializing and not has_condition(pod, "Initialized"):
        statuses = status.get("initContainerStatuses", [])
    count = sum([s.get("restartCount", 0) for s in statuses])
    if not count:
        return "0"
    ends = [((s.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for s in statuses]
    last = max((end for end in ends if end), default="")
    return Ago(last, f"{count} ({{}} ago)") if last else str(count)


def _readiness_gates(pod: Object, spec: Object) -> str:
    gates = spec.get("readinessGates")
    if not gates:
        return NONE
    return f"{sum(1 for gate in gates if has_condition(pod, gate.get('conditionType', '')))}/{len(gates)}"
