"""A certificate authority, and an API server whose webhooks are real HTTPS servers on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from support.tls_server import Answer, Authority, TlsServer, serve

RULE = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["*"]}


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="session")
def certificate(authority, tmp_path_factory):
    return authority.write_server(tmp_path_factory.mktemp("tls"), "localhost", "127.0.0.1", "hook.ops.svc")


class Hooks:
    """Runs a story of an API server and one webhook server in one event loop, and cleans up after it."""

    def __init__(self, api: Any, authority: Authority, certificate: Any) -> None:
        self.api = api
        self.ask = api.ask
        self.authority = authority
        self._certificate = certificate
        self.server: TlsServer
        self.answer: Answer

    def run(self, answer: Answer, story: Callable[[Hooks], Awaitable[None]]) -> None:
        """Serve `answer`, which the story may replace, while the story runs."""

        async def told() -> None:
            self.answer = answer
            async with serve(self._certificate, lambda call: self.answer(call)) as self.server:
                try:
                    await story(self)
                finally:
                    await self.api.server.close()

        asyncio.run(told())

    def webhook(self, name: str = "one.test.example", path: str = "/", **fields: Any) -> dict[str, Any]:
        """Return a webhook that the server answers."""
        return {
            "name": name,
            "clientConfig": {"url": self.server.url(path), "caBundle": self.authority.bundle},
            "rules": [RULE],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            **fields,
        }

    async def configure(self, kind: str, *webhooks: dict[str, Any], name: str = "hooks") -> None:
        """Store a configuration: `kind` is mutating or validating."""
        path = f"/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations"
        answer = await self.ask("POST", path, {"metadata": {"name": name}, "webhooks": [*webhooks]})
        assert answer.status == 201, answer.raw

    async def make(self, name: str = "c", query: str = "", **body: Any) -> Any:
        """Create a ConfigMap and return the answer."""
        body = {"metadata": {"name": name}, "data": {"a": "b"}, **body}
        return await self.ask("POST", f"/api/v1/namespaces/default/configmaps{query}", body)


@pytest.fixture
def hooks(api, authority, certificate) -> Hooks:
    return Hooks(api, authority, certificate)
