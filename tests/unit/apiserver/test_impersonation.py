"""Who acts as somebody else says so, is asked whether that is allowed, and is then that user."""

from __future__ import annotations

import asyncio

import pytest

from proa.apiserver.authorization.decision import ALLOWED, AlwaysAllow, Authorizer, Decision
from proa.apiserver.filters.chain import InfoHandler, chain
from proa.apiserver.filters.impersonation import impersonated_user, with_impersonation
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Request, Response, User
from proa.objects.errors import BadRequest, Forbidden

ADMIN = User("admin", ("system:masters",))


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
    ],
    ids=["a user", "groups and uid", "extra", "an account", "anonymous"],
)
def test_the_headers_name_a_user(headers: dict[str, str], user: User) -> None:
    assert impersonated_user(headers) == user


@pytest.mark.parametrize(
    "headers",
    [{"impersonate-group": "system:masters"}, {"impersonate-user": "ann", "impersonate-usr": "bob"}],
)
def test_headers_that_name_nobody_or_are_unknown_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        impersonated_user(headers)


def test_each_part_must_be_allowed() -> None:
    asked: list[tuple[str, str, str]] = []

    class Recorder(AlwaysAllow):
        def authorize(self, user: User, info: RequestInfo) -> Decision:
            asked.append((info.verb, info.plural, info.name))
            return Decision() if info.plural == "groups" and info.name == "ops" else ALLOWED

    async def handler(request: Request, info: RequestInfo) -> Response:
        raise AssertionError("it must not come through")

    request = Request(
        "GET", "/x", headers={"impersonate-user": "ann", "impersonate-group": "ops"}, user=ADMIN
    )
    with pytest.raises(
        Forbidden, match='groups "ops" is forbidden: User "admin" cannot impersonate resource "groups"'
    ):
        ask(Recorder(), handler, request)
    assert asked == [("impersonate", "users", "ann"), ("impersonate", "groups", "ops")]


def test_what_follows_sees_the_other_user_and_no_headers() -> None:
    async def handler(request: Request, info: RequestInfo) -> Response:
        assert request.user is not None
        assert (request.user.name, list(request.headers)) == ("ann", ["accept"])
        return Response()

    headers = {"accept": "*/*", "impersonate-user": "ann"}
    request = Request("GET", "/x", headers=headers, user=ADMIN)
    assert ask(AlwaysAllow(), handler, request).status == 200
