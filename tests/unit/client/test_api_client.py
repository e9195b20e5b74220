from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable

import pytest

from proa.client.api import ApiClient
from proa.client.local import LocalTransport
from proa.client.protocol import Request, Response, User, WatchEvent
from proa.objects.errors import BadRequest, Conflict, Expired, InternalError, NotFound, ServiceUnavailable
from proa.objects.resource import CONFIG_MAPS, DEPLOYMENTS, NODES, PODS
from support.virtual_time import run_in_virtual_time


class Scripted:
    """A transport that notes requests and gives one answer."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self.request = Request("", "")

    async def send(self, request: Request) -> Response:
        self.request = request
        return self.response

    async def close(self) -> None:
        return None


def answering(status: int = 200, body: object = None, stream: AsyncIterator[bytes] | None = None) -> Scripted:
    data = body if isinstance(body, bytes) else json.dumps(body if body is not None else {}).encode()
    return Scripted(Response(status, body=data, stream=stream))


async def chunks(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda c: c.get(PODS, "a", "ns"), "GET /api/v1/namespaces/ns/pods/a {}"),
        (lambda c: c.get(NODES, "n"), "GET /api/v1/nodes/n {}"),
        (
            lambda c: c.list(DEPLOYMENTS, label_selector="a=b", limit=5, continue_token="x"),
            "GET /apis/apps/v1/deployments {'labelSelector': ['a=b'], 'limit': ['5'], 'continue': ['x']}",
        ),
        (lambda c: c.create(PODS, {"metadata": {"namespace": "ns"}}), "POST /api/v1/namespaces/ns/pods {}"),
        (
            lambda c: c.update(PODS, {"metadata": {"name": "a", "namespace": "ns"}}, "status"),
            "PUT /api/v1/namespaces/ns/pods/a/status {}",
        ),
        (
            lambda c: c.patch(PODS, "a", {}, "ns", subresource="status"),
            "PATCH /api/v1/namespaces/ns/pods/a/status {}",
        ),
        (
            lambda c: c.patch(PODS, "a", {}, "ns", patch_type="application/apply-patch+yaml"),
            "PATCH /api/v1/namespaces/ns/pods/a {'fieldManager': ['proa'], 'force': ['true']}",
        ),
        (lambda c: c.delete(PODS, "a", "ns"), "DELETE /api/v1/namespaces/ns/pods/a {}"),
        (
            lambda c: c.create_subresource(PODS, "a", "binding", {}, "ns"),
            "POST /api/v1/namespaces/ns/pods/a/binding {}",
        ),
        (lambda c: c.request("GET", "/version?x=1"), "GET /version {'x': ['1']}"),
    ],
)
def test_each_verb_has_its_method_and_path(call, line):
    transport = answering()
    asyncio.run(call(ApiClient(transport)))
    assert f"{transport.request.method} {transport.request.path} {transport.request.query}" == line


def test_what_a_delete_asks_for_is_in_its_body():
    transport = answering()
    client = ApiClient(transport)
    asyncio.run(
        client.delete(PODS, "a", "ns", grace_period_seconds=0, propagation_policy="Foreground", uid="u")
    )
    assert json.loads(transport.request.body) == {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Foreground",
        "preconditions": {"uid": "u"},
    }


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (404, {"reason": "NotFound", "message": "gone"}, NotFound, "gone"),
        (409, {"reason": "Conflict", "message": "changed", "code": 409}, Conflict, "changed"),
        (503, b"upstream is away\n", ServiceUnavailable, "upstream is away"),
        (500, b"[]", InternalError, "the server answered 500"),
        (200, b"<html>", InternalError, "is not JSON"),
        (200, b"[]", InternalError, "is not a JSON object"),
    ],
)
def test_refusals_and_nonsense_are_raised(status, body, error, message):
    with pytest.raises(error, match=message):
        asyncio.run(ApiClient(answering(status, body)).get(PODS, "a", "ns"))


def test_an_empty_name_is_refused_before_it_becomes_another_request():
    with pytest.raises(BadRequest, match="resource name may not be empty"):
        asyncio.run(ApiClient(answering()).delete(PODS, "", "ns"))


def test_a_streamed_list_is_read_whole():
    body = b'{"metadata":{"resourceVersion":"5"},"items":[{"metadata":{"name":"a"}}]}'
    parts = [body[i : i + 7] for i in range(0, len(body), 7)]
    found = asyncio.run(ApiClient(answering(stream=chunks(parts))).list(CONFIG_MAPS))
    assert (found.resource_version, found.items[0]["kind"]) == ("5", "ConfigMap")


EVENTS = [
    {"type": "ADDED", "object": {"metadata": {"name": "a"}}},
    {"type": "BOOKMARK", "object": {"metadata": {}}},
]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_watch_reads_events_however_they_are_cut(size):
    async def scenario() -> list[WatchEvent]:
        body = b"".join(json.dumps(event).encode() + b"\n" for event in EVENTS)
        stream = chunks([body[i : i + size] for i in range(0, len(body), size)])
        return [
            event async for event in ApiClient(answering(stream=stream)).watch(PODS, resource_version="7")
        ]

    assert asyncio.run(scenario()) == [WatchEvent(e["type"], e["object"]) for e in EVENTS]


def test_an_error_in_a_watch_is_raised():
    async def scenario() -> None:
        status = {"kind": "Status", "reason": "Expired", "message": "too old", "code": 410}
        stream = chunks([json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"])
        async for _ in ApiClient(answering(stream=stream)).watch(PODS):
            raise AssertionError

    with pytest.raises(Expired, match="too old"):
        asyncio.run(scenario())


def test_a_watch_that_is_left_closes_its_stream():
    closed = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield json.dumps(EVENTS[0]).encode() + b"\n"
        finally:
            closed.append(True)

    async def scenario() -> None:
        watch = ApiClient(answering(stream=endless())).watch(PODS)
        async for _ in watch:
            break
        await watch.aclose()  # type: ignore[attr-defined]

    asyncio.run(scenario())
    assert closed == [True]


def test_the_local_transport_asks_as_its_user_and_refuses_when_closed():
    async def scenario() -> None:
        async def handle(request: Request) -> Response:
            assert request.user == User("me")
            return Response(body=[b"{", b"}"])

        transport = LocalTransport(handle, User("me"))
        client = ApiClient(transport)
        assert await client.request("GET", "/version") == {}
        await client.close()
        with pytest.raises(ServiceUnavailable):
            await client.request("GET", "/version")

    asyncio.run(scenario())


def test_the_local_transport_upgrades_nothing():
    async def scenario() -> None:
        async def take_over(_: object) -> None:
            return None

        async def handle(request: Request) -> Response:
            return Response(101, upgrade=take_over)

        with pytest.raises(BadRequest, match="cannot upgrade"):
            await ApiClient(LocalTransport(handle, User("me"))).request("GET", "/exec")

    asyncio.run(scenario())


class Busy:
    """Refuses a number of times, then answers."""

    def __init__(self, refusals: int, refusal: Response) -> None:
        self.refusals = refusals
        self.refusal = refusal
        self.bodies: list[bytes] = []

    async def send(self, request: Request) -> Response:
        self.bodies.append(request.body)
        return self.refusal if len(self.bodies) <= self.refusals else Response(200, body=b'{"ok": true}')

    async def close(self) -> None:
        return None


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_says_when_to_come_back_is_asked_again_then(status):
    busy = Busy(3, Response(status, {"retry-after": "7"}, b'{"message": "busy"}'))

    async def scenario() -> float:
        await ApiClient(busy, waits=True).create(NODES, {"metadata": {"name": "a"}})
        return asyncio.get_running_loop().time()

    assert run_in_virtual_time(scenario()) == 21
    assert len(busy.bodies) == 4
    assert len(set(busy.bodies)) == 1


@pytest.mark.parametrize(
    ("waits", "headers", "asked"),
    [
        (False, {"retry-after": "7"}, 1),
        (True, {}, 1),
        (True, {"retry-after": "soon"}, 1),
        (True, {"retry-after": "1"}, 10),
    ],
)
def test_a_server_that_does_not_say_so_or_never_is_ready_is_believed(waits, headers, asked):
    busy = Busy(100, Response(503, headers, b'{"message": "busy"}'))
    with pytest.raises(ServiceUnavailable, match="busy"):
        run_in_virtual_time(ApiClient(busy, waits=waits).get(NODES, "a"))
    assert len(busy.bodies) == asked
