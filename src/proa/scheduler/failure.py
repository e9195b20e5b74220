"""Say why a pod has no node, in the words that kube-scheduler uses (framework/types.go, FitError)."""

from __future__ import annotations

from proa.scheduler.framework import Status
from proa.scheduler.ranking import Diagnosis

NO_NODES = "no nodes available to schedule pods"


def fit_error(diagnosis: Diagnosis, *, has_victims: bool) -> str:
    """Return "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable. preemption: …".

    Proa does not preempt; where lower-priority pods could have been victims, nothing is said about preemption.
    """
    if not diagnosis.nodes:
        return NO_NODES
    reasons = ", ".join(sorted(f"{count} {reason}" for reason, count in diagnosis.reasons.items()))
    return f"{_none_of(diagnosis.nodes)}: {reasons}.{_preemption(diagnosis, has_victims=has_victims)}"


def pod_error(status: Status, nodes: int) -> str:
    """Return the message for a pod that no node was asked about."""
    if not nodes:
        return NO_NODES
    return (
        f"{_none_of(nodes)}: {', '.join(status.reasons)}. preemption: {_none_of(nodes)}: "
        f"{nodes} Preemption is not helpful for scheduling."
    )


def _preemption(diagnosis: Diagnosis, *, has_victims: bool) -> str:
    hopeful = diagnosis.nodes - diagnosis.unresolvable
    if hopeful and has_victims:
        return ""
    counts = {
        "No preemption victims found for incoming pod": hopeful,
        "Preemption is not helpful for scheduling": diagnosis.unresolvable,
    }
    parts = ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items() if count))
    return f" preemption: {_none_of(diagnosis.nodes)}: {parts}."


def _none_of(nodes: int) -> str:
    return f"0/{nodes} nodes are available"
