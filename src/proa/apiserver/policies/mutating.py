"""Let MutatingAdmissionPolicies change an object before it is validated, in order, each seeing what those before made.

Follows apiserver/pkg/admission/plugin/policy/mutating/dispatcher.go and reinvocationcontext.go: when a policy changes
the object, the phase is run once more, in which policies with reinvocationPolicy IfNeeded that had run before are run
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any

import orjson

from proa.apiserver.admission.matching import Match
from proa.apiserver.admission.mutation import replace, view
from proa.apiserver.pace import Pace
from proa.apiserver.policies.activation import bind_variables, make_variables
from proa.apiserver.policies.bindings import Binding, BoundPolicy
from proa.apiserver.policies.compiled import EvaluationFailed, Mutation
from proa.apiserver.policies.conditions import meets
from proa.apiserver.policies.parameters import BadConfiguration, collect_parameters, find_parameter_kind
from proa.apiserver.policies.patches import apply_configuration, apply_patch
from proa.apiserver.policies.validating import shown_name
from proa.apiserver.registry.attributes import Attributes, Reinvocation
from proa.apiserver.registry.refusals import forbidden
from proa.client.protocol import Object
from proa.objects.cel.budget import Budget
from proa.objects.errors import ApiError, InternalError, ServiceUnavailable
from proa.objects.quick_dataclass import dataclass
from proa.objects.schemas.load import find_definition_name, schema_named
from proa.objects.schemas.schema import Schema
from proa.objects.validation import quote

NAME = "MutatingAdmissionPolicy"

Key = tuple[str, str, str, str]
"""Policy, binding, and the parameter's namespace and name."""


@dataclass(slots=True)
class _Memory:
    """What is known from one round to the next."""

    ran: set[Key] = field(default_factory=set)
    """What may be run again, and ran since the last change."""
    to_run: set[Key] = field(default_factory=set)
    last: Object | None = None

    def require(self) -> None:
        """Run those again that have seen an object that is changed now."""
        self.to_run |= self.ran
        self.ran = set()


@dataclass(frozen=True, slots=True)
class _Invocation:
    policy: BoundPolicy
    binding: Binding
    match: Match
    param: Object | None

    @property
    def key(self) -> Key:
        metadata = (self.param or {}).get("metadata") or {}
        return self.policy.name, self.binding.name, metadata.get("namespace", ""), metadata.get("name", "")


@dataclass(frozen=True, slots=True)
class _Failure:
    policy: BoundPolicy
    binding: Binding | None
    message: str
    reason: str = ""

    @property
    def text(self) -> str:
        if self.binding is None:
            return f"policy {quote(self.policy.name)} denied request: {self.message}"
        return (
            f"policy '{self.policy.name}' with binding '{self.binding.name}' denied request: {self.message}"
        )


async def change_all(policies: Sequence[BoundPolicy], attributes: Attributes) -> None:
    """Run the policies that concern the request; raise Forbidden where one cannot be run and failures count."""
    failures: list[_Failure] = []
    invocations = [i for policy in policies for i in await _invocations(policy, attributes, failures)]
    if invocations:
        await _run_all(invocations, attributes, failures)
    counted = [failure for failure in failures if not failure.policy.ignores_failure]
    if counted:
        raise _refusal(attributes, counted)


async def _invocations(
    policy: BoundPolicy, attributes: Attributes, failures: list[_Failure]
) -> list[_Invocation]:
    match = policy.matcher.match(attributes)
    if match is None:
        return []
    kind = policy.spec.get("paramKind")
    try:
        parameter_kind = None if kind is None else find_parameter_kind(attributes.catalog, kind)
    except BadConfiguration as error:
        failures.append(_Failure(policy, None, f"failed to configure policy: {error}"))
        return []
    found = []
    for binding in policy.bindings:
        if binding.matcher is not None and binding.matcher.match(attributes) is None:
            continue
        try:
            params = await collect_parameters(attributes, parameter_kind, binding.spec.get("paramRef"))
        except BadConfiguration as error:
            failures.append(_Failure(policy, binding, f"failed to configure binding: {error}"))
            continue
        found += [_Invocation(policy, binding, match, param) for param in params]
    return found


async def _run_all(
    invocations: Sequence[_Invocation], attributes: Attributes, failures: list[_Failure]
) -> None:
    again = attributes.reinvocation
    if again is None:
        again = attributes.reinvocation = Reinvocation()
    memory: _Memory = again.memory.setdefault(NAME, _Memory())
    if again.is_second and memory.last != attributes.obj:
        memory.require()
    pace = Pace()
    for invocation in invocations:
        await pace.give_way()
        if again.is_second and invocation.key not in memory.to_run:
            continue
        if await _run_one(invocation, attributes, failures):
            memory.require()
            again.needed = True
        if invocation.policy.spec.get("reinvocationPolicy") == "IfNeeded":
            memory.ran.add(invocation.key)
    memory.last = None if attributes.obj is None else orjson.loads(orjson.dumps(attributes.obj))


async def _run_one(invocation: _Invocation, attributes: Attributes, failures: list[_Failure]) -> bool:
    """Run the mutations of one policy with one parameter; return whether the object is another now."""
    policy = await invocation.policy.compiled()
    budget = Budget()
    changed = False
    pace = Pace()
    for index, mutation in enumerate(policy.mutations):
        await pace.give_way()
        views = await view(attributes, invocation.match)
        assert views.obj is not None
        variables = make_variables(attributes, invocation.match, views)
        bound = bind_variables(variables, invocation.param, policy.variables, budget)
        try:
            if index == 0 and not meets(policy.conditions, bound, budget):
                return False
            new = _mutated(mutation, bound, views.obj, _schema_of(attributes, invocation.match), budget)
            changed = await replace(attributes, invocation.match, views.obj, new) or changed
        except EvaluationFailed as failure:
            failures.append(_Failure(invocation.policy, invocation.binding, str(failure), "Invalid"))
        except InternalError as error:  # what was made is no such object
            failures.append(_Failure(invocation.policy, invocation.binding, error.message, "Invalid"))
    return changed


def _mutated(
    mutation: Mutation, variables: dict[str, Any], obj: Object, schema: Schema, budget: Budget
) -> Object:
    value = mutation.expression.run(variables, budget)
    if mutation.is_json_patch:
        return apply_patch(value, obj, budget)
    return apply_configuration(value, obj, schema, budget)


def _schema_of(attributes: Attributes, match: Match) -> Schema:
    resource, kind = match.resource, match.kind
    if (kind.api_version, kind.kind) == (resource.api_version, resource.kind):
        return attributes.catalog.of(resource).definition.object_schema
    name = find_definition_name(kind.api_version, kind.kind)
    if name is None:
        shown = f"{kind.api_version}, Kind={kind.kind}"
        raise ServiceUnavailable(
            f"Resource kind {shown} not found. There can be a delay between when CustomResourceDefinitions are "
            "created and when they are available."
        )
    return schema_named(name)


def _refusal(attributes: Attributes, failures: Sequence[_Failure]) -> ApiError:
    error: ApiError = forbidden(
        attributes.definition.resource, shown_name(attributes), "admission request denied by policy"
    )
    error.message = failures[0].text
    error.reason = failures[0].reason or error.reason
    error.details["causes"] = [{"message": failure.text} for failure in failures]
    return error
