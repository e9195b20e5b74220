"""The agent before a container: what passes, what waits, what is refused, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import orjson
import pytest

from proa.client.protocol import Request, Response
from proa.ml.serving.agent.running import run_agent
from proa.ml.serving.agent.settings import read_settings
from support.model_backends import Backend, exchange, json_response, post, run_backend

PREDICT = "/v1/models/m:predict"


class Agent(NamedTuple):
    port: int
    load_port: int
    stop: asyncio.Event
    task: asyncio.Task[None]

    async def probe(self) -> bytes:
        return await exchange(self.port, b"GET / HTTP/1.1\r\nHost: x\r\nK-Network-Probe: queue\r\n\r\n")

    async def load(self) -> dict[str, float]:
        answer = await exchange(self.load_port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        read: dict[str, float] = orjson.loads(answer.partition(b"\r\n\r\n")[2])
        return read


@asynccontextmanager
async def run_before(component_port: int, *arguments: str, probe: str = "") -> AsyncIterator[Agent]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    told = ["--component-port", str(component_port), "--quiet-seconds", "0", *arguments]
    settings = read_settings(told, {"SERVING_READINESS_PROBE": probe})
    stop = asyncio.Event()
    task = asyncio.create_task(run_agent(settings, stop, sockets))
    ports = [sock.getsockname()[1] for sock in sockets]
    try:
        yield Agent(ports[0], ports[1], stop, task)
    finally:
        stop.set()
        await asyncio.wait_for(task, 60)


async def echo(request: Request) -> Response:
    told = {
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "headers": request.headers,
    }
    return json_response({**told, "body": request.body.decode()}, 201)


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


class Held:
    """Answers once it is let."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.in_hand = 0
        self.most = 0

    async def __call__(self, request: Request) -> Response:
        self.in_hand += 1
        self.most = max(self.most, self.in_hand)
        try:
            await self.go.wait()
        finally:
            self.in_hand -= 1
        return json_response({"path": request.path})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


def test_requests_and_answers_pass_as_they_are_but_for_what_is_of_one_connection() -> None:
    async def scenario() -> None:
        async with run_backend(echo) as backend, run_before(backend.port) as agent:
            headers = (
                "X-Mine: a\r\nX-Mine: b\r\nConnection: keep-alive, X-Hop\r\nX-Hop: gone\r\nTE: trailers\r\n"
            )
            answer = await exchange(agent.port, post(f"{PREDICT}?a=1", b'{"x": "\xc3\xa9"}', headers))
        told = orjson.loads(body_of(answer))
        assert status_of(answer) == 201
        assert (told["method"], told["path"], told["query"]) == ("POST", PREDICT, {"a": ["1"]})
        assert told["body"] == '{"x": "é"}'
        assert told["headers"]["host"] == "model"
        assert told["headers"]["x-mine"] == "a, b"
        assert not {"x-hop", "te"} & set(told["headers"])

    asyncio.run(scenario())


def test_a_chunked_body_arrives_whole_and_pipelined_requests_are_answered_in_order() -> None:
    async def scenario() -> bytes:
        chunked = b"POST /one HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        last = b"GET /three HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        async with run_backend(echo) as backend, run_before(backend.port) as agent:
            return await exchange(agent.port, chunked + post("/two", b"fgh") + last, until_closed=True)

    answers = [
        json.loads(part[: part.rindex(b"}") + 1]) for part in asyncio.run(scenario()).split(b"\r\n\r\n")[1:]
    ]
    assert [(one["path"], one["body"]) for one in answers] == [
        ("/one", "abcde"),
        ("/two", "fgh"),
        ("/three", ""),
    ]


def test_a_large_body_passes_both_ways() -> None:
    async def mirror(request: Request) -> Response:
        return Response(200, {}, request.body)

    async def scenario() -> None:
        body = os.urandom(5_000_000)
        async with run_backend(mirror) as backend, run_before(backend.port) as agent:
            assert body_of(await exchange(agent.port, post("/", body))) == body

    asyncio.run(scenario())


def test_a_stream_arrives_piece_by_piece() -> None:
    async def scenario() -> None:
        second = asyncio.Event()

        async def events() -> AsyncIterator[bytes]:
            yield b"data: 1\n\n"
            await second.wait()
            yield b"data: 2\n\n"

        async def stream(_: Request) -> Response:
            return Response(200, {"Content-Type": "text/event-stream"}, stream=events())

        async with run_backend(stream) as backend, run_before(backend.port) as agent:
            reader, writer = await asyncio.open_connection("127.0.0.1", agent.port)
            writer.write(post("/stream", b"{}"))
            assert b"data: 1" in await asyncio.wait_for(reader.readuntil(b"1\n\n"), 60)
            second.set()
            assert b"data: 2" in await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 60)
            writer.close()
            await writer.wait_closed()

    asyncio.run(scenario())


