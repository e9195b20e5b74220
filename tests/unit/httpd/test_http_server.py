"""What happens on the wire: order, sizes, slow and rude clients, streams, upgrades, TLS."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gzip
import socket
import ssl
import time
from collections.abc import AsyncIterator

import pytest

from proa.apiserver.pki import ensure_pki
from proa.client.protocol import Request, Response
from proa.httpd import connection as http_connection
from proa.httpd import server as http_server
from proa.httpd.server import HttpServer, make_server_context
from support.virtual_time import run_unhurried


async def echo(request: Request) -> Response:
    """Answer what was asked, later for `/slow`."""
    if request.path == "/slow":
        await asyncio.sleep(0.02)
    said = f"{request.method} {request.path} {len(request.body)} {request.user.name if request.user else '-'}"
    return Response(200, {"X-Query": str(request.query)}, said.encode())


@contextlib.asynccontextmanager
async def serving(handler=echo, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve on a loopback port."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = HttpServer(handler, context)
    await server.serve(listener)
    try:
        yield port
    finally:
        await server.close()


async def exchange(port: int, *parts: bytes, until: bytes = b"") -> bytes:
    """Send, and return all that comes until the server closes (or `until` has come)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
    received = b""
    while not until or until not in received:
        data = await reader.read(65536)
        if not data:
            break
        received += data
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return received


class Time:
    """The loop's own time (`run_unhurried`), so that a busy machine cuts off nobody."""

    strftime, gmtime = time.strftime, time.gmtime

    @staticmethod
    def monotonic() -> float:
        return asyncio.get_running_loop().time()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    for module in (http_connection, http_server):
        monkeypatch.setattr(module, "time", Time)
    monkeypatch.setattr(http_connection, "LINGER_SECONDS", 0.05)
    monkeypatch.setattr(http_server, "SWEEP_SECONDS", 0.02)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return ensure_pki(tmp_path_factory.mktemp("pki"), ["127.0.0.1"], datetime.datetime.now(datetime.UTC))


def run(scenario) -> None:
    async def bounded():
        async with asyncio.timeout(60):
            await scenario()

    run_unhurried(bounded())


def test_pipelined_requests_are_answered_in_order():
    async def scenario():
        async with serving() as port:
            asked = [b"GET /slow HTTP/1.1\r\n\r\n", b"GET /1 HTTP/1.1\r\n\r\n", b"GET /slow HTTP/1.1\r\n\r\n"]
            last = b"GET /2 HTTP/1.1\r\nConnection: close\r\n\r\n"
            received = await exchange(port, b"".join(asked) * 10 + last)
            bodies = [line for line in received.split(b"\r\n") if line.startswith(b"GET ")]
            paths = [b"/slow", b"/1", b"/slow"] * 10 + [b"/2"]
            assert b"".join(bodies).count(b"GET ") == 31
            joined = received.replace(b"HTTP/1.1 200", b"\nHTTP/1.1 200")
            found = [part.rpartition(b"GET ")[2].split()[0] for part in joined.split(b"\nHTTP")[1:]]
            assert found == paths

    run(scenario)


def test_a_chunked_body_is_put_together():
    async def scenario():
        async with serving() as port:
            head = b"POST /x?a=1&a=2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            received = await exchange(port, head, b"3\r\nabc\r\n", b"4\r\ndefg\r\n0\r\n\r\n")
            assert received.endswith(b"POST /x 7 -")
            assert b"X-Query: {'a': ['1', '2']}" in received

    run(scenario)


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_a_body_over_three_megabytes_is_refused(chunked):
    async def scenario():
        async with serving() as port:
            size = http_connection.MAX_BODY_BYTES + 1
            if chunked:
                head = b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
                body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, bytes(size))
            else:
                head = b"POST /x HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size
                body = b"some of it"
            received = await exchange(port, head, body)
            assert received.startswith(b"HTTP/1.1 413 ")
            assert b"Request entity too large: limit is 3145728" in received

    run(scenario)


def test_the_connection_goes_on_after_a_body_that_came_in_large_pieces():
    async def scenario():
        async with serving() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(2):
                writer.write(b"POST /c HTTP/1.1\r\nContent-Length: 400000\r\n\r\n")
                for piece in (b"x" * 200_000, b"x" * 200_000):
                    await asyncio.sleep(0)
                    writer.write(piece)
                    await writer.drain()
                assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(len("POST /c 400000 -")) == b"POST /c 400000 -"
            writer.write(b"GET /last HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert b"GET /last 0 -" in await reader.read()
            writer.close()
            await writer.wait_closed()

    run(scenario)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000, b"431"),
        (b"NONSENSE\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
    ],
    ids=["long-header", "many-headers", "no-http", "length", "two-lengths"],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(sent, status):
    async def scenario():
        async with serving() as port:
            assert (await exchange(port, sent)).startswith(b"HTTP/1.1 " + status)

    run(scenario)


def test_a_client_that_waits_for_100_continue_gets_it():
    async def scenario():
        async with serving() as port:
            head = (
                b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
            )
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head)
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"ok")
            assert (await reader.read()).endswith(b"POST / 2 -")
            writer.close()

    run(scenario)


