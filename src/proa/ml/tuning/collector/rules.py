"""Whether a training is to be stopped early: rules that are met one by one, until none is left.

Source: updateStopRules in cmd/metricscollector/v1beta1/file-metricscollector/main.go of kubeflow/katib. Of the
objective's metric it is the best value so far that counts. As the API documents it, a rule counts from its start step
on; upstream's collector looks at that one step only.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

Rule = tuple[str, float, str, int]
"""Metric, value, comparison (less, greater, equal), start step."""


class Rules:
    """The rules of one trial."""

    def __init__(self, rules: Sequence[Rule], objective: str, *, is_maximized: bool) -> None:
        self._left = list(rules)
        self._objective = objective
        self._best_of = max if is_maximized else min
        self._best: float | None = None
        self._counts: dict[str, int] = {}
        self._met: list[str] = []

    @property
    def reason(self) -> str:
        """Return why the training is to be stopped; "" as long as it is not."""
        return "" if self._left or not self._met else "; ".join(self._met)

    def hear(self, metric: str, value: float) -> None:
        """Take in a metric's next value."""
        if not self._left:
            return
        count = self._counts[metric] = self._counts.get(metric, 0) + 1
        if metric == self._objective:
            value = self._best = value if self._best is None else self._best_of(self._best, value)
        for rule in [r for r in self._left if r[0] == metric and count >= r[3] and _holds(value, r)]:
            self._left.remove(rule)
            what = f"the best {metric} so far" if metric == self._objective else metric
            words = "equal to" if rule[2] == "equal" else f"{rule[2]} than"
            self._met.append(f"{what}, {value:g}, is {words} {rule[1]:g} after {count} values")


def _holds(value: float, rule: Rule) -> bool:
    if rule[2] == "less":
        return value < rule[1]
    return value > rule[1] if rule[2] == "greater" else value == rule[1]
