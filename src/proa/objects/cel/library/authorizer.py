"""Ask whether the caller, or a service account, may do something (apiserver/pkg/cel/library/authz.go).

`Authorize` is all that this needs of the API server's authorizer: a decision at once, from memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import ClassVar, Literal, Protocol

from proa.objects.cel.budget import Budget
from proa.objects.cel.errors import CelRuntimeError
from proa.objects.cel.functions import Functions, overload
from proa.objects.quick_dataclass import dataclass
from proa.objects.validation import dns_label, dns_subdomain

_CHECK_COST = 3_500
"""What upstream says that a check costs is a tenth of a call's limit (350,000 units); ours keeps the proportion."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is asked about."""

    name: str
    uid: str = ""
    groups: Sequence[str] = ()
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """What is asked: a path, or else a resource."""

    subject: Subject
    verb: str
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""
    label_selector: str = ""


class Authorize(Protocol):
    """Decides from what is in memory: it may not wait."""

    def check(self, check: Check) -> tuple[Literal["Allow", "Deny", "NoOpinion"], str]:
        """Return the decision and its reason; raise CelRuntimeError."""


@dataclass(frozen=True, slots=True)
class Authorizer:
    """The variable `authorizer`."""

    TYPE_NAME: ClassVar[str] = "kubernetes.authorization.Authorizer"
    authorize: Authorize
    subject: Subject


@dataclass(frozen=True, slots=True)
class PathCheck:
    """`authorizer.path(...)`."""

    TYPE_NAME: ClassVar[str] = "kubernetes.authorization.PathCheck"
    authorizer: Authorizer
    path: str


@dataclass(frozen=True, slots=True)
class GroupCheck:
    """`authorizer.group(...)`."""

    TYPE_NAME: ClassVar[str] = "kubernetes.authorization.GroupCheck"
    authorizer: Authorizer
    group: str


@dataclass(frozen=True, slots=True)
class ResourceCheck:
    """`authorizer.group(...).resource(...)`, and `authorizer.requestResource`."""

    TYPE_NAME: ClassVar[str] = "kubernetes.authorization.ResourceCheck"
    authorizer: Authorizer
    group: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""
    label_selector: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer."""

    TYPE_NAME: ClassVar[str] = "kubernetes.authorization.Decision"
    allowed: bool
    reason: str
    error: str = ""


def _path(authorizer: Authorizer, path: str) -> PathCheck:
    if not path.strip():
        raise CelRuntimeError("path must not be empty")
    return PathCheck(authorizer, path)


def _service_account(authorizer: Authorizer, namespace: str, name: str) -> Authorizer:
    if dns_subdomain(name):
        raise CelRuntimeError("Invalid service account name")
    if dns_label(namespace):
        raise CelRuntimeError("Invalid service account namespace")
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return replace(authorizer, subject=Subject(f"system:serviceaccount:{namespace}:{name}", groups=groups))


def _resource(group: GroupCheck, resource: str) -> ResourceCheck:
    if not resource.strip():
        raise CelRuntimeError("resource must not be empty")
    return ResourceCheck(group.authorizer, group.group, resource)


def _check_path(check: PathCheck, verb: str, budget: Budget) -> Decision:
    return _decide(check.authorizer, Check(check.authorizer.subject, verb, path=check.path), budget)


def _check_resource(check: ResourceCheck, verb: str, budget: Budget) -> Decision:
    asked = Check(
        check.authorizer.subject, verb, "", check.group, check.resource, check.subresource, check.namespace,
        check.name, check.field_selector, check.label_selector,
    )  # fmt: skip
    return _decide(check.authorizer, asked, budget)


def _decide(authorizer: Authorizer, check: Check, budget: Budget) -> Decision:
    budget.charge(_CHECK_COST)
    try:
        decision, reason = authorizer.authorize.check(check)
    except CelRuntimeError as error:
        return Decision(False, "", str(error))
    return Decision(decision == "Allow", reason)


_P = "kubernetes.authorization."
_R = f"{_P}ResourceCheck"
FUNCTIONS: Functions = {
    "path": (overload(f"{_P}Authorizer.(string) -> {_P}PathCheck", _path),),
    "group": (overload(f"{_P}Authorizer.(string) -> {_P}GroupCheck", GroupCheck),),
    "serviceAccount": (overload(f"{_P}Authorizer.(string, string) -> {_P}Authorizer", _service_account),),
    "resource": (overload(f"{_P}GroupCheck.(string) -> {_R}", _resource),),
    "subresource": (
        overload(f"{_R}.(string) -> {_R}", lambda check, name: replace(check, subresource=name)),
    ),
    "namespace": (overload(f"{_R}.(string) -> {_R}", lambda check, name: replace(check, namespace=name)),),
    "name": (overload(f"{_R}.(string) -> {_R}", lambda check, name: replace(check, name=name)),),
    "fieldSelector": (
        overload(f"{_R}.(string) -> {_R}", lambda check, text: replace(check, field_selector=text)),
    ),
    "labelSelector": (
        overload(f"{_R}.(string) -> {_R}", lambda check, text: replace(check, label_selector=text)),
    ),
    "check": (
        overload(f"{_P}PathCheck.(string) -> {_P}Decision", _check_path, charges=True),
        overload(f"{_R}.(string) -> {_P}Decision", _check_resource, charges=True),
    ),
    "errored": (overload(f"{_P}Decision.() -> bool", lambda decision: decision.error != ""),),
    "error": (overload(f"{_P}Decision.() -> string", lambda decision: decision.error),),
    "allowed": (overload(f"{_P}Decision.() -> bool", lambda decision: decision.allowed),),
    "reason": (overload(f"{_P}Decision.() -> string", lambda decision: decision.reason),),
}
