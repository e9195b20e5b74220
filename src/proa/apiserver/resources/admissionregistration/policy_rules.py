"""Say what is wrong with an admission policy, its expressions included.

Follows validateValidatingAdmissionPolicySpec and validateMutatingAdmissionPolicySpec in pkg/apis/
admissionregistration/validation/validation.go. CEL is imported when there is a policy to check.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from proa.apiserver.resources.admissionregistration.match_condition_rules import validate_match_conditions
from proa.apiserver.resources.admissionregistration.policy_match_rules import (
    validate_match_resources,
    validate_mutable_operations,
    validate_param_kind,
)
from proa.apiserver.resources.admissionregistration.webhook_rules import FAILURE_POLICIES
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import (
    all_invalid,
    duplicate,
    invalid,
    not_supported,
    qualified_name,
    required,
)

if TYPE_CHECKING:
    from proa.objects.cel.admission import Compiler

MAX_AUDIT_ANNOTATIONS = 20
MAX_VALUE_EXPRESSION_BYTES = 5 * 1024
REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
REINVOCATION_POLICIES = ("Never", "IfNeeded")
PATCHES = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}
_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*\Z", re.ASCII)
_NEITHER = "validations or auditAnnotations must contain at least one item"


def validate_validating(policy: Object) -> list[Cause]:
    """Check a ValidatingAdmissionPolicy."""
    from proa.objects.cel.admission import compiler_of

    spec = policy.get("spec") or {}
    compiler = compiler_of(spec)
    causes = _validate_common(spec, compiler)
    validations, annotations = spec.get("validations") or (), spec.get("auditAnnotations") or ()
    if not validations and not annotations:
        return [
            *causes,
            required("spec.validations", _NEITHER),
            required("spec.auditAnnotations", _NEITHER),
        ]
    for index, validation in enumerate(validations):
        causes += _validate_validation(validation, compiler, f"spec.validations[{index}]")
    if len(annotations) > MAX_AUDIT_ANNOTATIONS:
        why = f"must not have more than {MAX_AUDIT_ANNOTATIONS} auditAnnotations"
        causes.append(invalid("spec.auditAnnotations", list(annotations), why))
    keys: set[str] = set()
    for index, annotation in enumerate(annotations):
        at, key = f"spec.auditAnnotations[{index}]", annotation.get("key") or ""
        causes += _validate_annotation(annotation, policy["metadata"].get("name") or "", compiler, at)
        if key in keys:
            causes.append(duplicate(f"{at}.key", key))
        keys.add(key)
    return causes


def validate_mutating(policy: Object) -> list[Cause]:
    """Check a MutatingAdmissionPolicy."""
    from proa.objects.cel.admission import compiler_of

    spec = policy.get("spec") or {}
    compiler = compiler_of(spec, has_patches=True)
    causes = _validate_common(spec, compiler)
    rules = (spec.get("matchConstraints") or {}).get("resourceRules") or ()
    causes += validate_mutable_operations(rules, "spec.matchConstraints.resourceRules")
    mutations = spec.get("mutations") or ()
    if not mutations:
        causes.append(required("spec.mutations", "mutations must contain at least one item"))
    for index, mutation in enumerate(mutations):
        causes += _validate_mutation(mutation, compiler, f"spec.mutations[{index}]")
    again = spec.get("reinvocationPolicy") or ""
    if not again:
        causes.append(required("spec.reinvocationPolicy"))
    elif again not in REINVOCATION_POLICIES:
        causes.append(not_supported("spec.reinvocationPolicy", again, REINVOCATION_POLICIES))
    return causes


def validate_status_update(policy: Object, old: Object) -> list[Cause]:
    """Check the warnings that a type check left."""
    warnings = ((policy.get("status") or {}).get("typeChecking") or {}).get("expressionWarnings") or ()
    causes = []
    for index, warning in enumerate(warnings):
        at = f"status.typeChecking.expressionWarnings[{index}]"
        if not warning.get("warning"):
            causes.append(required(f"{at}.warning"))
        if not (warning.get("fieldRef") or "").strip():
            causes.append(required(f"{at}.fieldRef"))
    return causes


def _validate_common(spec: Object, compiler: Compiler) -> list[Cause]:
    failure = spec.get("failurePolicy")
    causes = []
    if failure is None:
        causes.append(required("spec.failurePolicy"))
    elif failure not in FAILURE_POLICIES:
        causes.append(not_supported("spec.failurePolicy", failure, FAILURE_POLICIES))
    if spec.get("paramKind") is not None:
        causes += validate_param_kind(spec["paramKind"], "spec.paramKind")
    match = spec.get("matchConstraints")
    if match is None:
        causes.append(required("spec.matchConstraints"))
    else:
        causes += validate_match_resources(match, "spec.matchConstraints")
        if not match.get("resourceRules"):
            causes.append(required("spec.matchConstraints.resourceRules"))
    conditions, has_params = spec.get("matchConditions") or (), spec.get("paramKind") is not None
    causes += validate_match_conditions(conditions, "spec.matchConditions", has_params=has_params)
    for index, variable in enumerate(spec.get("variables") or ()):
        causes += _validate_variable(variable, compiler, f"spec.variables[{index}]")
    return causes


def _validate_expression(
    compiler: Compiler, expression: str, returns: Any, field: str, *, authorizer: bool = True
) -> list[Cause]:
    from proa.objects.cel.admission import BadExpression

    try:
        compiler.compile(expression, returns, authorizer=authorizer)
    except BadExpression as error:
        return [invalid(field, expression, str(error))]
    return []


def _validate_variable(variable: Object, compiler: Compiler, field: str) -> list[Cause]:
    from proa.objects.cel.admission import BadExpression
    from proa.objects.cel.escaping import RESERVED

    name, expression = variable.get("name") or "", variable.get("expression") or ""
    causes = []
    if not name.strip():
        causes.append(required(f"{field}.name", "name is not specified"))
    elif not _IDENTIFIER.match(name) or name in RESERVED:
        causes.append(invalid(f"{field}.name", name, "name is not a valid CEL identifier"))
    if not expression.strip():
        return [*causes, required(f"{field}.expression", "expression is not specified")]
    try:
        compiler.add_variable(name, expression)
    except BadExpression as error:
        causes.append(invalid(f"{field}.expression", expression, str(error)))
    return causes


def _validate_validation(validation: Object, compiler: Compiler, field: str) -> list[Cause]:
    from proa.objects.cel.types import BOOL, STRING

    expression, message = validation.get("expression") or "", validation.get("message") or ""
    said = validation.get("messageExpression") or ""
    if expression.strip():
        causes = _validate_expression(compiler, expression, (BOOL,), f"{field}.expression")
    else:
        causes = [required(f"{field}.expression", "expression is not specified")]
    if said and not said.strip():
        causes.append(invalid(f"{field}.messageExpression", said, "must be non-empty if specified"))
    elif said:
        at = f"{field}.messageExpression"
        causes += _validate_expression(compiler, said, (STRING,), at, authorizer=False)
    if message and not message.strip():
        causes.append(invalid(f"{field}.message", message, "message must be non-empty if specified"))
    elif re.search(r"[\n\r]", message.strip()):
        causes.append(invalid(f"{field}.message", message, "message must not contain line breaks"))
    reason = validation.get("reason")
    if reason is not None and reason not in REASONS:
        causes.append(not_supported(f"{field}.reason", reason, REASONS))
    return causes


def _validate_annotation(annotation: Object, policy: str, compiler: Compiler, field: str) -> list[Cause]:
    from proa.objects.cel.types import NULL, STRING

    key, expression = annotation.get("key") or "", annotation.get("valueExpression") or ""
    if policy:
        name = f"{policy}/{key}"
        causes = all_invalid(f"{field}.key", name, qualified_name(name))
    else:
        causes = [invalid(f"{field}.key", key, "requires metadata.name be non-empty")]
    at = f"{field}.valueExpression"
    trimmed = expression.strip()
    if not trimmed:
        return [*causes, required(at, "valueExpression is not specified")]
    if len(trimmed.encode()) > MAX_VALUE_EXPRESSION_BYTES:
        return [*causes, required(at, f"must not exceed {MAX_VALUE_EXPRESSION_BYTES} bytes in length")]
    return causes + _validate_expression(compiler, trimmed, (STRING, NULL), at)


def _validate_mutation(mutation: Object, compiler: Compiler, field: str) -> list[Cause]:
    from proa.objects.cel.admission import ANY_OBJECT, JSON_PATCHES

    kind = mutation.get("patchType") or ""
    if not kind:
        return [required(f"{field}.patchType")]
    if kind not in PATCHES:
        return [not_supported(f"{field}.patchType", kind, tuple(PATCHES))]
    causes: list[Cause] = []
    for other, key in PATCHES.items():
        patch = mutation.get(key)
        if other != kind:
            if patch is not None:
                why = f"must not be specified when patchType is {kind}"
                causes.append(invalid(f"{field}.{key}", f"{{{key}}}", why))
        elif patch is None:
            causes.append(required(f"{field}.{key}", f"must be specified when patchType is {kind}"))
        elif not (patch.get("expression") or "").strip():
            causes.append(required(f"{field}.{key}.expression"))
        else:
            returns = (ANY_OBJECT if kind == "ApplyConfiguration" else JSON_PATCHES,)
            at = f"{field}.{key}.expression"
            causes += _validate_expression(compiler, patch["expression"], returns, at)
    return causes