def test_only_so_many_are_in_the_container_some_wait_and_others_are_refused() -> None:
    async def scenario() -> None:
        held = Held()
        limits = ("--container-concurrency", "2", "--queue-depth", "1")
        async with run_backend(held) as backend, run_before(backend.port, *limits) as agent:
            asking = [asyncio.create_task(exchange(agent.port, post(f"/{i}", b""))) for i in range(3)]
            await until(lambda: held.in_hand == 2)
            while (await agent.load())["in_hand"] < 3:
                pass
            refused = await exchange(agent.port, post("/more", b""))
            assert (status_of(refused), body_of(refused)) == (503, b"pending request queue full\n")
            held.go.set()
            assert [status_of(answer) for answer in await asyncio.gather(*asking)] == [200] * 3
            load = await agent.load()
        assert held.most == 2
        assert (load["requests"], load["in_hand"]) == (4, 0)
        assert load["busy_seconds"] > 0

    asyncio.run(scenario())


def test_who_goes_away_makes_room_and_the_container_hears_of_it() -> None:
    async def scenario() -> None:
        held = Held()
        async with (
            run_backend(held) as backend,
            run_before(backend.port, "--container-concurrency", "1") as agent,
        ):
            _, writer = await asyncio.open_connection("127.0.0.1", agent.port)
            writer.write(post("/first", b""))
            await until(lambda: held.in_hand == 1)
            waiting = asyncio.create_task(exchange(agent.port, post("/second", b"")))
            writer.close()
            await until(lambda: len(backend.asked) == 2)
            held.go.set()
            assert status_of(await waiting) == 200

    asyncio.run(scenario())


def test_what_takes_too_long_is_answered_with_504_and_a_container_that_is_not_there_with_502() -> None:
    async def scenario() -> None:
        held = Held()
        async with run_backend(held) as backend:
            async with run_before(backend.port, "--timeout", "0.01") as agent:
                late = await exchange(agent.port, post("/", b""))
        async with run_before(backend.port) as agent:
            nobody = await exchange(agent.port, post("/", b"{}"))
        assert (status_of(late), body_of(late)) == (504, b"request timeout\n")
        assert status_of(nobody) == 502

    asyncio.run(scenario())


def test_a_container_that_does_not_listen_yet_gets_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proa.ml.serving.agent.exchange.RESTART_SECONDS", 20.0)

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async def scenario() -> None:
        taken = socket.socket()
        taken.bind(("127.0.0.1", 0))
        async with run_before(taken.getsockname()[1]) as agent:
            waiting = asyncio.create_task(exchange(agent.port, post("/", b"")))
            while not (await agent.load())["in_hand"]:
                await asyncio.sleep(0.005)
            async with await asyncio.start_server(answer_once, sock=taken):
                assert status_of(await waiting) == 200

    asyncio.run(scenario())


def test_a_request_that_meets_a_closed_connection_is_sent_once_more() -> None:
    async def scenario() -> None:
        heads: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for turn in range(2):
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                if turn == 0:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            writer.close()  # the second request on a connection is never answered

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        probe = json.dumps({"tcpSocket": {"port": 1}})
        async with server, run_before(server.sockets[0].getsockname()[1], probe=probe) as agent:
            answers = [
                await exchange(agent.port, b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % i) for i in range(2)
            ]
        assert [status_of(answer) for answer in answers] == [200, 200]
        assert [head.split()[1] for head in heads] == [b"/0", b"/1", b"/1"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 431),
    ],
    ids=["no HTTP", "two lengths", "long head"],
)
def test_what_is_no_request_is_refused_and_reaches_nobody(sent: bytes, status: int) -> None:
    async def scenario() -> None:
        async with run_backend(echo) as backend, run_before(backend.port, probe='{"tcpSocket": {}}') as agent:
            assert status_of(await exchange(agent.port, sent, until_closed=True)) == status
            assert not backend.asked

    asyncio.run(scenario())


def test_another_protocol_passes_once_the_container_agrees() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Upgrade: websocket" in head
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello "
        )
        writer.write((await reader.readexactly(4)).upper())
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        probe = json.dumps({"tcpSocket": {"port": 1}})
        async with server, run_before(server.sockets[0].getsockname()[1], probe=probe) as agent:
            asked = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nping"
            answer = await exchange(agent.port, asked, until_closed=True)
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert body_of(answer) == b"hello PING"

    asyncio.run(scenario())


WISH = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"


def test_a_container_that_stays_with_http_is_not_sent_what_follows_a_wish_for_another_protocol() -> None:
    came: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.read(1 << 16))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
        came.append(await reader.read(1 << 16))
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        probe = json.dumps({"tcpSocket": {"port": 1}})
        async with server, run_before(server.sockets[0].getsockname()[1], probe=probe) as agent:
            hidden = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
            answer = await exchange(agent.port, WISH + b"\r\n" + hidden, until_closed=True)
            assert body_of(answer) == b"no"
        assert came[0].startswith(b"GET /ws ")
        assert b"hidden" not in b"".join(came)

    asyncio.run(scenario())


