"""Give expressions their variables: the request, its objects, its namespace, who asks, and a policy's own variables.

Follows apiserver/pkg/admission/plugin/cel/activation.go, condition.go (CreateAdmissionRequest, CreateNamespaceObject)
and composition.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.apiserver.admission.expressions import bind
from proa.apiserver.admission.matching import Match, find_namespace, namespace_of
from proa.apiserver.admission.mutation import Views
from proa.apiserver.policies.compiled import Expression
from proa.apiserver.registry.attributes import Attributes
from proa.client.protocol import Object
from proa.objects.cel.budget import Budget
from proa.objects.cel.errors import CelRuntimeError, CostExceeded
from proa.objects.cel.values import LazyFields
from proa.objects.resource import NAMESPACES
from proa.objects.validation import quote


def make_variables(attributes: Attributes, match: Match, views: Views) -> dict[str, Any]:
    """Return the variables that depend on nothing but the request; raise NotFound for a namespace that is not there."""
    return {**bind(attributes, match, views), "namespaceObject": _namespace(attributes)}


def bind_variables(
    variables: Mapping[str, Any], param: Object | None, own: Mapping[str, Expression], budget: Budget
) -> dict[str, Any]:
    """Return the variables for one policy and one parameter object, its own worked out when they are looked at."""
    bound = {**variables, "params": param}
    if own:
        bound["variables"] = _OwnVariables(own, bound, budget)
    return bound


class _OwnVariables(LazyFields):
    def __init__(self, own: Mapping[str, Expression], bound: dict[str, Any], budget: Budget) -> None:
        self._own, self._bound, self._budget = own, bound, budget
        self._found: dict[str, Any] = {}

    def has_field(self, name: str) -> bool:
        return name in self._own

    def get_field(self, name: str) -> Any:
        if name not in self._found:
            try:
                self._found[name] = self._own[name].value(self._bound, self._budget)
            except CostExceeded:
                raise
            except CelRuntimeError as error:
                message = f"composited variable {quote(name)} fails to evaluate: {error}"
                raise CelRuntimeError(message) from None
        return self._found[name]


def _namespace(attributes: Attributes) -> Object | None:
    if attributes.definition.resource == NAMESPACES or not namespace_of(attributes):
        return None
    return find_namespace(attributes)
