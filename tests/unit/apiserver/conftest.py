"""An API server over a memory store, asked without sockets, with a clock that stands still until it is moved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson
import pytest

from proa.apiserver.app import ApiServer, ApiSettings
from proa.apiserver.authorization.bootstrap_policy import ensure_policy
from proa.apiserver.resources import DEFINITIONS
from proa.client.protocol import Request, Response, User
from proa.store.memory import MemoryStore

ADMIN = User("admin", ("system:masters", "system:authenticated"))


class Answer:
    """A response, read."""

    def __init__(self, response: Response) -> None:
        body = response.body
        self.status = response.status
        self.headers = response.headers
        self.raw = body if isinstance(body, bytes) else b"".join(body)

    @property
    def json(self) -> Any:
        return orjson.loads(self.raw)

    @property
    def message(self) -> str:
        return str(self.json["message"])


class Api:
    """Asks an `ApiServer` as an administrator would."""

    def __init__(self, settings: ApiSettings | None = None) -> None:
        self.time = 1_800_000_000.0
        self.store = MemoryStore()
        self.server = ApiServer(self.store, DEFINITIONS, settings, now=lambda: self.time)

    async def ask(
        self, method: str, path: str, body: Any = None, user: User | None = ADMIN, **headers: str
    ) -> Answer:
        return Answer(await self.send(method, path, body, user, **headers))

    async def send(
        self, method: str, path: str, body: Any = None, user: User | None = ADMIN, **headers: str
    ) -> Response:
        path, _, query = path.partition("?")
        data = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        parsed = parse_qs(query, keep_blank_values=True)
        return await self.server.handle(Request(method, unquote(path), parsed, named, data, user))

    def get(self, path: str, **headers: str) -> Answer:
        return asyncio.run(self.ask("GET", path, **headers))

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        return asyncio.run(self.ask("POST", path, body, **headers))

    def put(self, path: str, body: Any, **headers: str) -> Answer:
        return asyncio.run(self.ask("PUT", path, body, **headers))

    def patch(self, path: str, body: Any, kind: str = "merge") -> Answer:
        content_type = f"application/{kind}-patch+json"
        return asyncio.run(self.ask("PATCH", path, body, content_type=content_type))

    def delete(self, path: str, body: Any = None) -> Answer:
        return asyncio.run(self.ask("DELETE", path, body))

    def config_map(self, name: str, namespace: str = "default", **metadata: Any) -> Any:
        """Create a ConfigMap and return it."""
        body = {"metadata": {"name": name, **metadata}, "data": {"a": "b"}}
        answer = self.post(f"/api/v1/namespaces/{namespace}/configmaps", body)
        assert answer.status == 201, answer.raw
        return answer.json

    def pod(self, name: str, **spec: Any) -> Any:
        """Create a pod and return it."""
        body = {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "x:1"}], **spec}}
        answer = self.post("/api/v1/namespaces/default/pods", body)
        assert answer.status == 201, answer.raw
        return answer.json


class Events:
    """Reads a watch's stream event by event."""

    def __init__(self, stream) -> None:
        self._stream = stream
        self._waiting: list[Any] = []

    async def next(self) -> tuple[str, Any]:
        while not self._waiting:
            self._waiting = [orjson.loads(line) for line in (await self._stream.__anext__()).splitlines()]
        event = self._waiting.pop(0)
        return event["type"], event["object"]

    async def names(self, count: int) -> list[tuple[str, str]]:
        found = [await self.next() for _ in range(count)]
        return [(kind, obj["metadata"]["name"]) for kind, obj in found]

    async def rest(self) -> list[Any]:
        events = list(self._waiting)
        async for chunk in self._stream:
            events += [orjson.loads(line) for line in chunk.splitlines()]
        return events


def watching(api, path, scenario, **headers):
    """Run `scenario(events)` against a watch of `path`."""

    async def run():
        response = await api.send("GET", f"{path}{'&' if '?' in path else '?'}watch=true", **headers)
        assert response.status == 200, response.body
        try:
            async with asyncio.timeout(60):
                await scenario(Events(response.stream))
        finally:
            await response.stream.aclose()

    asyncio.run(run())


def secure(api: Api) -> Api:
    """Give a server the namespaces and the roles that every cluster has."""
    for name in ("default", "kube-system", "kube-public"):
        api.post("/api/v1/namespaces", {"metadata": {"name": name}})
    asyncio.run(ensure_policy(api.server.catalog))
    return api


@pytest.fixture
def secured_api() -> Api:
    """A server with the namespaces and the roles that every cluster has."""
    return secure(Api())


@pytest.fixture
def make_api() -> Callable[..., Api]:
    return Api


@pytest.fixture
def api() -> Api:
    """A server with the namespace `default` and its service account."""
    made = Api()
    assert made.post("/api/v1/namespaces", {"metadata": {"name": "default"}}).status == 201
    account = {"metadata": {"name": "default"}}
    assert made.post("/api/v1/namespaces/default/serviceaccounts", account).status == 201
    return made
