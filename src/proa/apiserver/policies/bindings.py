"""Know which policies a request for a resource may have to go through, with their bindings, in order of their names.

Compiled of the stored policies and bindings, and made again when one changes; where there are none, nothing is done
and CEL is not imported. Follows apiserver/pkg/admission/plugin/policy/generic/policy_source.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import orjson

from proa.apiserver.admission.matching import Matcher, equivalents, is_exempt, make_matcher
from proa.apiserver.pace import aside
from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.registry.derived import Derived
from proa.client.protocol import Object
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import (
    MUTATING_ADMISSION_POLICIES,
    MUTATING_ADMISSION_POLICY_BINDINGS,
    VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS,
    Resource,
)

if TYPE_CHECKING:
    from proa.apiserver.policies.compiled import CompiledPolicy
    from proa.apiserver.registry.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Binding:
    """One binding; no matcher: wherever its policy matches."""

    name: str
    spec: Object
    matcher: Matcher | None


FEW_EXPRESSIONS = 10
"""So many are compiled within some milliseconds."""
_PARTS = ("matchConditions", "variables", "validations", "auditAnnotations", "mutations")


class BoundPolicy:
    """A policy that has bindings. Its expressions are compiled when it first matches a request."""

    __slots__ = ("_compiled", "bindings", "matcher", "name", "spec")

    def __init__(self, name: str, spec: Object, bindings: Sequence[Binding]) -> None:
        self.name = name
        self.spec = spec
        self.bindings = bindings
        self.matcher = _matcher_of(spec.get("matchConstraints") or {})
        self._compiled: CompiledPolicy | None = None

    @property
    def ignores_failure(self) -> bool:
        """Tell whether what cannot be judged is let through."""
        return bool(self.spec.get("failurePolicy") == "Ignore")

    async def compiled(self) -> CompiledPolicy:
        """Return the policy's programs; a policy of many is compiled aside."""
        if self._compiled is None:
            from proa.apiserver.policies.compiled import compile_policy

            is_long = sum(len(self.spec.get(part) or ()) for part in _PARTS) > FEW_EXPRESSIONS
            self._compiled = await aside(compile_policy, self.spec) if is_long else compile_policy(self.spec)
        return self._compiled


class BoundPolicies:
    """The policies of one kind."""

    def __init__(self, catalog: Catalog, policies: Resource, bindings: Resource) -> None:
        self._catalog = catalog
        self._resources = (policies, bindings)
        self._generation = -1
        self._found: dict[tuple[str, str], Sequence[BoundPolicy]] = {}
        self._policies = Derived(catalog.store, self._resources, self._make)

    def find(self, definition: ResourceDefinition) -> Sequence[BoundPolicy]:
        """Return the policies that may concern requests for a resource or its subresources, in order."""
        policies = self._policies.value()
        if not policies:
            return ()
        if self._generation != self._catalog.generation:
            self._found.clear()
            self._generation = self._catalog.generation
        key = (definition.resource.group, definition.resource.plural)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._concerned(definition, policies)
        return found

    def _concerned(
        self, definition: ResourceDefinition, policies: Sequence[BoundPolicy]
    ) -> Sequence[BoundPolicy]:
        if is_exempt(definition):
            return ()
        versions = equivalents(self._catalog, definition)
        return tuple(policy for policy in policies if policy.matcher.may_concern(versions))

    def _make(self) -> Sequence[BoundPolicy]:
        self._found = {}
        policies, bindings = self._resources
        bound: dict[str, list[Binding]] = {}
        for binding in self._stored(bindings):
            spec = binding.get("spec") or {}
            match = spec.get("matchResources")
            made = Binding(binding["metadata"]["name"], spec, None if match is None else _matcher_of(match))
            bound.setdefault(spec.get("policyName") or "", []).append(made)
        if not bound:
            return ()
        return [
            BoundPolicy(policy["metadata"]["name"], policy.get("spec") or {}, found)
            for policy in self._stored(policies)
            if (found := bound.get(policy["metadata"]["name"]))
        ]

    def _stored(self, resource: Resource) -> list[Object]:
        entries = self._catalog.store.range(f"/registry/{resource.group}/{resource.plural}/").entries
        return [orjson.loads(entry.value) for entry in entries]


class Policies:
    """The admission policies of one API server."""

    def __init__(self, catalog: Catalog) -> None:
        self.mutating = BoundPolicies(
            catalog, MUTATING_ADMISSION_POLICIES, MUTATING_ADMISSION_POLICY_BINDINGS
        )
        self.validating = BoundPolicies(
            catalog, VALIDATING_ADMISSION_POLICIES, VALIDATING_ADMISSION_POLICY_BINDINGS
        )


ANY_RULE: Object = {
    "operations": ["*"],
    "apiGroups": ["*"],
    "apiVersions": ["*"],
    "resources": ["*", "*/*"],
    "scope": "*",
}


def _matcher_of(match: Object) -> Matcher:
    """A binding's constraints may name no rules: then all resources are meant."""
    rules = match.get("resourceRules") or (ANY_RULE,)
    return make_matcher(match, rules, match.get("excludeResourceRules") or ())