def test_a_sender_that_takes_too_long_is_cut_off(monkeypatch):
    monkeypatch.setattr(http_connection, "READ_SECONDS", 0.05)

    async def scenario():
        async with serving() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\nonly this")
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()

    run(scenario)


def test_an_idle_connection_is_closed_in_time(monkeypatch):
    monkeypatch.setattr(http_connection, "IDLE_SECONDS", 0.05)

    async def scenario():
        async with serving() as port:
            received = b""
            with contextlib.suppress(ConnectionError):
                received = await exchange(port, b"GET /a HTTP/1.1\r\n\r\n")
            assert b"GET /a" in received or received == b""

    run(scenario)


def test_a_reader_that_stalls_holds_the_stream_back_and_is_cut_off(monkeypatch):
    monkeypatch.setattr(http_connection, "STALL_SECONDS", 0.1)
    produced = 0
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        nonlocal produced
        try:
            while True:
                produced += 1
                yield bytes(100_000)
        finally:
            ended.set()

    async def handler(request: Request) -> Response:
        return Response(200, {}, stream=endless())

    async def scenario():
        async with serving(handler) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await ended.wait()
            assert produced < 200, "a few megabytes at most were made for nobody"
            writer.close()

    run(scenario)


def test_a_stream_is_chunked_and_the_connection_goes_on_after_it():
    async def three() -> AsyncIterator[bytes]:
        for part in (b"one\n", b"two\n", b""):
            yield part

    async def handler(request: Request) -> Response:
        return Response(200, {}, stream=three()) if request.path == "/s" else await echo(request)

    async def scenario():
        async with serving(handler) as port:
            received = await exchange(
                port, b"GET /s HTTP/1.1\r\n\r\nGET /after HTTP/1.1\r\nConnection: close\r\n\r\n"
            )
            assert (
                b"Transfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n4\r\ntwo\n\r\n0\r\n\r\nHTTP/1.1 200"
                in received
            )
            assert received.endswith(b"GET /after 0 -")

    run(scenario)


def test_a_stream_that_fails_is_cut_so_that_nobody_takes_it_for_whole(caplog):
    async def failing() -> AsyncIterator[bytes]:
        yield b"one"
        raise RuntimeError("no more")

    async def handler(request: Request) -> Response:
        return Response(200, {}, stream=failing())

    async def scenario():
        async with serving(handler) as port:
            received = b""
            with contextlib.suppress(ConnectionError):
                received = await exchange(port, b"GET / HTTP/1.1\r\n\r\n")
            assert not received.endswith(b"0\r\n\r\n")

    run(scenario)
    assert "no more" in caplog.text


def test_a_stream_ends_when_its_client_goes():
    ended = asyncio.Event()

    async def waiting() -> AsyncIterator[bytes]:
        try:
            yield b"hello"
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def handler(request: Request) -> Response:
        return Response(200, {}, stream=waiting())

    async def scenario():
        async with serving(handler) as port:
            await exchange(port, b"GET / HTTP/1.1\r\n\r\n", until=b"hello")
            await ended.wait()

    run(scenario)


