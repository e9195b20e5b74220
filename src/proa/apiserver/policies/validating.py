"""Refuse, warn of or note what ValidatingAdmissionPolicies find wrong with what is about to be stored.

Follows dispatcher.go and validator.go of apiserver/pkg/admission/plugin/policy/validating.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from proa.apiserver.admission.matching import Match
from proa.apiserver.admission.mutation import view
from proa.apiserver.pace import Pace
from proa.apiserver.policies.activation import bind_variables, make_variables
from proa.apiserver.policies.bindings import Binding, BoundPolicy
from proa.apiserver.policies.compiled import CompiledPolicy, EvaluationFailed, OutOfBudget, Validation
from proa.apiserver.policies.conditions import meets
from proa.apiserver.policies.parameters import BadConfiguration, collect_parameters, find_parameter_kind
from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.notes import annotate_audit, warn
from proa.apiserver.registry.refusals import forbidden
from proa.client.protocol import Object
from proa.objects.cel.budget import Budget
from proa.objects.errors import ApiError
from proa.objects.quick_dataclass import dataclass

MAX_ANNOTATION = 10 * 1024
MAX_MESSAGE_BYTES = 5 * 1024
MAX_FAILURES = 50
FAILURE_KEY = "validation.policy.admission.k8s.io/validation_failure"
CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413}


@dataclass(frozen=True, slots=True)
class Denial:
    """What is wrong, or could not be judged; `index` is the validation's."""

    message: str
    reason: str = ""
    index: int = 0


@dataclass(slots=True)
class _Outcome:
    denials: list[Denial]
    """What the binding's actions are for."""
    failures: list[Denial]
    """Audit annotations that could not be worked out: they refuse whatever the actions."""
    annotations: list[tuple[str, str]]


@dataclass(slots=True)
class _Round:
    """What is found while one request goes through the policies."""

    attributes: Attributes
    denied: list[tuple[BoundPolicy, Binding | None, Denial]]
    noted: list[Object]
    variables: dict[Match, dict[str, Any]]
    pace: Pace

    async def variables_for(self, match: Match) -> dict[str, Any]:
        """Return the request's variables in the version that a policy matched."""
        found = self.variables.get(match)
        if found is None:
            views = await view(self.attributes, match)
            found = self.variables[match] = make_variables(self.attributes, match, views)
        return found

    def misconfigured(self, policy: BoundPolicy, binding: Binding | None, error: BadConfiguration) -> None:
        """Refuse what cannot be judged, where failures count."""
        if not policy.ignores_failure:
            what = "binding" if binding else "policy"
            self.denied.append((policy, binding, Denial(f"failed to configure {what}: {error}")))


async def check_all(policies: Sequence[BoundPolicy], attributes: Attributes) -> None:
    """Put the request through the policies, and raise what refuses it."""
    found = _Round(attributes, [], [], {}, Pace())
    for policy in policies:
        match = policy.matcher.match(attributes)
        if match is not None:
            await _check_policy(policy, match, found)
    if found.noted:
        annotate_audit(FAILURE_KEY, orjson.dumps(found.noted[:MAX_FAILURES]).decode())
    if found.denied:
        raise _refusal(attributes, *found.denied[0])


async def _check_policy(policy: BoundPolicy, match: Match, found: _Round) -> None:
    attributes = found.attributes
    kind = policy.spec.get("paramKind")
    try:
        parameter_kind = None if kind is None else find_parameter_kind(attributes.catalog, kind)
    except BadConfiguration as error:
        found.misconfigured(policy, None, error)
        return
    annotations: dict[str, list[str]] = {}
    for binding in policy.bindings:
        if binding.matcher is not None and binding.matcher.match(attributes) is None:
            continue
        try:
            params = await collect_parameters(attributes, parameter_kind, binding.spec.get("paramRef"))
        except BadConfiguration as error:
            found.misconfigured(policy, binding, error)
            continue
        for param in params:
            variables = await found.variables_for(match)
            compiled = await policy.compiled()
            outcome = judge(compiled, variables, param, ignores_failure=policy.ignores_failure)
            _act(policy, binding, outcome, found)
            await found.pace.give_way()
            for key, value in outcome.annotations:
                if value not in annotations.setdefault(key, []):
                    annotations[key].append(value)
    for key, values in annotations.items():
        annotate_audit(f"{policy.name}/{key}", ", ".join(values))


