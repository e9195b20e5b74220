"""Build the errors of a resource in upstream's words (apimachinery/pkg/api/errors/errors.go)."""

from __future__ import annotations

from collections.abc import Sequence

from proa.objects.errors import (
    AlreadyExists,
    ApiError,
    Cause,
    Conflict,
    Forbidden,
    InternalError,
    Invalid,
    MethodNotAllowed,
    NotFound,
)
from proa.objects.resource import Resource

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


MAX_CAUSES = 1000
"""Nobody reads on; a small body can hold a hundred thousand mistakes."""


def not_found(resource: Resource, name: str) -> NotFound:
    """There is no such object."""
    return NotFound(
        f'{resource.qualified_name} "{name}" not found', name=name, group=resource.group, kind=resource.plural
    )


def already_exists(resource: Resource, name: str) -> AlreadyExists:
    """There is one already."""
    return AlreadyExists(
        f'{resource.qualified_name} "{name}" already exists',
        name=name,
        group=resource.group,
        kind=resource.plural,
    )


def conflict(resource: Resource, name: str, why: str = MODIFIED) -> Conflict:
    """It is not what the caller has read."""
    return Conflict(
        f'Operation cannot be fulfilled on {resource.qualified_name} "{name}": {why}',
        name=name,
        group=resource.group,
        kind=resource.plural,
    )


def uid_conflict(resource: Resource, name: str, given: str, actual: str) -> Conflict:
    """The caller means another object of that name."""
    return conflict(
        resource, name, f"Precondition failed: UID in precondition: {given}, UID in object meta: {actual}"
    )


def precondition_conflict(resource: Resource, name: str, why: str) -> Conflict:
    """A precondition of a deletion fails; upstream names the kind here, not the resource."""
    qualified = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    return Conflict(
        f'Operation cannot be fulfilled on {qualified} "{name}": {why}',
        name=name,
        group=resource.group,
        kind=resource.kind,
    )


def forbidden(resource: Resource, name: str, why: str, causes: Sequence[Cause] = ()) -> Forbidden:
    """Admission refuses."""
    subject = f'{resource.qualified_name} "{name}"' if name else resource.qualified_name
    return Forbidden(
        f"{subject} is forbidden: {why}", name=name, group=resource.group, kind=resource.plural, causes=causes
    )


def forbidden_as(kind: str, group: str, name: str, why: str) -> Forbidden:
    """Refuse in the name of what upstream calls `kind` here, which need be no resource's name."""
    qualified = f"{kind}.{group}" if group else kind
    return Forbidden(f'{qualified} "{name}" is forbidden: {why}', name=name, group=group, kind=kind)


def invalid(kind: str, group: str, name: str, causes: Sequence[Cause]) -> Invalid:
    """Fields are wrong: all of them are said at once, but for what is beyond the first MAX_CAUSES."""
    causes = causes[:MAX_CAUSES]
    said = [f"{c.field}: {c.message}" for c in causes]
    unique = list(dict.fromkeys(said))
    aggregate = unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]"
    qualified = f"{kind}.{group}" if group else kind
    return Invalid(
        f'{qualified} "{name}" is invalid: {aggregate}', name=name, group=group, kind=kind, causes=causes
    )


def invalid_object(resource: Resource, name: str, causes: Sequence[Cause]) -> Invalid:
    """Fields of an object are wrong."""
    return invalid(resource.kind, resource.group, name, causes)


def generic(error: ApiError) -> ApiError:
    """Mark an error about no object in particular: its `details` are shown though empty."""
    error.shows_empty_details = True
    return error


def unknown_resource() -> ApiError:
    """The group version has no such resource."""
    return generic(NotFound("the server could not find the requested resource"))


def method_not_allowed() -> ApiError:
    """The resource has no such verb."""
    return generic(MethodNotAllowed("the server does not allow this method on the requested resource"))


def unnamed_failure(message: str) -> ApiError:
    """A failure for which upstream has no reason: 500 and the message alone."""
    error = ApiError(message)
    error.reason = ""
    return error


def internal(why: str) -> InternalError:
    """Something that the request needs has failed: upstream's NewInternalError."""
    error = InternalError(f"Internal error occurred: {why}")
    error.details["causes"] = [{"message": why}]
    return error
