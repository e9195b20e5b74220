"""Say what is wrong with the binding of an admission policy.

Follows validateValidatingAdmissionPolicyBindingSpec and validateMutatingAdmissionPolicyBindingSpec in pkg/apis/
admissionregistration/validation/validation.go, the field path `matchResouces` included.
"""

from __future__ import annotations

from collections.abc import Sequence

from proa.apiserver.resources.admissionregistration.policy_match_rules import (
    validate_match_resources,
    validate_mutable_operations,
)
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import (
    all_invalid,
    dns_subdomain,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    path_segment,
    required,
)
from proa.objects.validation_selectors import validate_label_selector

ACTIONS = ("Audit", "Deny", "Warn")
NOT_FOUND_ACTIONS = ("Deny", "Allow")
_EXCLUSIVE = "name and selector are mutually exclusive"


def validate_validating_binding(binding: Object) -> list[Cause]:
    """Check a ValidatingAdmissionPolicyBinding."""
    spec = binding.get("spec") or {}
    actions = spec.get("validationActions") or []
    return _validate(spec) + _validate_actions(actions, "spec.validationActions")


def validate_mutating_binding(binding: Object) -> list[Cause]:
    """Check a MutatingAdmissionPolicyBinding."""
    spec = binding.get("spec") or {}
    rules = (spec.get("matchResources") or {}).get("resourceRules") or ()
    return _validate(spec) + validate_mutable_operations(rules, "spec.matchResources.resourceRules")


def _validate(spec: Object) -> list[Cause]:
    name = spec.get("policyName") or ""
    causes = (
        all_invalid("spec.policyName", name, dns_subdomain(name)) if name else [required("spec.policyName")]
    )
    causes += _validate_ref(spec.get("paramRef"), "spec.paramRef")
    return causes + validate_match_resources(spec.get("matchResources"), "spec.matchResouces")


def _validate_ref(ref: Object | None, field: str) -> list[Cause]:
    if ref is None:
        return []
    causes: list[Cause] = []
    name, selector = ref.get("name") or "", ref.get("selector")
    if name:
        causes += all_invalid(f"{field}.name", name, path_segment(name))
        if selector is not None:
            causes.append(forbidden(f"{field}.name", _EXCLUSIVE))
    if selector is not None:
        causes += validate_label_selector(selector, f"{field}.selector")
        if name:
            causes.append(forbidden(f"{field}.selector", _EXCLUSIVE))
    if not name and selector is None:
        causes.append(required(field, "one of name or selector must be specified"))
    action = ref.get("parameterNotFoundAction")
    if not action:
        causes.append(required(f"{field}.parameterNotFoundAction"))
    elif action not in NOT_FOUND_ACTIONS:
        causes.append(not_supported(f"{field}.parameterNotFoundAction", action, NOT_FOUND_ACTIONS))
    return causes


def _validate_actions(actions: Sequence[str], field: str) -> list[Cause]:
    causes = []
    for index, action in enumerate(actions):
        if action not in ACTIONS:
            causes.append(not_supported(f"{field}[{index}]", action, ACTIONS))
        if action in actions[:index]:
            causes.append(duplicate(f"{field}[{index}]", action))
    if "Deny" in actions and "Warn" in actions:
        why = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API "
            "response and headers serves no purpose)"
        )
        causes.append(invalid(field, list(actions), why))
    if not actions:
        causes.append(required(field, "at least one validation action is required"))
    return causes
