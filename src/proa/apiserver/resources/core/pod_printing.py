"""Show a pod in `kubectl get pods`: how many containers are ready, and one word for what goes on.

Follows printPod in pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from proa.apiserver.registry.definition import Column
from proa.apiserver.resources.printing import AGE, NAME, NONE, age, doc, since
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


def cells(pod: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    sidecars = {c.get("name") for c in spec.get("initContainers", ()) if is_sidecar(c)}
    total = len(spec.get("containers", ())) + len(sidecars)
    ready = sum(1 for s in _counted_statuses(status, sidecars) if _is_up(s))
    addresses = [a.get("ip") for a in status.get("podIPs", ())]
    return (
        pod["metadata"]["name"],
        f"{ready}/{total}",
        status_word(pod),
        _restarts(pod, sidecars, now),
        age(pod, now),
        (addresses[0] if addresses else status.get("podIP")) or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        _readiness_gates(pod),
    )


def status_word(pod: Object) -> str:
    """Return the STATUS column: Running, Init:0/1, CrashLoopBackOff, Terminating, …"""
    status = pod.get("status") or {}
    word: str = status.get("reason") or status.get("phase", "")
    if any(
        c.get("type") == "PodScheduled" and c.get("reason") == "SchedulingGated"
        for c in status.get("conditions", ())
    ):
        word = "SchedulingGated"
    initializing = _initializing_word(pod)
    word = initializing or word
    if not initializing or has_condition(pod, "Initialized"):
        word = _running_word(pod, word)
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if status.get("phase") not in ("Succeeded", "Failed"):
            return "Terminating"
    return word


def _initializing_word(pod: Object) -> str:
    containers = (pod.get("spec") or {}).get("initContainers", ())
    sidecars = {c.get("name") for c in containers if is_sidecar(c)}
    for index, status in enumerate((pod.get("status") or {}).get("initContainerStatuses", ())):
        state = status.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting")
        if ended and ended.get("exitCode", 0) == 0:
            continue
        if status.get("name") in sidecars and status.get("started"):
            continue
        if ended:
            return "Init:" + _ended_word(ended)
        if waiting and waiting.get("reason", "") not in ("", "PodInitializing"):
            return f"Init:{waiting['reason']}"
        return f"Init:{index}/{len(containers)}"
    return ""


def _running_word(pod: Object, word: str) -> str:
    is_running = False
    for status in reversed((pod.get("status") or {}).get("containerStatuses", ())):
        state = status.get("state") or {}
        if (state.get("waiting") or {}).get("reason"):
            word = state["waiting"]["reason"]
        elif state.get("terminated"):
            word = _ended_word(state["terminated"])
        elif status.get("ready") and "running" in state:
            is_running = True
    if word == "Completed" and is_running:
        return "Running" if has_condition(pod, "Ready") else "NotReady"
    return word


def _ended_word(terminated: Object) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    signal = terminated.get("signal", 0)
    return f"Signal:{signal}" if signal else f"ExitCode:{terminated.get('exitCode', 0)}"


def _counted_statuses(status: Object, sidecars: set[str]) -> Iterable[Object]:
    yield from (s for s in status.get("initContainerStatuses", ()) if s.get("name") in sidecars)
    yield from status.get("containerStatuses", ())


def _is_up(status: Object) -> bool:
    return bool(status.get("ready")) and "running" in (status.get("state") or {})


def _restarts(pod: Object, sidecars: set[str], now: float) -> str:
    status = pod.get("status") or {}
    statuses = list(_counted_statuses(status, sidecars))
    if _initializing_word(pod) and not has_condition(pod, "Initialized"):
        statuses = list(status.get("initContainerStatuses", ()))
    count = sum(s.get("restartCount", 0) for s in statuses)
    ends = [((s.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for s in statuses]
    last = max((end for end in ends if end), default="")
    return f"{count} ({since(last, now)} ago)" if count and last else str(count)


def _readiness_gates(pod: Object) -> str:
    gates = (pod.get("spec") or {}).get("readinessGates", ())
    if not gates:
        return NONE
    return f"{sum(1 for gate in gates if has_condition(pod, gate.get('conditionType', '')))}/{len(gates)}"
