"""How the command line asks the Pipelines API: wherever it is, page by page, and no more than is wanted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from proa.cli import Failure
from proa.cli.pipelines.asking import find_run
from proa.cli.pipelines.rest import EQUALS, PipelinesApi
from proa.client.http import HttpTransport
from proa.client.protocol import Request, Response
from proa.objects.errors import BadRequest, Forbidden

PROXY = "/api/v1/namespaces/kubeflow/services/ml-pipeline:http/proxy"


class Server:
    """A transport that answers by a function, and remembers what it was asked."""

    def __init__(self, answer: Callable[[Request], Response]) -> None:
        self.answer = answer
        self.asked: list[Request] = []

    async def send(self, request: Request) -> Response:
        self.asked.append(request)
        return self.answer(request)

    async def close(self) -> None:
        return

    def api(self, namespace: str = "") -> PipelinesApi:
        return PipelinesApi(cast("HttpTransport", self), namespace)


def answer(value: Any, status: int = 200) -> Response:
    return Response(status, {}, json.dumps(value).encode())


def page(request: Request) -> Response:
    """Return a page of 250 runs."""
    first = int(request.parameter("page_token") or 0)
    last = min(first + int(request.parameter("page_size")), 250)
    token = {"next_page_token": str(last)} if last < 250 else {}
    return answer({"runs": [{"run_id": str(number)} for number in range(first, last)], **token})


def test_the_api_is_found_at_the_api_server_or_behind_its_proxy() -> None:
    here = Server(lambda request: answer({}))
    elsewhere = Server(lambda request: answer({}, 200 if request.path.startswith(PROXY) else 404))
    nowhere = Server(lambda request: answer({"message": "not found"}, 404))
    asyncio.run(here.api().find())
    found = asyncio.run(elsewhere.api().find())
    asyncio.run(found.get("/runs"))
    assert here.asked[-1].path == "/apis/v2beta1/healthz"
    assert elsewhere.asked[-1].path == f"{PROXY}/apis/v2beta1/runs"
    with pytest.raises(Failure, match="no Pipelines API in this cluster"):
        asyncio.run(nowhere.api().find())


@pytest.mark.parametrize(
    ("limit", "found", "pages"), [(20, 20, [20]), (150, 150, [100, 50]), (0, 250, [100] * 3)]
)
def test_a_list_is_read_page_by_page_and_no_further_than_wanted(
    limit: int, found: int, pages: list[int]
) -> None:
    server = Server(page)

    async def read() -> int:
        return len([item async for item in server.api().items("/runs", "runs", limit)])

    assert asyncio.run(read()) == found
    assert [int(request.parameter("page_size")) for request in server.asked] == pages


def test_filters_are_upstreams_predicates() -> None:
    server = Server(page)

    async def read() -> None:
        async for _ in server.api().items(
            "/runs", "runs", 1, {"state": (EQUALS, "FAILED")}, namespace="team"
        ):
            pass

    asyncio.run(read())
    (request,) = server.asked
    predicate = {"key": "state", "operation": "EQUALS", "string_value": "FAILED"}
    assert json.loads(request.parameter("filter")) == {"predicates": [predicate]}
    assert (request.parameter("namespace"), request.parameter("sort_by")) == ("team", "created_at desc")


def test_refusals_are_told_in_the_servers_words() -> None:
    denied = Server(lambda request: answer({"error": "User 'a' cannot list runs", "code": 7}, 403))
    plain = Server(lambda request: Response(400, {}, b"what?"))
    with pytest.raises(Forbidden, match="User 'a' cannot list runs"):
        asyncio.run(denied.api().get("/runs"))
    with pytest.raises(BadRequest, match=r"what\?"):
        asyncio.run(plain.api().get("/runs"))


def test_a_file_is_uploaded_as_a_form() -> None:
    server = Server(lambda request: answer({"pipeline_id": "1"}))
    asyncio.run(server.api().upload("/pipelines/upload", {"name": "n"}, "a/b.yaml", b"root: {}"))
    (request,) = server.asked
    boundary = request.headers["content-type"].partition("boundary=")[2].encode()
    assert request.body.startswith(b"--" + boundary)
    assert b'name="uploadfile"' in request.body
    assert b"\r\n\r\nroot: {}\r\n--" + boundary + b"--" in request.body


def test_a_run_that_is_not_there_is_told_with_where_to_look() -> None:
    server = Server(lambda request: answer({}))
    with pytest.raises(Failure, match=r"none called 'x', by id or name; `proa runs ls`"):
        asyncio.run(find_run(server.api(), "x"))
