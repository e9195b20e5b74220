"""Act as somebody else where the request says so (`kubectl --as`), or refuse: the headers are never ignored.

Who asks must be allowed each part of it, in one of the modes: first those that are constrained to a kind of user and to
a kind of request (KEP-5284: the verbs impersonate:<mode> and impersonate-on:<mode>:<verb>), then the old one (the verb
impersonate). Follows apiserver/pkg/endpoints/filters/impersonation. Repeated headers arrive joined by commas, so a
group's name cannot have one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from urllib.parse import unquote

from proa.apiserver.authorization.decision import MASTERS, Authorizer
from proa.apiserver.filters.authorization import refusal
from proa.apiserver.filters.chain import Filter, InfoHandler
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Request, Response, User
from proa.objects.errors import BadRequest, Forbidden
from proa.objects.validation import dns_label, dns_subdomain

USER, GROUP, UID, EXTRA = "impersonate-user", "impersonate-group", "impersonate-uid", "impersonate-extra-"
_PREFIX = "impersonate-"
_ACCOUNT = "system:serviceaccount:"
_NODE = "system:node:"
_AUTHENTICATION = "authentication.k8s.io"
_NODE_OF_REQUESTER = "authentication.kubernetes.io/node-name"
ANONYMOUS = "system:anonymous"
AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"


def with_impersonation(authorizer: Authorizer) -> Filter:
    """Replace `request.user` by whom the headers name; raise Forbidden, BadRequest."""

    def wrap(handler: InfoHandler) -> InfoHandler:
        async def handle(request: Request, info: RequestInfo) -> Response:
            if any(name.startswith(_PREFIX) for name in request.headers):
                assert request.user is not None
                wanted = wanted_user(request.headers)
                request.user = impersonate(authorizer, request.user, wanted, info)
                for name in [name for name in request.headers if name.startswith(_PREFIX)]:
                    del request.headers[name]
            return await handler(request, info)

        return handle

    return wrap


def wanted_user(headers: Mapping[str, str]) -> User:
    """Return whom the headers name, as they say it; raise BadRequest where they name nobody or are unknown."""
    name = headers.get(USER, "")
    groups = tuple(_values(headers.get(GROUP, "")))
    extra: dict[str, tuple[str, ...]] = {}
    for header, value in headers.items():
        if header.startswith(EXTRA):
            extra[unquote(header.removeprefix(EXTRA))] = tuple(_values(value))
        elif header.startswith(_PREFIX) and header not in (USER, GROUP, UID):
            raise BadRequest(f"unknown impersonation header {header!r}")
    if not name:
        raise BadRequest("requested impersonation of groups, uid or extra without impersonating a user name")
    return User(name, groups, headers.get(UID, ""), extra)


def impersonate(authorizer: Authorizer, requester: User, wanted: User, info: RequestInfo) -> User:
    """Return `wanted` with its usual groups; raise Forbidden, in the first mode's words, where no mode allows it."""
    first: Forbidden | None = None
    for mode in (*_modes(requester, wanted), ""):
        try:
            for needed in _needed(mode, wanted, info):
                _check(authorizer, requester, needed)
        except Forbidden as refused:
            first = first or refused
        else:
            return _with_usual_groups(wanted, is_constrained=bool(mode))
    assert first is not None
    raise first


def _check(authorizer: Authorizer, requester: User, needed: RequestInfo) -> None:
    if needed.plural == "groups" and needed.group and needed.name == MASTERS:
        raise refusal(requester, needed, f"impersonating the {MASTERS} group is not allowed")
    decision = authorizer.authorize(requester, needed)
    if not decision.allowed:
        raise refusal(requester, needed, decision.reason)


def _modes(requester: User, wanted: User) -> Iterator[str]:
    """Yield the constrained modes that are for such a user."""
    node, account = _node_of(wanted.name), _account_of(wanted.name)
    if not node and not account:
        yield "user-info"
    if wanted.groups or wanted.uid or wanted.extra:
        return
    if node:
        if _account_of(requester.name) and requester.extra.get(_NODE_OF_REQUESTER) == (node,):
            yield "associated-node"
        yield "arbitrary-node"
    elif account:
        yield "serviceaccount"


def _needed(mode: str, wanted: User, info: RequestInfo) -> Iterator[RequestInfo]:
    """Yield what must be allowed: the request in that mode, then each part of what the user is."""
    if mode:
        yield replace(info, verb=f"impersonate-on:{mode}:{info.verb}")
    verb = f"impersonate:{mode}" if mode else "impersonate"
    group = (
        _AUTHENTICATION if mode else ""
    )  # the core group is the old mode's, for users, groups and accounts
    account, node = _account_of(wanted.name), _node_of(wanted.name) if mode else ""
    if account:
        yield RequestInfo(True, verb, "", group, "v1", account[0], "serviceaccounts", account[1])
    elif node:
        yield RequestInfo(
            True, verb, "", group, "v1", "", "nodes", "*" if mode == "associated-node" else node
        )
    else:
        yield RequestInfo(True, verb, "", group, "v1", "", "users", wanted.name)
    if wanted.uid:
        yield RequestInfo(True, verb, "", _AUTHENTICATION, "v1", "", "uids", wanted.uid)
    for name in wanted.groups:
        yield RequestInfo(True, verb, "", group, "v1", "", "groups", name)
    for key, values in wanted.extra.items():
        for value in values:
            yield RequestInfo(True, verb, "", _AUTHENTICATION, "v1", "", "userextras", value, key)


def _with_usual_groups(wanted: User, *, is_constrained: bool) -> User:
    """Accounts (and nodes, in the constrained modes) have their groups; who is not anonymous is authenticated."""
    groups = wanted.groups
    account = _account_of(wanted.name)
    if account and not groups:
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{account[0]}")
    elif is_constrained and _node_of(wanted.name):
        groups = ("system:nodes",)
    usual = UNAUTHENTICATED if wanted.name == ANONYMOUS else AUTHENTICATED
    if usual not in groups and UNAUTHENTICATED not in groups:
        groups = (*groups, usual)
    return replace(wanted, groups=groups)


def _account_of(user: str) -> tuple[str, str] | None:
    """Return the namespace and name of a service account, None for anybody else."""
    if not user.startswith(_ACCOUNT):
        return None
    namespace, colon, name = user.removeprefix(_ACCOUNT).partition(":")
    return None if not colon or dns_label(namespace) or dns_subdomain(name) else (namespace, name)


def _node_of(user: str) -> str:
    """Return the name of a node's user, "" for anybody else."""
    name = user.removeprefix(_NODE)
    return "" if name == user or dns_subdomain(name) else name


def _values(header: str) -> list[str]:
    return [value.strip() for value in header.split(",") if value.strip()]
