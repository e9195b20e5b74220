"""Say what is wrong with how a Job takes failures and success of its pods.

Follows pkg/apis/batch/validation validatePodFailurePolicy, validatePodReplacementPolicy and validateSuccessPolicy.
"""

from __future__ import annotations

from proa.apiserver.resources.batch.index_intervals import BadIndexes, count_indexes
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import (
    all_invalid,
    duplicate,
    invalid,
    not_shown,
    not_supported,
    qualified_name,
    quote,
    required,
    too_long,
    too_many,
    validate_non_negative,
)

ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
OPERATORS = ("In", "NotIn")
STATUSES = ("False", "True", "Unknown")
REPLACEMENTS = ("Failed", "TerminatingOrFailed")
MAX_RULES = MAX_PATTERNS = 20
MAX_EXIT_CODES = 255
MAX_INDEXES_BYTES = 64 * 1024


def validate_failure_policy(spec: Object, path: str) -> list[Cause]:
    """Check podFailurePolicy and podReplacementPolicy."""
    causes: list[Cause] = []
    policy = spec.get("podFailurePolicy")
    if policy is not None:
        rules, field = policy.get("rules") or [], f"{path}.podFailurePolicy.rules"
        causes += _not_over(rules, MAX_RULES, field)
        names = _container_names(spec)
        for index, rule in enumerate(rules):
            causes += _validate_failure_rule(rule, spec, names, f"{field}[{index}]")
    return causes


def validate_replacement_policy(spec: Object, path: str) -> list[Cause]:
    """Check podReplacementPolicy, which is Failed where there is a podFailurePolicy."""
    replacement = spec.get("podReplacementPolicy")
    supported = REPLACEMENTS if spec.get("podFailurePolicy") is None else ("Failed",)
    if replacement is None or replacement in supported:
        return []
    return [not_supported(f"{path}.podReplacementPolicy", replacement, supported)]


def _container_names(spec: Object) -> set[str]:
    pod = (spec.get("template") or {}).get("spec") or {}
    return {c.get("name", "") for key in ("containers", "initContainers") for c in pod.get(key) or ()}


def _validate_failure_rule(rule: Object, spec: Object, names: set[str], path: str) -> list[Cause]:
    causes = _validate_choice(rule.get("action", ""), ACTIONS, f"{path}.action")
    if rule.get("action") == "FailIndex" and "backoffLimitPerIndex" not in spec:
        detail = "requires the backoffLimitPerIndex to be set"
        causes.append(invalid(f"{path}.action", "FailIndex", detail))
    codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or []
    if codes is not None:
        causes += _validate_exit_codes(codes, names, f"{path}.onExitCodes")
    causes += _validate_conditions(conditions, f"{path}.onPodConditions")
    if codes is not None and conditions:
        detail = "specifying both OnExitCodes and OnPodConditions is not supported"
        causes.append(not_shown(path, detail))
    if codes is None and not conditions:
        causes.append(not_shown(path, "specifying one of OnExitCodes and OnPodConditions is required"))
    return causes


def _validate_choice(value: str, supported: tuple[str, ...], field: str) -> list[Cause]:
    if not value:
        return [required(field, f"valid values: [{' '.join(map(quote, supported))}]")]
    return [] if value in supported else [not_supported(field, value, supported)]


def _validate_conditions(patterns: list[Object], field: str) -> list[Cause]:
    causes = _not_over(patterns, MAX_PATTERNS, field)
    for index, pattern in enumerate(patterns):
        path, type = f"{field}[{index}]", pattern.get("type", "")
        causes += all_invalid(f"{path}.type", type, qualified_name(type))
        causes += _validate_choice(pattern.get("status", ""), STATUSES, f"{path}.status")
    return causes


def _validate_exit_codes(codes: Object, names: set[str], path: str) -> list[Cause]:
    operator, values = codes.get("operator", ""), codes.get("values") or []
    causes = _validate_choice(operator, OPERATORS, f"{path}.operator")
    container = codes.get("containerName")
    if container is not None and container not in names:
        detail = "must be one of the container or initContainer names in the pod template"
        causes.append(invalid(f"{path}.containerName", container, detail))
    field = f"{path}.values"
    if not values:
        causes.append(invalid(field, codes.get("values"), "at least one value is required"))
    causes += _not_over(values, MAX_EXIT_CODES, field)
    seen: set[int] = set()
    for index, value in enumerate(values):
        if operator == "In" and value == 0:
            causes.append(invalid(f"{field}[{index}]", value, "must not be 0 for the In operator"))
        if value in seen:
            causes.append(duplicate(f"{field}[{index}]", value))
        seen.add(value)
    if values != sorted(values):
        causes.append(invalid(field, values, "must be ordered"))
    return causes


def _not_over(items: list[object] | list[Object], most: int, field: str) -> list[Cause]:
    return [too_many(field, len(items), most)] if len(items) > most else []


def validate_success_policy(spec: Object, path: str) -> list[Cause]:
    """Check successPolicy, which only indexed jobs have."""
    policy = spec.get("successPolicy")
    if policy is None:
        return []
    rules, field = policy.get("rules") or [], f"{path}.successPolicy.rules"
    if spec.get("completionMode") != "Indexed":
        shown = {"Rules": [_as_upstream(rule) for rule in rules] or None}
        return [invalid(f"{path}.successPolicy", shown, "requires indexed completion mode")]
    causes: list[Cause] = []
    if not rules:
        detail = "at least one rules must be specified when the successPolicy is specified"
        causes.append(required(field, detail))
    causes += _not_over(rules, MAX_RULES, field)
    for index, rule in enumerate(rules):
        causes += _validate_success_rule(rule, spec.get("completions", 0), f"{field}[{index}]")
    return causes


def _as_upstream(rule: Object) -> Object:
    """Upstream shows its internal type, whose fields have Go's names."""
    return {
        "SucceededCount": rule.get("succeededCount"),
        "SucceededIndexes": rule.get("succeededIndexes"),
    }


def _validate_success_rule(rule: Object, completions: int, path: str) -> list[Cause]:
    indexes, count = rule.get("succeededIndexes"), rule.get("succeededCount")
    if indexes is None and count is None:
        return [required(path, "at least one of succeededCount or succeededIndexes must be specified")]
    causes: list[Cause] = []
    total = 0
    if indexes is not None:
        field = f"{path}.succeededIndexes"
        if len(indexes) > MAX_INDEXES_BYTES:
            causes.append(too_long(field, MAX_INDEXES_BYTES))
        try:
            total = count_indexes(indexes, completions)
        except BadIndexes as error:
            causes.append(invalid(field, indexes, f"error parsing succeededIndexes: {error}"))
    if count is not None:
        field = f"{path}.succeededCount"
        causes += validate_non_negative(count, field)
        if count > completions:
            detail = f"must be less than or equal to {completions} (the number of specified completions)"
            causes.append(invalid(field, count, detail))
        if indexes is not None and count > total:
            what = "the number of indexes in the specified succeededIndexes field"
            causes.append(invalid(field, count, f"must be less than or equal to {total} ({what})"))
    return causes
