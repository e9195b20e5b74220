"""Where others write to the store too, a request sees what was acknowledged before it."""

from __future__ import annotations

import asyncio

import pytest

from proa.apiserver.app import ApiServer
from proa.apiserver.filters.read_index import needs_newest
from proa.apiserver.request_info import parse_request
from proa.apiserver.resources import DEFINITIONS
from proa.client.protocol import Request, User
from proa.store.memory import MemoryStore
from proa.store.protocol import Unavailable

ADMIN = User("admin", ("system:masters", "system:authenticated"))
PODS = "/api/v1/pods"


@pytest.mark.parametrize(
    ("method", "path", "version", "needs"),
    [
        ("GET", PODS, "", True),
        ("POST", PODS, "", True),
        ("GET", PODS, "0", False),
        ("GET", PODS, "7", False),
        ("GET", PODS, "8", True),
        ("GET", PODS, "x", False),
        ("GET", "/apis", "", True),
        ("GET", "/openapi/v3", "", True),
        ("GET", "/livez", "", False),
        ("GET", "/metrics", "", False),
    ],
)
def test_what_needs_the_newest_state(method, path, version, needs):
    request = Request(method, path, {"resourceVersion": [version]} if version else {})
    assert needs_newest(request, parse_request(request), 7) == needs


class SharedStore(MemoryStore):
    is_shared = True

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False

    async def barrier(self) -> None:
        if self.is_away:
            raise Unavailable("away")


def test_nothing_is_authorized_by_what_may_be_old():
    async def ask(server: ApiServer, path: str) -> int:
        return (await server.handle(Request("GET", path, user=ADMIN))).status

    store = SharedStore()
    server = ApiServer(store, DEFINITIONS)
    assert asyncio.run(ask(server, PODS)) == 200
    store.is_away = True
    assert asyncio.run(ask(server, PODS)) == 503
    assert asyncio.run(ask(server, "/apis")) == 503
    assert asyncio.run(ask(server, "/livez")) == 200
