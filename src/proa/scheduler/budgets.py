"""Know whose eviction breaks a PodDisruptionBudget (plugins/defaultpreemption, filterPodsWithPDBViolation)."""

from __future__ import annotations

from collections.abc import Sequence

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.selectors import LabelSelector, selector_from_dict
from proa.scheduler.pod_info import PodInfo


class Budget:
    """A PodDisruptionBudget, its selector read."""

    __slots__ = ("allowed", "disrupted", "namespace", "selector", "version")

    def __init__(self, budget: Object) -> None:
        status = budget.get("status") or {}
        self.version = (meta.uid(budget), meta.resource_version(budget))
        self.namespace = meta.namespace(budget)
        self.selector: LabelSelector = selector_from_dict(budget["spec"].get("selector"))
        self.allowed: int = status.get("disruptionsAllowed") or 0
        self.disrupted = status.get("disruptedPods") or {}

    def covers(self, pod: PodInfo) -> bool:
        """Tell whether evicting the pod spends from the budget; an empty selector covers none."""
        if self.namespace != pod.namespace or self.selector.is_everything or pod.name in self.disrupted:
            return False
        return bool(pod.labels) and self.selector.matches(pod.labels)


def split_by_budgets(
    ordered: Sequence[PodInfo], budgets: Sequence[Budget]
) -> tuple[list[PodInfo], list[PodInfo]]:
    """Return the pods whose eviction would break a budget after those before them, and the others."""
    left = [budget.allowed for budget in budgets]
    breaking: list[PodInfo] = []
    harmless: list[PodInfo] = []
    for pod in ordered:
        is_broken = False
        for index, budget in enumerate(budgets):
            if budget.covers(pod):
                left[index] -= 1
                is_broken = is_broken or left[index] < 0
        (breaking if is_broken else harmless).append(pod)
    return breaking, harmless
