"""What the four access reviews have in common: which questions can be asked, and what is answered.

Follows pkg/apis/authorization/validation and pkg/registry/authorization/util/helpers.go.
"""

from __future__ import annotations

from typing import Any

from proa.apiserver.authorization.decision import Authorizer
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Object, User
from proa.objects.errors import BadRequest, Cause
from proa.objects.selectors import parse_field_selector, parse_label_selector
from proa.objects.validation import invalid, required

RESOURCE, NON_RESOURCE = "resourceAttributes", "nonResourceAttributes"
_FIELD_OPERATORS = {"In", "NotIn"}
_LABEL_OPERATORS = {"In": True, "NotIn": True, "Exists": False, "DoesNotExist": False}
"""Whether an operator takes values."""


def validate_spec(spec: Object) -> list[Cause]:
    """Exactly one of the two kinds of question."""
    causes = []
    resource, other = spec.get(RESOURCE), spec.get(NON_RESOURCE)
    if resource is not None and other is not None:
        why = "cannot be specified in combination with resourceAttributes"
        causes.append(invalid(f"spec.{NON_RESOURCE}", _as_go(other), why))
    if resource is None and other is None:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        causes.append(invalid(f"spec.{RESOURCE}", None, why))
    for key in ("fieldSelector", "labelSelector"):
        selector = (resource or {}).get(key)
        if selector is not None:
            causes += _selector_causes(selector, f"spec.{RESOURCE}.{key}")
    return causes


def validate_subject(spec: Object) -> list[Cause]:
    """Somebody must be asked about."""
    if spec.get("user") or spec.get("groups"):
        return []
    return [invalid("spec.user", "", "at least one of user or group must be specified")]


def validate_metadata(review: Object, *, with_namespace: bool = False) -> list[Cause]:
    """A review has no metadata."""
    allowed = {"managedFields", "namespace"} if with_namespace else {"managedFields"}
    if all(key in allowed for key, value in review["metadata"].items() if value):
        return []
    why = "must be empty except for namespace" if with_namespace else "must be empty"
    return [invalid("metadata", review["metadata"], why)]


def _selector_causes(selector: Object, field: str) -> list[Cause]:
    raw, requirements = selector.get("rawSelector"), selector.get("requirements")
    if raw and requirements:
        why = "may not specified at the same time as requirements"
        return [invalid(f"{field}.rawSelector", raw, why)]
    if not raw and not requirements:
        why = f"when {field} is specified, requirements or rawSelector is required"
        return [required(f"{field}.requirements", why)]
    return [
        required(f"{field}.requirements[{index}].key", "must be specified")
        for index, requirement in enumerate(requirements or ())
        if not requirement.get("key")
    ]


def subject_of(spec: Object) -> User:
    """Return whom a SubjectAccessReview asks about."""
    extra = {key: tuple(values) for key, values in (spec.get("extra") or {}).items()}
    return User(spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""), extra)


def question_of(spec: Object) -> RequestInfo:
    """Return what a review asks."""
    other = spec.get(NON_RESOURCE)
    if other is not None:
        return RequestInfo(False, other.get("verb", ""), other.get("path", ""))
    asked = spec[RESOURCE]
    return RequestInfo(
        True,
        asked.get("verb", ""),
        "",
        asked.get("group", ""),
        asked.get("version", "") or "*",
        asked.get("namespace", ""),
        asked.get("resource", ""),
        asked.get("name", ""),
        asked.get("subresource", ""),
        field_selector=_field_selector(asked.get("fieldSelector") or {}),
    )


def _field_selector(selector: Object) -> str:
    """Return a review's field selector as a request would say it; what cannot be read selects nothing."""
    terms = [
        f"{r['key']}{'=' if r['operator'] == 'In' else '!='}{r['values'][0]}"
        for r in selector.get("requirements") or ()
        if _is_field_term(r)
    ]
    return selector.get("rawSelector") or ",".join(terms)


async def status_of(authorizer: Authorizer, user: User, spec: Object) -> Object:
    """Return the answer."""
    question = question_of(spec)
    preparation = authorizer.preparation(user, question)
    if preparation is not None:
        await preparation
    decision = authorizer.authorize(user, question)
    status: dict[str, Any] = {"allowed": decision.allowed}
    if decision.denied:
        status["denied"] = True
    if decision.reason:
        status["reason"] = decision.reason
    errors = [decision.error] if decision.error else []
    errors += _unread_selectors(spec.get(RESOURCE) or {})
    if errors:
        status["evaluationError"] = "; ".join(errors)
    return status


def _unread_selectors(asked: Object) -> list[str]:
    """Say which selectors cannot be read: the question is judged without them."""
    errors = []
    for key, parse in (("fieldSelector", parse_field_selector), ("labelSelector", parse_label_selector)):
        selector = asked.get(key) or {}
        requirements = selector.get("requirements") or ()
        good = sum(map(_is_field_term if key == "fieldSelector" else _is_label_term, requirements))
        is_bad = good < len(requirements)
        if raw := selector.get("rawSelector"):
            try:
                parse(raw)
            except BadRequest:
                is_bad = True
        if is_bad:
            partially = "partially " if good else ""
            errors.append(f"spec.resourceAttributes.{key} {partially}ignored due to parse error")
    return errors


def _is_field_term(requirement: Object) -> bool:
    return requirement.get("operator") in _FIELD_OPERATORS and len(requirement.get("values") or ()) == 1


def _is_label_term(requirement: Object) -> bool:
    takes_values = _LABEL_OPERATORS.get(requirement.get("operator", ""))
    return takes_values is not None and takes_values == bool(requirement.get("values"))


def _as_go(attributes: Object) -> Object:
    """Upstream shows its internal type, whose fields have Go's names."""
    return {"Path": attributes.get("path", ""), "Verb": attributes.get("verb", "")}
