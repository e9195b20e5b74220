"""Who acts as somebody else says so, is asked whether that is allowed, and is then that user."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proa.apiserver.authorization.decision import ALLOWED, AlwaysAllow, Authorizer, Decision
from proa.apiserver.filters.chain import InfoHandler, chain
from proa.apiserver.filters.impersonation import impersonate, wanted_user, with_impersonation
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Request, Response, User
from proa.objects.errors import BadRequest, Forbidden

ADMIN = User("admin", ("system:masters",))
AGENT = User(
    "system:serviceaccount:n:agent", ("a",), "", {"authentication.kubernetes.io/node-name": ("node-1",)}
)
PODS = RequestInfo(True, "list", "", "", "v1", "default", "pods")


def ask(authorizer: Authorizer, handler: InfoHandler, request: Request) -> Response:
    async def main() -> Response:
        return await chain([with_impersonation(authorizer)], handler)(
            request, RequestInfo(False, "get", "/x")
        )

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("headers", "user"),
    [
        ({"impersonate-user": "ann"}, User("ann", ("system:authenticated",))),
        (
            {"impersonate-user": "ann", "impersonate-group": "dev, ops", "impersonate-uid": "7"},
            User("ann", ("dev", "ops", "system:authenticated"), "7"),
        ),
        (
            {"impersonate-user": "ann", "impersonate-extra-acme.com%2Fproject": "some"},
            User("ann", ("system:authenticated",), "", {"acme.com/project": ("some",)}),
        ),
        (
            {"impersonate-user": "system:serviceaccount:default:builder"},
            User(
                "system:serviceaccount:default:builder",
                ("system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"),
            ),
        ),
        ({"impersonate-user": "system:anonymous"}, User("system:anonymous", ("system:unauthenticated",))),
        (
            {"impersonate-user": "system:node:n"},
            User("system:node:n", ("system:nodes", "system:authenticated")),
        ),
        (
            {"impersonate-user": "ann", "impersonate-group": "system:masters"},
            User("ann", ("system:masters", "system:authenticated")),
        ),
    ],
    ids=["a user", "groups and uid", "extra", "an account", "anonymous", "a node", "a master, the old way"],
)
def test_the_headers_name_a_user(headers: dict[str, str], user: User) -> None:
    assert impersonate(AlwaysAllow(), ADMIN, wanted_user(headers), PODS) == user


@pytest.mark.parametrize(
    "headers",
    [{"impersonate-group": "system:masters"}, {"impersonate-user": "ann", "impersonate-usr": "bob"}],
)
def test_headers_that_name_nobody_or_are_unknown_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        wanted_user(headers)


class Only(AlwaysAllow):
    """Allows some (verb, group, resource, name), and keeps what it was asked."""

    def __init__(self, *allowed: tuple[str, str, str, str]) -> None:
        self.allowed = allowed
        self.asked: list[tuple[str, str, str, str]] = []

    def authorize(self, user: User, info: RequestInfo) -> Decision:
        asked = (info.verb, info.group, info.plural, info.name)
        self.asked.append(asked)
        return ALLOWED if asked in self.allowed else Decision()


AUTHENTICATION = "authentication.k8s.io"


@pytest.mark.parametrize(
    ("requester", "wanted", "allowed"),
    [
        (User("a"), User("ann", ("dev",), "7"),
         [("impersonate-on:user-info:list", "", "pods", ""), ("impersonate:user-info", AUTHENTICATION, "users", "ann"),
          ("impersonate:user-info", AUTHENTICATION, "uids", "7"),
          ("impersonate:user-info", AUTHENTICATION, "groups", "dev")]),
        (User("a"), User("system:serviceaccount:n:b"),
         [("impersonate-on:serviceaccount:list", "", "pods", ""),
          ("impersonate:serviceaccount", AUTHENTICATION, "serviceaccounts", "b")]),
        (User("a"), User("system:node:node-1"),
         [("impersonate-on:arbitrary-node:list", "", "pods", ""),
          ("impersonate:arbitrary-node", AUTHENTICATION, "nodes", "node-1")]),
        (AGENT, User("system:node:node-1"),
         [("impersonate-on:associated-node:list", "", "pods", ""),
          ("impersonate:associated-node", AUTHENTICATION, "nodes", "*")]),
        (User("a"), User("ann", ("dev",)),
         [("impersonate", "", "users", "ann"), ("impersonate", "", "groups", "dev")]),
        (User("a"), User("ann", (), "7", {"k": ("v",)}),
         [("impersonate", "", "users", "ann"), ("impersonate", AUTHENTICATION, "uids", "7"),
          ("impersonate", AUTHENTICATION, "userextras", "v")]),
    ],
    ids=["a user", "an account", "any node", "its own node", "the old way", "uid and extra the old way"],
)  # fmt: skip
def test_each_part_must_be_allowed_in_one_mode(requester: User, wanted: User, allowed: list[Any]) -> None:
    assert impersonate(Only(*allowed), requester, wanted, PODS).name == wanted.name
    for missing in allowed:
        with pytest.raises(Forbidden):
            impersonate(Only(*(each for each in allowed if each != missing)), requester, wanted, PODS)


def test_the_first_mode_says_what_is_missing() -> None:
    with pytest.raises(Forbidden) as refused:
        impersonate(Only(), User("bob"), User("ann"), PODS)
    assert refused.value.message == (
        'pods is forbidden: User "bob" cannot impersonate-on:user-info:list resource "pods" in API group "" in the '
        'namespace "default"'
    )


def test_the_group_of_masters_is_only_for_the_old_mode() -> None:
    wanted = User("ann", ("system:masters",))
    new = (("impersonate-on:user-info:list", "", "pods", ""), ("impersonate:user-info", AUTHENTICATION, "users", "ann"),
           ("impersonate:user-info", AUTHENTICATION, "groups", "system:masters"))  # fmt: skip
    with pytest.raises(Forbidden, match="impersonating the system:masters group is not allowed"):
        impersonate(Only(*new), User("bob"), wanted, PODS)
    old = (("impersonate", "", "users", "ann"), ("impersonate", "", "groups", "system:masters"))
    assert impersonate(Only(*old), User("bob"), wanted, PODS).groups[0] == "system:masters"


def test_what_follows_sees_the_other_user_and_no_headers() -> None:
    async def handler(request: Request, info: RequestInfo) -> Response:
        assert request.user is not None
        assert (request.user.name, list(request.headers)) == ("ann", ["accept"])
        return Response()

    headers = {"accept": "*/*", "impersonate-user": "ann"}
    request = Request("GET", "/x", headers=headers, user=ADMIN)
    assert ask(AlwaysAllow(), handler, request).status == 200
