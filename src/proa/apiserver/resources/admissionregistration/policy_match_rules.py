"""Say what is wrong with the parts that both kinds of admission policy have: kinds of parameters, and what is matched.

Follows pkg/apis/admissionregistration/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from proa.apiserver.resources.admissionregistration.rule_rules import validate_rule
from proa.apiserver.resources.admissionregistration.webhook_rules import MATCH_POLICIES
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import (
    dns1035_label,
    dns_subdomain,
    duplicate,
    invalid,
    not_supported,
    path_segment,
    required,
)
from proa.objects.validation_selectors import validate_label_selector

MUTABLE_OPERATIONS = ("*", "CONNECT", "CREATE", "UPDATE")


def validate_param_kind(kind: Object, field: str) -> list[Cause]:
    """Check a ParamKind."""
    version, name = kind.get("apiVersion") or "", kind.get("kind") or ""
    causes = _validate_api_version(version, f"{field}.apiVersion")
    if not name:
        return [*causes, required(f"{field}.kind")]
    if problems := dns1035_label(name.lower()):
        why = "may have mixed case, but should otherwise match: " + ",".join(problems)
        causes.append(invalid(f"{field}.kind", name, why))
    return causes


def _validate_api_version(text: str, field: str) -> list[Cause]:
    if not text:
        return [required(field)]
    if text.count("/") > 1:
        return [invalid(field, text, f"unexpected GroupVersion string: {text}")]
    group, _, version = text.rpartition("/")
    causes = []
    if group and (problems := dns_subdomain(group)):
        causes.append(invalid(field, group, ",".join(problems)))
    if not version:
        causes.append(invalid(field, text, "version must be specified"))
    elif problems := dns1035_label(version):
        causes.append(invalid(field, version, ",".join(problems)))
    return causes


def validate_match_resources(match: Object | None, field: str) -> list[Cause]:
    """Check a MatchResources, which is defaulted."""
    if match is None:
        return []
    policy = match.get("matchPolicy")
    if policy is None:
        causes = [required(f"{field}.matchPolicy")]
    else:
        causes = (
            []
            if policy in MATCH_POLICIES
            else [not_supported(f"{field}.matchPolicy", policy, MATCH_POLICIES)]
        )
    for key in ("namespaceSelector", "objectSelector"):
        if match.get(key) is None:
            causes.append(required(f"{field}.{key}"))
        else:
            causes += validate_label_selector(match[key], f"{field}.{key}")
    for key in ("resourceRules", "excludeResourceRules"):
        for index, rule in enumerate(match.get(key) or ()):
            causes += _validate_named_rule(rule, f"{field}.{key}[{index}]")
    return causes


def _validate_named_rule(rule: Object, field: str) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    for index, name in enumerate(rule.get("resourceNames") or ()):
        at = f"{field}.resourceNames[{index}]"
        causes += [invalid(at, name, problem) for problem in path_segment(name)]
        if name in names:
            causes.append(duplicate(at, name))
        names.add(name)
    return causes + validate_rule(rule, field)


def validate_mutable_operations(rules: Sequence[Object], field: str) -> list[Cause]:
    """Check that what the rules name can be changed: a deletion has no object."""
    return [
        not_supported(f"{field}.operations", operation, MUTABLE_OPERATIONS)
        for rule in rules
        for operation in rule.get("operations") or ()
        if operation not in MUTABLE_OPERATIONS
    ]