def test_what_is_no_body_does_not_leave_a_container_waiting_for_one() -> None:
    async def scenario() -> None:
        async with run_backend(echo) as backend, run_before(backend.port, probe='{"tcpSocket": {}}') as agent:
            long = WISH + b"Content-Length: 40\r\n\r\n"
            assert status_of(await exchange(agent.port, long, until_closed=True)) == 400
            connect = b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n"
            assert status_of(await exchange(agent.port, connect, until_closed=True)) == 400
            assert status_of(await exchange(agent.port, b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n")) == 201
            assert [request.path for request in backend.asked] == ["/next"]

    asyncio.run(scenario())


def test_the_container_is_asked_by_its_own_probe_until_it_is_ready() -> None:
    async def scenario() -> None:
        healthy = False

        async def answer(request: Request) -> Response:
            return Response(200 if healthy or request.path != "/up" else 500, {}, b"")

        probe = json.dumps({"httpGet": {"path": "/up", "port": "http"}})
        async with run_backend(answer) as backend, run_before(backend.port, probe=probe) as agent:
            asking = asyncio.create_task(agent.probe())
            await until(lambda: len(backend.asked) > 1)
            assert not asking.done()
            healthy = True
            assert (await asking).endswith(b"queue")
            healthy = False
            assert status_of(await agent.probe()) == 503
            assert (await agent.load())["requests"] == 0

    asyncio.run(scenario())


def test_told_to_stop_it_is_not_ready_answers_what_is_in_hand_and_who_waits_for_that_hears_of_it() -> None:
    async def scenario() -> None:
        held = Held()
        async with run_backend(held) as backend, run_before(backend.port) as agent:
            assert status_of(await agent.probe()) == 200
            asking = asyncio.create_task(exchange(agent.port, post("/last", b"")))
            await until(lambda: held.in_hand == 1)
            wait = b"GET /wait-for-drain HTTP/1.1\r\nHost: x\r\n\r\n"
            waiting = asyncio.create_task(exchange(agent.load_port, wait))
            agent.stop.set()
            assert status_of(await agent.probe()) == 503
            assert not waiting.done()
            held.go.set()
            assert b"Connection: close" in await asking
            assert status_of(await waiting) == 200
            await agent.task

    asyncio.run(scenario())


def test_predictions_of_several_requests_are_made_at_once() -> None:
    async def double(request: Request) -> Response:
        instances = orjson.loads(request.body)["instances"]
        return json_response({"predictions": [2 * one for one in instances]})

    async def scenario() -> tuple[list[bytes], Backend]:
        batching = ("--enable-batcher", "--max-batchsize", "3", "--max-latency", "60000")
        async with run_backend(double) as backend, run_before(backend.port, *batching) as agent:
            sent = [b'{"instances": [1]}', b'{"instances": [2, 3]}']
            answers = await asyncio.gather(*(exchange(agent.port, post(PREDICT, body)) for body in sent))
            answers.append(await exchange(agent.port, post(PREDICT, b'{"instances": []}')))
            answers.append(await exchange(agent.port, post("/v2/models/m/infer", b'{"instances": [4]}')))
        return answers, backend

    answers, backend = asyncio.run(scenario())
    asked = [(request.path, request.body) for request in backend.asked if request.method == "POST"]
    first, second = (orjson.loads(body_of(answer)) for answer in answers[:2])
    assert [first["predictions"], second["predictions"]] == [[2], [4, 6]]
    assert first["batchId"] == second["batchId"] != ""
    assert (status_of(answers[2]), body_of(answers[2])) == (400, b"no instances in the request\n")
    assert [path for path, _ in asked] == [PREDICT, "/v2/models/m/infer"]
    assert sorted(orjson.loads(asked[0][1])["instances"]) == [1, 2, 3]


def test_payloads_are_logged_with_the_requests_id() -> None:
    async def scenario() -> list[Request]:
        async def accept(_: Request) -> Response:
            return Response(202, {}, b"")

        async with run_backend(accept) as sink, run_backend(echo) as backend:
            told = (
                "--log-url",
                f"{sink.url}/events",
                "--inference-service",
                "digits",
                "--metadata-headers",
                "X-User",
            )
            async with run_before(backend.port, *told) as agent:
                headers = "ce-id: 42\r\nX-User: ann\r\nContent-Type: application/json\r\n"
                await exchange(agent.port, post(PREDICT, b'{"instances": [1]}', headers))
        return sink.asked

    # echo answers 201: only the body of a 200 is logged, as upstream does
    (event,) = asyncio.run(scenario())
    assert (event.path, event.body) == ("/events", b'{"instances": [1]}')
    assert event.headers["ce-id"] == "42"
    assert event.headers["ce-type"] == "org.kubeflow.serving.inference.request"
    assert event.headers["ce-inferenceservicename"] == "digits"
    assert json.loads(event.headers["ce-metadata"]) == {"X-User": ["ann"]}
