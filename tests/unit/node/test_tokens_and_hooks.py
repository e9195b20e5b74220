"""Tokens for pods, and the hooks around a container's life."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proa.node.hooks import HookFailed, run_hook
from proa.node.runtimes.fake import FakeRuntime, FakeSession
from proa.node.tokens import TokenSource
from proa.objects.meta import format_time

POD = {"metadata": {"name": "web", "namespace": "team", "uid": "u1"}, "spec": {"serviceAccountName": "robot"}}
PROJECTION = {"path": "token", "audience": "vault", "expirationSeconds": 600}


class Issuer:
    """A client that issues tokens, each for as long as it is asked to be good."""

    def __init__(self) -> None:
        self.time = 1_000_000.0
        self.requests: list[tuple[str, str, dict[str, Any]]] = []

    async def create_subresource(
        self, resource: Any, name: str, subresource: str, obj: dict[str, Any], namespace: str | None = None
    ) -> dict[str, Any]:
        self.requests.append((name, subresource, obj["spec"]))
        expires = format_time(self.time + obj["spec"]["expirationSeconds"])
        return {"status": {"token": f"t{len(self.requests)}", "expirationTimestamp": expires}}


def test_a_token_is_bound_to_its_pod_and_kept_until_it_is_due() -> None:
    async def main() -> None:
        issuer = Issuer()
        tokens = TokenSource(issuer, lambda: issuer.time)  # type: ignore[arg-type]
        first = await tokens.request(POD, PROJECTION)
        assert (first.value, first.refresh_at) == ("t1", issuer.time + 480)
        assert issuer.requests == [
            (
                "robot",
                "token",
                {
                    "audiences": ["vault"],
                    "expirationSeconds": 600,
                    "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "u1"},
                },
            )
        ]
        issuer.time += 479
        assert (await tokens.request(POD, PROJECTION)).value == "t1"
        issuer.time += 2
        assert (await tokens.request(POD, PROJECTION)).value == "t2"
        tokens.forget("u1")
        assert (await tokens.request(POD, PROJECTION)).value == "t3"

    asyncio.run(main())


def test_a_long_lived_token_is_renewed_every_day() -> None:
    async def main() -> None:
        issuer = Issuer()
        tokens = TokenSource(issuer, lambda: issuer.time)  # type: ignore[arg-type]
        token = await tokens.request(POD, {**PROJECTION, "expirationSeconds": 30 * 86400})
        assert token.refresh_at == issuer.time + 86400

    asyncio.run(main())


def run(hook: dict[str, Any], runtime: FakeRuntime | None = None, timeout: float | None = None) -> None:
    asyncio.run(
        run_hook(runtime or FakeRuntime(lambda: 0.0), "c1", {"name": "app"}, hook, "10.244.1.2", timeout)
    )


def test_hooks_that_succeed() -> None:
    runtime = FakeRuntime(lambda: 0.0)
    runtime.commands["ok"] = FakeSession

    run({"exec": {"command": ["ok"]}}, runtime)
    run({"sleep": {"seconds": 0}})


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        ({"exec": {"command": ["bad"]}}, "command 'bad' exited with 2: why"),
        ({"exec": {"command": ["none"]}}, "executable file not found"),
        ({"httpGet": {"port": 80}}, "Connection refused"),
        ({"httpGet": {"port": "web"}}, "port web not found"),
        ({"tcpSocket": {"port": 80}}, "compatibility only"),
    ],
)
def test_hooks_that_fail(hook: dict[str, Any], words: str) -> None:
    runtime = FakeRuntime(lambda: 0.0)
    runtime.commands["bad"] = lambda: FakeSession(2, [("stderr", b"why")])

    with pytest.raises(HookFailed, match=words):
        run(hook, runtime)


def test_a_hook_may_not_take_longer_than_the_grace() -> None:
    with pytest.raises(TimeoutError):
        run({"sleep": {"seconds": 60}}, timeout=0.01)
