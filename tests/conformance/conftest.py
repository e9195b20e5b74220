"""An API server over a memory store, asked as a client would ask it, without sockets."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson
import pytest

from proa.apiserver.app import ApiServer
from proa.apiserver.resources import DEFINITIONS
from proa.client.protocol import Request, Response, User
from proa.store.memory import MemoryStore

ADMIN = User("admin", ("system:masters", "system:authenticated"))
SECONDS = 60
"""How long a watch may take to say what it must."""


class Api:
    """The verbs; each raises AssertionError where the answer is not the one that is expected."""

    def __init__(self) -> None:
        self.server = ApiServer(MemoryStore(), DEFINITIONS)

    def send(
        self, method: str, path: str, body: Any = None, *, content_type: str = "", accept: str = ""
    ) -> tuple[int, Any]:
        """Return the code and the decoded body of an answer."""

        async def ask() -> tuple[int, Any]:
            response = await self._send(method, path, body, content_type, accept)
            data = response.body if isinstance(response.body, bytes) else b"".join(response.body)
            return response.status, orjson.loads(data)

        return asyncio.run(ask())

    async def _send(
        self, method: str, path: str, body: Any, content_type: str = "", accept: str = ""
    ) -> Response:
        path, _, query = path.partition("?")
        headers = {"content-type": content_type} if content_type else {}
        headers.update({"accept": accept} if accept else {})
        data = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        request = Request(
            method, unquote(path), parse_qs(query, keep_blank_values=True), headers, data, ADMIN
        )
        return await self.server.handle(request)

    def expect(
        self, code: int, method: str, path: str, body: Any = None, content_type: str = "", *, accept: str = ""
    ) -> Any:
        """Return the body of an answer of that code."""
        status, answer = self.send(method, path, body, content_type=content_type, accept=accept)
        assert status == code, answer
        return answer

    def get(self, path: str, accept: str = "") -> Any:
        return self.expect(200, "GET", path, accept=accept)

    def post(self, path: str, body: Any) -> Any:
        return self.expect(201, "POST", path, body)

    def put(self, path: str, body: Any) -> Any:
        return self.expect(200, "PUT", path, body)

    def patch(self, path: str, body: Any, kind: str = "strategic-merge") -> Any:
        return self.expect(200, "PATCH", path, body, f"application/{kind}-patch+json")

    def delete(self, path: str) -> Any:
        return self.expect(200, "DELETE", path)

    def names(self, path: str) -> list[str]:
        """Return the names in a list."""
        return [item["metadata"]["name"] for item in self.get(path)["items"]]

    def compact(self) -> None:
        """Forget what objects were before now."""
        asyncio.run(self.server.store.compact(self.server.store.revision))

    def history(self, path: str, since: Any, count: int) -> list[tuple[str, str]]:
        """Return (type, name) of the first `count` events of a watch that begins after the object `since`."""
        version = since["metadata"]["resourceVersion"]

        async def read() -> list[tuple[str, str]]:
            mark = "&" if "?" in path else "?"
            answer = await self._send("GET", f"{path}{mark}watch=true&resourceVersion={version}", None)
            assert answer.status == 200, answer.body
            stream, found = answer.stream, list[tuple[str, str]]()
            assert stream is not None
            try:
                async with asyncio.timeout(SECONDS):
                    while len(found) < count:
                        for line in (await anext(stream)).splitlines():
                            event = orjson.loads(line)
                            found.append((event["type"], event["object"]["metadata"]["name"]))
            finally:
                await stream.aclose()
            return found

        return asyncio.run(read())


@pytest.fixture
def api() -> Api:
    """A server with the namespace `default` and its service account."""
    made = Api()
    made.post("/api/v1/namespaces", {"metadata": {"name": "default"}})
    made.post("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    return made
