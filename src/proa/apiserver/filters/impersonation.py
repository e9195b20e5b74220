"""Act as somebody else where the request says so (`kubectl --as`), or refuse: the headers are never ignored.

Who asks must be allowed to impersonate each of user, groups, uid and extra. Follows apiserver/pkg/endpoints/filters/
impersonation. Repeated headers arrive joined by commas, so a group's name cannot have one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import unquote

from proa.apiserver.authorization.decision import Authorizer
from proa.apiserver.filters.authorization import refusal
from proa.apiserver.filters.chain import Filter, InfoHandler
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Request, Response, User
from proa.objects.errors import BadRequest

USER, GROUP, UID, EXTRA = "impersonate-user", "impersonate-group", "impersonate-uid", "impersonate-extra-"
_PREFIX = "impersonate-"
_ACCOUNT = "system:serviceaccount:"
ANONYMOUS = "system:anonymous"


def with_impersonation(authorizer: Authorizer) -> Filter:
    """Replace `request.user` by whom the headers name; raise Forbidden, BadRequest."""

    def wrap(handler: InfoHandler) -> InfoHandler:
        async def handle(request: Request, info: RequestInfo) -> Response:
            if any(name.startswith(_PREFIX) for name in request.headers):
                assert request.user is not None
                wanted = impersonated_user(request.headers)
                for needed in _needed(wanted, _values(request.headers.get(GROUP, "")), info):
                    decision = authorizer.authorize(request.user, needed)
                    if not decision.allowed:
                        raise refusal(request.user, needed, decision.reason)
                request.user = wanted
                for name in [name for name in request.headers if name.startswith(_PREFIX)]:
                    del request.headers[name]
            return await handler(request, info)

        return handle

    return wrap


def impersonated_user(headers: Mapping[str, str]) -> User:
    """Return whom the headers name; raise BadRequest where they name nobody or are unknown."""
    name = headers.get(USER, "")
    groups = tuple(_values(headers.get(GROUP, "")))
    extra: dict[str, tuple[str, ...]] = {}
    for header, value in headers.items():
        if header.startswith(EXTRA):
            extra[unquote(header.removeprefix(EXTRA))] = tuple(_values(value))
        elif header.startswith(_PREFIX) and header not in (USER, GROUP, UID):
            raise BadRequest(f"unknown impersonation header {header!r}")
    if not name:
        raise BadRequest("requested impersonation of groups, uid or extra without impersonating a user")
    return User(name, _with_usual_groups(name, groups), headers.get(UID, ""), extra)


def _with_usual_groups(name: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    """An account has its groups where none are named, and whoever is not anonymous is authenticated."""
    namespace, _, account = name.removeprefix(_ACCOUNT).partition(":")
    if not groups and name.startswith(_ACCOUNT) and namespace and account:
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    wanted = "system:unauthenticated" if name == ANONYMOUS else "system:authenticated"
    return groups if {"system:authenticated", "system:unauthenticated"} & {*groups} else (*groups, wanted)


def _needed(user: User, groups: Sequence[str], info: RequestInfo) -> Iterator[RequestInfo]:
    """Yield what must be allowed: the verb impersonate on each of what the user is; usual groups are no question."""
    namespace, _, account = user.name.removeprefix(_ACCOUNT).partition(":")
    if user.name.startswith(_ACCOUNT) and account:
        yield _of(info, "serviceaccounts", account, namespace=namespace)
    else:
        yield _of(info, "users", user.name)
    for group in groups:
        yield _of(info, "groups", group)
    if user.uid:
        yield _of(info, "uids", user.uid, group="authentication.k8s.io")
    for key, values in user.extra.items():
        for value in values:
            yield _of(info, "userextras", value, group="authentication.k8s.io", subresource=key)


def _of(
    info: RequestInfo, plural: str, name: str, *, namespace: str = "", group: str = "", subresource: str = ""
) -> RequestInfo:
    return RequestInfo(True, "impersonate", info.path, group, "v1", namespace, plural, name, subresource)


def _values(header: str) -> list[str]:
    return [value.strip() for value in header.split(",") if value.strip()]
