from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from proa.client.account import AccountTransport
from proa.client.fake import FakeClient
from proa.client.protocol import Object, Request, Response


class Server:
    """Knows only the newest token."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.forgets = False

    async def send(self, request: Request) -> Response:
        self.asked.append(request.headers["authorization"])
        return Response(401 if self.forgets else 200)

    async def close(self) -> None:
        raise AssertionError("it is shared")


class Issuer(FakeClient):
    """Issues tokens t1, t2, … to the accounts that there are."""

    issued = 0

    async def create_subresource(
        self, resource, name: str, subresource: str, obj: Object, namespace: str | None = None
    ) -> Object:
        await self.get(resource, name, namespace)
        assert (subresource, obj["spec"]) == ("token", {"expirationSeconds": 3600})
        await asyncio.sleep(0)
        self.issued += 1
        return {**obj, "status": {"token": f"t{self.issued}"}}


def with_account(scenario: Callable[[Server, AccountTransport, list[float]], Awaitable[None]]) -> None:
    async def main() -> None:
        server, time = Server(), [1000.0]
        account = AccountTransport(server, Issuer(), "job-controller", clock=lambda: time[0])
        await scenario(server, account, time)
        await account.close()

    asyncio.run(main())


def test_a_token_is_asked_for_once_and_again_before_it_ends():
    async def scenario(server: Server, account: AccountTransport, time: list[float]) -> None:
        await asyncio.gather(*(account.send(Request("GET", "/")) for _ in range(3)))
        time[0] += 3600 * 0.8 - 1
        await account.send(Request("GET", "/"))
        time[0] += 1
        await account.send(Request("GET", "/"))
        assert server.asked == ["Bearer t1"] * 4 + ["Bearer t2"]

    with_account(scenario)


def test_a_token_that_is_refused_is_not_used_again():
    async def scenario(server: Server, account: AccountTransport, time: list[float]) -> None:
        server.forgets = True
        assert (await account.send(Request("GET", "/"))).status == 401
        server.forgets = False
        await account.send(Request("GET", "/"))
        assert server.asked == ["Bearer t1", "Bearer t2"]

    with_account(scenario)
