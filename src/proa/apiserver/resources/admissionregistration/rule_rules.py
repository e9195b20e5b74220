"""Say what is wrong with the rules by which webhooks and policies pick requests.

Follows validateRuleWithOperations in pkg/apis/admissionregistration/validation/validation.go; policies check theirs
with it too.
"""

from __future__ import annotations

from collections.abc import Sequence

from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import invalid, not_supported, required

OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
SCOPES = ("*", "Cluster", "Namespaced")


def validate_rule(rule: Object, field: str) -> list[Cause]:
    """Check a RuleWithOperations."""
    operations = rule.get("operations") or []
    causes = [] if operations else [required(f"{field}.operations")]
    if len(operations) > 1 and "*" in operations:
        why = "if '*' is present, must not specify other operations"
        causes.append(invalid(f"{field}.operations", operations, why))
    for index, operation in enumerate(operations):
        if operation not in OPERATIONS:
            causes.append(not_supported(f"{field}.operations[{index}]", operation, OPERATIONS))
    causes += _validate_names(rule.get("apiGroups") or [], f"{field}.apiGroups", "API groups")
    versions = rule.get("apiVersions") or []
    causes += _validate_names(versions, f"{field}.apiVersions", "API versions")
    causes += [required(f"{field}.apiVersions[{i}]") for i, version in enumerate(versions) if not version]
    causes += _validate_resources(rule.get("resources") or [], f"{field}.resources")
    scope = rule.get("scope")
    if scope is not None and scope not in SCOPES:
        causes.append(not_supported(f"{field}.scope", scope, SCOPES))
    return causes


def _validate_names(names: Sequence[str], field: str, what: str) -> list[Cause]:
    if not names:
        return [required(field)]
    if len(names) > 1 and "*" in names:
        return [invalid(field, names, f"if '*' is present, must not specify other {what}")]
    return []


def _validate_resources(resources: Sequence[str], field: str) -> list[Cause]:
    causes = [] if resources else [required(field)]
    whole_resources: set[str] = set()
    whole_subresources: set[str] = set()
    has_plain = False
    for index, resource in enumerate(resources):
        at = f"{field}[{index}]"
        if not resource:
            causes.append(required(at))
            continue
        name, slash, subresource = resource.partition("/")
        if not slash:
            has_plain = resource != "*"
            continue
        if name in whole_resources:
            causes.append(invalid(at, resource, f"if '{name}/*' is present, must not specify {resource}"))
        if subresource in whole_subresources:
            causes.append(
                invalid(at, resource, f"if '*/{subresource}' is present, must not specify {resource}")
            )
        if subresource == "*":
            whole_resources.add(name)
        if name == "*":
            whole_subresources.add(subresource)
    if len(resources) > 1 and "*/*" in resources:
        why = "if '*/*' is present, must not specify other resources"
        causes.append(invalid(field, resources, why))
    if "*" in resources and has_plain:
        why = "if '*' is present, must not specify other resources without subresources"
        causes.append(invalid(field, resources, why))
    return causes
