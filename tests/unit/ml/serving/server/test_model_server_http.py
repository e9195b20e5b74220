"""The model server's HTTP: pipelining, chunks, limits, slow and rude clients."""

import asyncio

import orjson
import pytest

from proa.ml.serving.server import connection as connections
from support.model_server import Doubler, Running, serve

PREDICT = "/v1/models/m:predict"
BODY = b'{"instances":[[1]]}'
HEAD = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\n"


def test_pipelined_requests_are_answered_in_order_whatever_takes_longest():
    async def body(running: Running) -> None:
        client = await running.connect()
        for number in range(100):
            if number % 3:
                client.send("POST", PREDICT, {"instances": [[number]]})
            else:
                client.send("GET", "/v2/health/live")
        for number in range(100):
            answer = await client.answer()
            expected = {"predictions": [[2 * number]]} if number % 3 else {"live": True}
            assert (answer.status, answer.json) == (200, expected)

    serve(body, Doubler(seconds=0.002))


def test_a_body_in_chunks_and_one_that_comes_byte_by_byte_are_whole():
    async def body(running: Running) -> None:
        client = await running.connect()
        chunks = b"".join(b"%x\r\n%b\r\n" % (1, BODY[n : n + 1]) for n in range(len(BODY)))
        client.writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
        assert (await client.answer()).json == {"predictions": [[2]]}
        for byte in HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY:
            client.writer.write(bytes([byte]))
            await client.writer.drain()
        assert (await client.answer()).json == {"predictions": [[2]]}

    serve(body, Doubler())


def test_who_expects_100_is_told_to_go_on():
    async def body(running: Running) -> None:
        client = await running.connect()
        client.writer.write(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY))
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.writer.write(BODY)
        assert (await client.answer()).status == 200

    serve(body, Doubler())


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"\0\1\2 nonsense\r\n\r\n", 400, "malformed HTTP"),
        (HEAD + b"Content-Length: 5000\r\n\r\n", 413, "limit is 1000"),
        (HEAD + b"Expect: 100-continue\r\nContent-Length: 5000\r\n\r\n", 413, "limit is 1000"),
        (
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\nx\r\n",
            413,
            "limit is",
        ),
        (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400, "malformed HTTP"),
        (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "malformed HTTP"),
        (HEAD + b"A: " + b"b" * 70_000 + b"\r\n\r\n", 431, "request header too large"),
        (HEAD + b"A: " + b"b" * 70_000, 431, "request header too large"),
        (HEAD + b"A: b\r\n" * 201 + b"\r\n", 431, "request header too large"),
        (b"GET /" + b"a" * 70_000, 431, "request header too large"),
    ],
)
def test_what_is_too_much_or_no_request_is_refused_once_and_the_connection_ends(data, status, words):
    async def body(running: Running) -> None:
        client = await running.connect()
        client.writer.write(data)
        answer = await client.answer()
        assert answer.status == status
        assert words in answer.json["error"]
        assert await client.reader.read() == b""
        assert (await running.ask("POST", PREDICT, BODY)).status == 200

    serve(body, Doubler(), max_body_bytes=1000)


def test_old_clients_and_those_who_say_close_are_answered_and_left():
    async def body(running: Running) -> None:
        for head in (b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                     b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"):  # fmt: skip
            client = await running.connect()
            client.writer.write(head)
            answer = await client.answer()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert await client.reader.read() == b""
            client.writer.close()
        client = await running.connect()
        client.writer.write(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"Content-Length: 18\r\n\r\n" in await client.reader.readuntil(b"\r\n\r\n")
        assert (await client.answer()).json == {"status": "alive"}

    serve(body, Doubler())


def test_slow_clients_are_cut_and_idle_ones_let_go(monkeypatch):
    monkeypatch.setattr(connections, "READ_SECONDS", 0.1)

    async def body(running: Running) -> None:
        slow, idle = await running.connect(), await running.connect()
        await idle.ask("GET", "/")
        slow.writer.write(HEAD + b"Content-Length: 10\r\n\r\n12")
        answer = await slow.answer()
        assert (answer.status, answer.json) == (408, {"error": "the request has not come whole in time"})
        assert await slow.reader.read() == b""
        assert await idle.reader.read() == b""

    serve(body, Doubler(), keep_alive_seconds=0.1)


def test_who_reads_nothing_is_not_read_either_and_goes_on_when_it_reads():
    async def body(running: Running) -> None:
        client = await running.connect()
        client.writer.transport.pause_reading()
        text = "a" * 100_000
        sent = orjson.dumps({"instances": [text]})
        for _ in range(200):
            client.send("POST", PREDICT, sent)
        await asyncio.sleep(0.3)
        assert running.server.load.requests < 150
        client.writer.transport.resume_reading()
        for _ in range(200):
            assert (await client.answer()).json == {"predictions": [text]}

    serve(body, Doubler())


def test_bodies_of_all_together_are_bounded_and_what_was_held_is_let_go():
    async def body(running: Running) -> None:
        http = running.server.http
        http.max_held_bytes = 2500
        parts = HEAD + b"Content-Length: 900\r\n\r\n" + b"x" * 899
        clients = [await running.connect() for _ in range(3)]
        for client in clients:
            client.writer.write(parts)
        async with asyncio.timeout(60):
            while len({client for client in clients if client.reader.at_eof() or client.reader._buffer}) < 1:
                await asyncio.sleep(0.01)
        [refused] = [client for client in clients if client.reader._buffer]
        assert (await refused.answer()).status == 503
        for client in clients:
            client.writer.close()
        async with asyncio.timeout(60):
            while http.held_bytes:
                await asyncio.sleep(0.01)
        assert (await running.ask("POST", PREDICT, BODY)).status == 200
        assert http.held_bytes == 0

    serve(body, Doubler(), max_body_bytes=1000)
