"""Decide whether a node is picked by a NodeSelector (component-helpers/scheduling/corev1/nodeaffinity)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.objects import meta
from proa.objects.selectors import Operator, Requirement

Object = dict[str, Any]

_OPERATORS: dict[str, Operator] = {
    "In": "in",
    "NotIn": "notin",
    "Exists": "exists",
    "DoesNotExist": "!",
    "Gt": "gt",
    "Lt": "lt",
}


def is_picked_by(pod_spec: Object, node: Object) -> bool:
    """Tell whether a pod may run on the node by its nodeSelector and its required node affinity."""
    if not (pod_spec.get("nodeSelector") or {}).items() <= meta.labels(node).items():
        return False
    affinity = (pod_spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or selects(required, node)


def selects(selector: Object, node: Object) -> bool:
    """Tell whether any of the selector's terms holds; no term holds for none."""
    return any(term_holds(term, node) for term in selector.get("nodeSelectorTerms") or ())


def term_holds(term: Object, node: Object) -> bool:
    """Tell whether all expressions of a term hold for the node; an empty term holds for none."""
    expressions = term.get("matchExpressions") or ()
    fields = term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return _all_hold(expressions, meta.labels(node)) and _all_hold(fields, {"metadata.name": meta.name(node)})


def _all_hold(expressions: list[Object] | tuple[()], values: Mapping[str, str]) -> bool:
    return all(
        Requirement(e["key"], _OPERATORS[e["operator"]], tuple(e.get("values") or ())).matches(values)
        for e in expressions
    )
