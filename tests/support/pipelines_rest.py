"""The API over a database of its own and an API server in memory, for tests to talk to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from proa.client.fake import FakeClient
from proa.client.protocol import Request, Response, User
from proa.ml.pipelines.api.access import Access
from proa.ml.pipelines.api.app import Api
from proa.ml.pipelines.api.services import Services
from proa.ml.pipelines.artifacts.choice import ArtifactStores, StoreSettings
from proa.ml.pipelines.database.database import open_database

ANN = User("ann", ("system:authenticated",))


class Cluster(FakeClient):
    """Answers reviews, too: tokens are in `tokens`, and what is in `refused` (user, verb, resource) may not be done."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: dict[str, str] = {}
        self.refused: set[tuple[str, str, str]] = set()
        self.reviews: list[dict[str, Any]] = []

    async def create(self, resource, obj, namespace=None):
        spec = obj.get("spec") or {}
        if resource.kind == "SubjectAccessReview":
            self.reviews.append(spec)
            asked = spec["resourceAttributes"]
            allowed = (spec["user"], asked["verb"], asked["resource"]) not in self.refused
            return {**obj, "status": {"allowed": allowed}}
        if resource.kind == "TokenReview":
            name = self.tokens.get(spec["token"])
            who = {"authenticated": True, "user": {"username": name}} if name else {"authenticated": False}
            return {**obj, "status": who}
        return await super().create(resource, obj, namespace)


class Rest:
    """Sends requests as `ann`, unless told otherwise."""

    def __init__(self, api: Api, services: Services, cluster: Cluster) -> None:
        self.api, self.services, self.cluster = api, services, cluster
        self.looked_at: list[str] = []
        self.user: User | None = ANN

    async def send(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        *,
        needs_token: bool = False,
    ) -> Response:
        """Return the answer as it is."""
        path, _, query_text = url.partition("?")
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        query = parse_qs(query_text, keep_blank_values=True)
        request = Request(method, path, query, headers or {}, data, self.user)
        return await self.api.handle(request, needs_token=needs_token)

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        """Return status and JSON of a call below /apis/v2beta1/."""
        response = await self.send(method, f"/apis/v2beta1/{path}", body)
        return response.status, json.loads(response.body)

    async def ok(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Return the JSON of a call that must succeed."""
        status, answer = await self.ask(method, path, body)
        assert status == 200, answer
        return answer

    async def upload(self, path: str, data: bytes, name: str = "p.yaml") -> tuple[int, dict[str, Any]]:
        """Send a file as the SDK does."""
        form = (
            b'--b\r\nContent-Disposition: form-data; name="uploadfile"; filename="%b"\r\n\r\n%b\r\n--b--\r\n'
        )
        headers = {"content-type": "multipart/form-data; boundary=b"}
        response = await self.send("POST", f"/apis/v2beta1/{path}", form % (name.encode(), data), headers)
        return response.status, json.loads(response.body)


def run_rest(tmp_path: Path, scenario: Callable[[Rest], Awaitable[None]]) -> None:
    """Run a scenario with an API of its own."""

    async def main() -> None:
        cluster = Cluster()
        database = await open_database(tmp_path / "pipelines.db")
        stores = ArtifactStores(cluster, StoreSettings(tmp_path / "artifacts"))
        looked_at: list[str] = []
        moments = iter(range(1_800_000_000, 1_900_000_000))
        services = Services(
            database, cluster, Access(cluster), stores, looked_at.append, lambda: float(next(moments))
        )
        rest = Rest(Api(services), services, cluster)
        rest.looked_at = looked_at
        try:
            async with asyncio.timeout(60):
                await scenario(rest)
        finally:
            await stores.close()
            await database.close()

    asyncio.run(main())


PIPELINE = {
    "pipelineInfo": {"name": "adder"},
    "root": {
        "inputDefinitions": {"parameters": {"x": {"parameterType": "NUMBER_INTEGER", "defaultValue": 1.0}}},
        "dag": {
            "tasks": {
                "add": {
                    "taskInfo": {"name": "add"},
                    "componentRef": {"name": "comp-add"},
                    "inputs": {"parameters": {"a": {"componentInputParameter": "x"}}},
                }
            }
        },
    },
    "components": {
        "comp-add": {
            "executorLabel": "exec-add",
            "inputDefinitions": {"parameters": {"a": {"parameterType": "NUMBER_INTEGER"}}},
        }
    },
    "deploymentSpec": {"executors": {"exec-add": {"container": {"image": "python", "command": ["true"]}}}},
    "schemaVersion": "2.1.0",
    "sdkVersion": "kfp-2.17.0",
}