def _act(policy: BoundPolicy, binding: Binding, outcome: _Outcome, found: _Round) -> None:
    """Do with what was found as the binding says."""
    actions = binding.spec.get("validationActions") or ()
    for denial in outcome.denials:
        if "Deny" in actions:
            found.denied.append((policy, binding, denial))
        if "Audit" in actions:
            found.noted.append({
                "message": denial.message, "policy": policy.name, "binding": binding.name,
                "expressionIndex": denial.index, "validationActions": list(actions),
            })  # fmt: skip
        if "Warn" in actions:
            warn(
                f"Validation failed for ValidatingAdmissionPolicy '{policy.name}' with binding "
                f"'{binding.name}': {denial.message}"
            )
    found.denied += [(policy, binding, failure) for failure in outcome.failures]


def judge(
    policy: CompiledPolicy, variables: dict[str, Any], param: Object | None, *, ignores_failure: bool
) -> _Outcome:
    """Return what a policy finds wrong, with one parameter object."""
    budget = Budget()
    bound = bind_variables(variables, param, policy.variables, budget)
    outcome = _Outcome([], [], [])
    try:
        if not meets(policy.conditions, bound, budget):
            return outcome
        for index, validation in enumerate(policy.validations):
            try:
                holds = validation.expression.run(bound, budget)
            except OutOfBudget:
                raise
            except EvaluationFailed as failure:
                if not ignores_failure:
                    outcome.denials.append(Denial(str(failure), index=index))
                continue
            if holds is not True:
                message = _message(validation, bound, budget)
                outcome.denials.append(Denial(message, validation.reason, index))
    except EvaluationFailed as failure:
        if not ignores_failure:
            outcome.denials.append(Denial(str(failure)))
        return outcome
    _annotate(policy, bound, budget, outcome, ignores_failure)
    return outcome


def _message(validation: Validation, variables: dict[str, Any], budget: Budget) -> str:
    if validation.message_expression is not None:
        try:
            said = validation.message_expression.run(variables, budget)
        except OutOfBudget:
            raise
        except EvaluationFailed:
            said = ""  # upstream logs it, and falls back
        said = said.strip() if isinstance(said, str) else ""
        if said and "\n" not in said and len(said.encode()) <= MAX_MESSAGE_BYTES:
            return said
    return validation.message or f"failed expression: {validation.expression.source.strip()}"


def _annotate(
    policy: CompiledPolicy,
    variables: dict[str, Any],
    budget: Budget,
    outcome: _Outcome,
    ignores_failure: bool,
) -> None:
    for annotation in policy.annotations:
        try:
            value = annotation.expression.run(variables, budget)
        except EvaluationFailed as failure:
            if not ignores_failure:
                outcome.failures.append(Denial(str(failure)))
            continue
        text = value.strip() if isinstance(value, str) else ""
        if text:
            outcome.annotations.append((annotation.key, text[:MAX_ANNOTATION]))


def _refusal(
    attributes: Attributes, policy: BoundPolicy, binding: Binding | None, denial: Denial
) -> ApiError:
    who = f"ValidatingAdmissionPolicy '{policy.name}'"
    if binding is not None:
        who += f" with binding '{binding.name}'"
    message = f"{who} denied request: {denial.message}"
    error: ApiError = forbidden(attributes.definition.resource, shown_name(attributes), message)
    error.reason = denial.reason or "Invalid"
    error.code = CODES.get(error.reason, 422)
    error.details["causes"] = [{"message": message}]
    return error


def shown_name(attributes: Attributes) -> str:
    """Return what a refusal calls the object: its name may not be made yet (apiserver/pkg/admission/errors.go)."""
    metadata = (attributes.obj or {}).get("metadata") or {}
    return attributes.name or metadata.get("name") or metadata.get("generateName") or "Unknown"
