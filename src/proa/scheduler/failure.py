"""Say why a pod has no node, in the words that kube-scheduler uses (framework/types.go, FitError)."""

from __future__ import annotations

from collections import Counter

from proa.scheduler.decision import Refusal

NO_NODES = "no nodes available to schedule pods"
NOT_HELPFUL = "Preemption is not helpful for scheduling"


def fit_error(refusal: Refusal, post_filter: str = "") -> str:
    """Return "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable. preemption: …".

    `post_filter` is what was tried then.
    """
    diagnosis = refusal.diagnosis
    if not diagnosis.nodes:
        return NO_NODES
    reasons = ", ".join(refusal.status.reasons) if refusal.status else joined(diagnosis.reasons)
    return f"{none_of(diagnosis.nodes)}: {reasons}. {post_filter}".rstrip()


def no_victims(nodes: int, reasons: Counter[str]) -> str:
    """Return why preemption found nothing: "0/3 nodes are available: 1 No preemption victims …, 2 Preemption …"."""
    counts = Counter(reasons)
    asked = sum(reasons.values())
    if nodes > asked:
        counts[NOT_HELPFUL] += nodes - asked
    return f"{none_of(nodes)}: {joined(counts)}."


def joined(reasons: Counter[str]) -> str:
    """Return reasons with how often each was met, sorted as text."""
    return ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))


def none_of(nodes: int) -> str:
    """Return that there is no node."""
    return f"0/{nodes} nodes are available"
