from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from proa.apiserver.app import ApiServer
from proa.apiserver.resources import DEFINITIONS
from proa.client.api import ApiClient
from proa.client.local import LocalTransport
from proa.client.protocol import Request, Response, User
from proa.controllers import make_controllers, make_server_controllers
from proa.objects.resource import NAMESPACES, SERVICE_ACCOUNTS
from proa.observability.metrics import Gauge
from proa.standalone.controllers import (
    UPSTREAM_NAMES,
    ControllerProcess,
    Files,
    find_unknown,
    is_enabled,
    known_names,
)
from proa.standalone.health import HealthHandler
from proa.standalone.leading import Connections
from proa.store.memory import MemoryStore

KNOWN = known_names(make_controllers())
ADMIN = User("admin", ("system:masters", "system:authenticated"))


@pytest.mark.parametrize(
    ("asked", "enabled"),
    [
        pytest.param("*", True, id="all"),
        pytest.param("*,-job", False, id="all-but"),
        pytest.param("*,-job-controller", False, id="by-its-other-name"),
        pytest.param("*,-deployment", True, id="all-but-another"),
        pytest.param("job", True, id="only"),
        pytest.param("deployment", False, id="only-another"),
        pytest.param("-job,job", True, id="named-wins"),
        pytest.param("", False, id="none"),
    ],
)
def test_a_list_says_which_controllers_run(asked, enabled):
    assert is_enabled("job", asked.split(","), KNOWN) == enabled


def test_upstreams_names_are_known_and_nonsense_is_not():
    assert set(UPSTREAM_NAMES.values()) <= set(KNOWN.values())
    assert not find_unknown(["*", "-garbage-collector-controller", "replicaset", *UPSTREAM_NAMES], KNOWN)
    assert find_unknown(["-sheep", "customresourcedefinition"], KNOWN) == [
        "-sheep",
        "customresourcedefinition",
    ]


def test_the_api_servers_own_controllers_are_no_others():
    own = {controller.NAME for controller in make_server_controllers()}
    assert not own & {controller.NAME for controller in make_controllers()}


def test_controllers_whose_files_are_not_given_cannot_run(tmp_path: Path):
    assert Files().missing().keys() == {
        "csrsigning", "token-controller", "root-ca-publisher", "local-path-provisioner",
    }  # fmt: skip
    assert set(Files().missing()) <= set(KNOWN.values())
    given = Files("CA", tmp_path, tmp_path, tmp_path, tmp_path)
    assert not given.missing()
    assert given._replace(signing_key=None).missing().keys() == {"csrsigning"}


class OldServer:
    """A server that lacks a group, and is not ready at first."""

    def __init__(self, server: ApiServer, group: str) -> None:
        self._transport = LocalTransport(server.handle, ADMIN)
        self._group = group
        self.refusals = 1

    async def send(self, request: Request) -> Response:
        if f"/apis/{self._group}/" in request.path:
            if self.refusals:
                self.refusals -= 1
                return Response(503, body=b'{"message": "not yet"}')
            return Response(404, body=b'{"reason": "NotFound"}')
        return await self._transport.send(request)

    async def close(self) -> None:
        await self._transport.close()


def test_what_the_server_does_not_serve_is_left_out_and_said_and_the_others_work(caplog, monkeypatch):
    monkeypatch.setattr("proa.standalone.controllers.RETRY_SECONDS", 0.01)
    caplog.set_level(logging.INFO)

    async def main() -> None:
        store = MemoryStore()
        client = ApiClient(OldServer(ApiServer(store, DEFINITIONS), "certificates.k8s.io"))
        process = ControllerProcess(["serviceaccount", "csrcleaner", "csrsigning"], Files())
        working = asyncio.ensure_future(process.work(Connections(client, lambda account: client)))
        try:
            async with asyncio.timeout(60):
                await client.create(NAMESPACES, {"metadata": {"name": "new"}})
                while not (await client.list(SERVICE_ACCOUNTS, "new")).items:
                    await asyncio.sleep(0.01)
            assert process.queue_depths() == {"serviceaccount": 0}
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            await store.close()

    asyncio.run(main())
    assert "controllers run: serviceaccount" in caplog.messages
    assert any("csrcleaner reason=the server has no certificatesigningrequests" in m for m in caplog.messages)
    assert any("csrsigning reason=without --cluster-signing-cert-file" in m for m in caplog.messages)
    assert sum("not yet" in message for message in caplog.messages) == 1


@pytest.mark.parametrize(
    ("method", "path", "problem", "status", "body"),
    [
        ("GET", "/healthz", "", 200, "ok"),
        ("GET", "/readyz", "", 200, "ok"),
        ("GET", "/livez", "late", 500, "[-]lease failed: late\n"),
        ("GET", "/", "", 404, "404 page not found\n"),
        ("POST", "/healthz", "", 405, "only GET\n"),
        ("GET", "/metrics", "late", 200, "\nwaiting 3\n"),
    ],
)
def test_health_is_told_as_upstream_tells_it(method, path, problem, status, body):
    handler = HealthHandler({"lease": lambda: problem}, [Gauge("waiting", "How many wait.", lambda: 3)])
    answer = asyncio.run(handler(Request(method, path)))
    assert isinstance(answer.body, bytes)
    assert answer.status == status
    assert body in answer.body.decode()
