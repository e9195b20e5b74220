"""Say what is wrong with a ResourceQuota's scopes (pkg/apis/core/validation validateResourceQuotaScopes)."""

from __future__ import annotations

from collections.abc import Iterable

from proa.apiserver.resources.core.resource_rules import is_quota_resource
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import invalid, required

POD_AMOUNTS = frozenset(
    ("pods", "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory")
)
CLAIM_AMOUNTS = frozenset(("persistentvolumeclaims", "requests.storage"))
SCOPES = {
    "Terminating": POD_AMOUNTS,
    "NotTerminating": POD_AMOUNTS,
    "NotBestEffort": POD_AMOUNTS,
    "PriorityClass": POD_AMOUNTS,
    "CrossNamespacePodAffinity": POD_AMOUNTS,
    "BestEffort": frozenset(("pods",)),
    "VolumeAttributesClass": CLAIM_AMOUNTS,
}
"""What each scope can count, of the amounts that have no domain."""
EXISTS_ONLY = ("BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity")
OPPOSITES = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))


def validate_scopes(spec: Object, field: str) -> list[Cause]:
    """Check spec.scopes."""
    scopes = spec.get("scopes") or []
    causes: list[Cause] = []
    for scope in scopes:
        if scope not in SCOPES:
            causes.append(invalid(field, scopes, "unsupported scope"))
        for _ in _uncounted(scope, spec.get("hard") or ()):
            causes.append(invalid(field, scopes, "unsupported scope applied to resource"))
    return causes + _conflicts(set(scopes), scopes, field)


def validate_scope_selector(spec: Object, field: str) -> list[Cause]:
    """Check spec.scopeSelector."""
    selector = spec.get("scopeSelector")
    if selector is None:
        return []
    path = f"{field}.matchExpressions"
    causes: list[Cause] = []
    for requirement in selector.get("matchExpressions") or ():
        scope = requirement.get("scopeName", "")
        if scope not in SCOPES:
            causes.append(invalid(f"{path}.scopeName", scope, "unsupported scope"))
        for _ in _uncounted(scope, spec.get("hard") or ()):
            causes.append(invalid(path, _as_upstream(selector), "unsupported scope applied to resource"))
        causes += _validate_operator(requirement, scope, path)
    chosen = {r.get("scopeName", "") for r in selector.get("matchExpressions") or ()}
    return causes + _conflicts(chosen, spec.get("scopes") or None, "spec.scopeSelector.matchExpressions")


def _validate_operator(requirement: Object, scope: str, path: str) -> list[Cause]:
    operator, values = requirement.get("operator", ""), requirement.get("values") or []
    causes: list[Cause] = []
    if scope in EXISTS_ONLY and operator != "Exists":
        named = (
            "ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, "
            "ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
        )
        causes.append(invalid(f"{path}.operator", operator, f"must be 'Exists' when scope is any of {named}"))
    if operator in ("In", "NotIn"):
        if not values:
            detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
            causes.append(required(f"{path}.values", detail))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
            causes.append(invalid(f"{path}.values", values, detail))
    else:
        causes.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    return causes


def _uncounted(scope: str, hard: Iterable[str]) -> list[str]:
    counted = SCOPES.get(scope)
    return [] if counted is None else [n for n in sorted(hard) if is_quota_resource(n) and n not in counted]


def _conflicts(chosen: set[str], shown: object, field: str) -> list[Cause]:
    return [invalid(field, shown, "conflicting scopes") for pair in OPPOSITES if chosen.issuperset(pair)]


def _as_upstream(selector: Object) -> Object:
    """Upstream shows its internal type, whose fields have Go's names."""
    return {
        "MatchExpressions": [
            {
                "ScopeName": r.get("scopeName", ""),
                "Operator": r.get("operator", ""),
                "Values": r.get("values"),
            }
            for r in selector.get("matchExpressions") or ()
        ]
    }
