"""A pod that is gated may be bound to fewer nodes, not to others (KEP-3838).

Follows pkg/apis/core/validation validateNodeSelectorMutation and validateNodeAffinityMutation.
"""

from __future__ import annotations

from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import invalid

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def validate_gated_change(new: Object, old: Object) -> list[Cause]:
    """Check that node selector and required node affinity only grow; both are specs of pods."""
    mine, theirs = new.get("nodeSelector") or {}, old.get("nodeSelector") or {}
    causes: list[Cause] = []
    if any(mine.get(key) != value for key, value in theirs.items()):
        detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        causes.append(invalid("spec.nodeSelector", mine or None, detail))
    return causes + _validate_terms(_terms(new), _terms(old))


def _terms(spec: Object) -> list[Object]:
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    return (affinity.get(REQUIRED) or {}).get("nodeSelectorTerms") or []


def _validate_terms(new: list[Object], old: list[Object]) -> list[Cause]:
    field = f"spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms"
    if old and len(new) != len(old):
        detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        return [invalid(field, new or None, detail)]
    return [
        invalid(f"{field}[{index}]", mine, "only additions are allowed (no mutations or deletions)")
        for index, (mine, theirs) in enumerate(zip(new, old, strict=False))
        if not _only_grows(mine, theirs)
    ]


def _only_grows(new: Object, old: Object) -> bool:
    keys = ("matchExpressions", "matchFields")
    if not any(old.get(key) for key in keys):
        return not any(new.get(key) for key in keys)
    return all((new.get(key) or [])[: len(old.get(key) or [])] == (old.get(key) or []) for key in keys)
