"""Give CEL expressions about a request what they may name: object, oldObject, request and authorizer.

Follows apiserver/pkg/admission/plugin/cel/{compile,condition}.go; objects are dyn, as upstream's are. Imported only
where there are expressions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from proa.apiserver.admission.description import describe_request
from proa.apiserver.admission.matching import Match, namespace_of, requested_resource
from proa.apiserver.admission.mutation import Views
from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import User
from proa.objects.cel import types as t
from proa.objects.cel.admission import Compiler
from proa.objects.cel.budget import DEFAULT_COST, Budget
from proa.objects.cel.library.authorizer import Authorizer, Check, ResourceCheck, Subject
from proa.objects.cel.program import Program
from proa.objects.quick_dataclass import dataclass

if TYPE_CHECKING:
    from proa.apiserver.authorization.decision import Authorizer as ServerAuthorizer

MATCH_CONDITIONS_COST = DEFAULT_COST // 4
"""What all match conditions of a webhook may cost together: a quarter of one call's, as upstream's."""


def compile_condition(expression: str, *, has_params: bool = False) -> Program:
    """Return the program of a match condition; raise CelError."""
    return Compiler(has_params=has_params).compile(expression.strip(), (t.BOOL,))


def new_budget() -> Budget:
    """Return what all conditions of one webhook share."""
    return Budget(MATCH_CONDITIONS_COST)


def bind(attributes: Attributes, match: Match, views: Views) -> Mapping[str, Any]:
    """Return the variables' values for a request."""
    user = attributes.user or User("")
    subject = Subject(user.name, user.uid, user.groups, user.extra)
    authorizer = Authorizer(Judge(attributes.catalog.authorizer), subject)
    requested = requested_resource(attributes)
    return {
        "object": views.obj,
        "oldObject": views.old,
        "request": describe_request(attributes, match),
        "authorizer": authorizer,
        "authorizer.requestResource": ResourceCheck(
            authorizer,
            requested.group,
            requested.plural,
            attributes.subresource,
            namespace_of(attributes),
            attributes.name,
        ),
    }


@dataclass(frozen=True, slots=True)
class Judge:
    """Asks the API server's authorizer what an expression asks."""

    authorizer: ServerAuthorizer

    def check(self, check: Check) -> tuple[Literal["Allow", "Deny", "NoOpinion"], str]:
        """Return the decision and its reason."""
        subject = check.subject
        extra = {key: tuple(values) for key, values in subject.extra.items()}
        user = User(subject.name, tuple(subject.groups), subject.uid, extra)
        decision = self.authorizer.authorize(user, _info(check))
        if decision.allowed:
            return "Allow", decision.reason
        return ("Deny" if decision.denied else "NoOpinion"), decision.reason


def _info(check: Check) -> RequestInfo:
    if check.path:
        return RequestInfo(False, check.verb, check.path)
    return RequestInfo(
        True,
        check.verb,
        "",
        check.group,
        "*",
        check.namespace,
        check.resource,
        check.name,
        check.subresource,
    )