def test_a_list_in_pieces_has_one_length():
    async def handler(request: Request) -> Response:
        return Response(200, {}, [b"[", *[b"x" * 1000] * 1000, b"]"])

    async def scenario():
        async with serving(handler) as port:
            received = await exchange(port, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
            head, _, body = received.partition(b"\r\n\r\n")
            assert b"Content-Length: 1000002" in head
            assert len(body) == 1_000_002

    run(scenario)


def test_a_warning_may_have_any_text():
    async def warn(request: Request) -> Response:
        return Response(201, {"Warning": '299 - "unknown field \u20ac"'}, b"")

    async def run():
        async with serving(warn) as port:
            answer = await exchange(port, b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 201 ")
            assert 'unknown field \u20ac"'.encode() in answer

    asyncio.run(run())


def test_several_warnings_are_several_lines():
    async def handler(request: Request) -> Response:
        return Response(200, {"Warning": '299 - "a"\n299 - "b"'}, b"")

    async def scenario():
        async with serving(handler) as port:
            received = await exchange(port, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert b'Warning: 299 - "a"\r\nWarning: 299 - "b"\r\n' in received

    run(scenario)


class TestUpgrades:
    HEAD = b"POST /exec HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n"

    def test_the_connection_is_handed_over_with_what_came_early(self):
        async def reverse(connection) -> None:
            while data := await connection.read():
                await connection.write(data[::-1])

        async def handler(request: Request) -> Response:
            headers = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}
            return Response(101, headers, upgrade=reverse)

        async def scenario():
            async with serving(handler) as port:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(self.HEAD + b"abc")
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
                assert b"Content-Length" not in head
                assert await reader.readexactly(3) == b"cba"
                writer.write(b"xyz")
                assert await reader.readexactly(3) == b"zyx"
                writer.write_eof()
                assert await reader.read() == b""
                writer.close()

        run(scenario)

    def test_one_that_is_refused_gets_a_plain_answer(self):
        async def scenario():
            async with serving() as port:
                received = await exchange(port, self.HEAD)
                assert received.startswith(b"HTTP/1.1 200 OK\r\n")
                assert received.endswith(b"POST /exec 0 -")

        run(scenario)


class TestTls:
    @pytest.mark.parametrize("shows_certificate", [True, False])
    def test_a_client_certificate_names_the_user(self, pki, shows_certificate):
        server = make_server_context(
            str(pki.server.certificate), str(pki.server.key), str(pki.authority.certificate)
        )
        client = ssl.create_default_context(cafile=str(pki.authority.certificate))
        client.set_alpn_protocols(["h2", "http/1.1"])
        if shows_certificate:
            client.load_cert_chain(pki.admin.certificate, pki.admin.key)

        async def scenario():
            async with serving(context=server) as port:
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
                writer.write(b"GET /who HTTP/1.1\r\nConnection: close\r\n\r\n")
                received = await reader.read()
                name = b"kubernetes-admin" if shows_certificate else b"-"
                assert received.endswith(b"GET /who 0 " + name)
                assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
                writer.close()
                await writer.wait_closed()

        run(scenario)


def test_closing_lets_the_answer_under_way_out():
    started, may_end = asyncio.Event(), asyncio.Event()

    async def handler(request: Request) -> Response:
        started.set()
        await may_end.wait()
        return Response(200, {}, b"done")

    async def scenario():
        listener = socket.create_server(("127.0.0.1", 0))
        server = HttpServer(handler)
        await server.serve(listener)
        answer = asyncio.create_task(exchange(listener.getsockname()[1], b"GET / HTTP/1.1\r\n\r\n"))
        await started.wait()
        closing = asyncio.create_task(server.close())
        await asyncio.sleep(0)
        may_end.set()
        await closing
        assert (await answer).endswith(b"done")
        assert not server.connections

    run(scenario)


def test_a_request_does_not_go_on_for_ever_behind_its_body():
    """A trailer is no body and no head: who is not known yet could fill the memory with one."""

    async def scenario():
        head = b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: "
        async with serving() as port:
            answer = await exchange(port, head, *[b"e" * 65536] * 20)
            assert answer.startswith(b"HTTP/1.1 431 ")

    run(scenario)


@pytest.mark.parametrize(
    ("accepted", "size", "is_compressed"),
    [
        ("gzip, deflate", 200_000, True),
        ("gzip", 100_000, False),
        ("br", 200_000, False),
        ("", 200_000, False),
    ],
)
@pytest.mark.parametrize("pieces", [1, 4])
def test_long_answers_are_compressed_for_those_who_accept_it(accepted, size, is_compressed, pieces):
    whole = bytes(range(250)) * (size // 250)
    part = len(whole) // pieces

    async def answer(request: Request) -> Response:
        parts = [whole[start : start + part] for start in range(0, len(whole), part)]
        return Response(200, {"Vary": "Accept"}, parts if pieces > 1 else whole)

    async def scenario():
        async with serving(answer) as port:
            head = f"GET / HTTP/1.1\r\nAccept-Encoding: {accepted}\r\nConnection: close\r\n\r\n"
            head, _, body = (await exchange(port, head.encode())).partition(b"\r\n\r\n")
            assert (b"Content-Encoding: gzip" in head) == is_compressed
            assert (b"Vary: Accept, Accept-Encoding" in head) == is_compressed
            assert f"Content-Length: {len(body)}".encode() in head
            assert (gzip.decompress(body) if is_compressed else body) == whole

    run(scenario)


def test_a_server_with_a_limit_cuts_the_connection_that_is_one_too_many():
    async def scenario():
        listener = socket.create_server(("127.0.0.1", 0))
        server = HttpServer(echo, max_connections=1)
        await server.serve(listener)
        port = listener.getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /first HTTP/1.1\r\n")
        await writer.drain()
        reader, second = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        second.close()
        writer.close()
        await server.close()

    run(scenario)


def test_bodies_that_are_not_answered_yet_are_held_within_a_limit():
    async def scenario():
        listener = socket.create_server(("127.0.0.1", 0))
        server = HttpServer(echo, max_held_bytes=1000)
        await server.serve(listener)
        port = listener.getsockname()[1]
        head = b"POST /a HTTP/1.1\r\nContent-Length: 600\r\nConnection: close\r\n\r\n"
        for _ in range(3):  # what is answered counts no more
            assert (await exchange(port, head + b"x" * 600)).startswith(b"HTTP/1.1 200")
        _, slow = await asyncio.open_connection("127.0.0.1", port)
        slow.write(head + b"x" * 500)
        while server.held_bytes < 500:
            await asyncio.sleep(0)
        assert (await exchange(port, head + b"x" * 600)).startswith(b"HTTP/1.1 503")
        slow.close()
        while server.held_bytes:
            await asyncio.sleep(0)
        assert (await exchange(port, head + b"x" * 600)).startswith(b"HTTP/1.1 200")
        await server.close()

    run(scenario)
