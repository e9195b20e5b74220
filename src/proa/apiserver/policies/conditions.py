"""Tell whether a request meets match conditions (apiserver/pkg/admission/plugin/webhook/matchconditions/matcher.go)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.authorization.decision import aggregate
from proa.apiserver.policies.compiled import EvaluationFailed, Expression
from proa.objects.cel.budget import Budget


def meets(conditions: Sequence[Expression], variables: dict[str, Any], budget: Budget) -> bool:
    """Tell whether all are true. One that is false settles it, whatever fails; else raise EvaluationFailed."""
    failures: list[str] = []
    for condition in conditions:
        try:
            value = condition.run(variables, budget)
        except EvaluationFailed as failure:
            failures.append(str(failure))
            continue
        if value is not True:
            return False
    if failures:
        raise EvaluationFailed(aggregate(failures))
    return True
