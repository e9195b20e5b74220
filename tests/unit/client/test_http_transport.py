from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from proa.client.http import HttpTransport, silence_of
from proa.client.protocol import Request, Response
from proa.objects.errors import ServiceUnavailable, Timeout

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """Answers each request on loopback with the next of its scripted chunks; None closes the connection."""

    def __init__(self, *answers: list[bytes | None]) -> None:
        self.answers = [*answers]
        self.requests: list[bytes] = []
        self.connections = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(x.split(b":")[1]) for x in head.split(b"\r\n") if x.startswith(b"content-length")), 0
                )
                self.requests.append(head + await reader.readexactly(length))
                for chunk in self.answers.pop(0):
                    if chunk is None:
                        return
                    writer.write(chunk)
                    await writer.drain()
                    await asyncio.sleep(0)
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


def talk(server: Server, scenario: Callable[[HttpTransport], Awaitable[None]]) -> None:
    async def main() -> None:
        listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        transport = HttpTransport(f"http://127.0.0.1:{port}/base/", token="secret")
        try:
            async with asyncio.timeout(60):
                await scenario(transport)
        finally:
            await transport.close()
            listening.close()
            await listening.wait_closed()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.wait_for(asyncio.gather(*others), 60)

    asyncio.run(main())


async def body_of(response: Response) -> bytes:
    if response.stream is None:
        assert isinstance(response.body, bytes)
        return response.body
    return b"".join([chunk async for chunk in response.stream])


def test_a_request_is_written_and_its_answer_read():
    server = Server([b"HTTP/1.1 201 Created\r\nX-One: 1\r\nContent-Length: 5\r\n\r\nhel", b"lo"])

    async def scenario(transport: HttpTransport) -> None:
        request = Request("POST", "/api/v1/a b", {"x": ["1", "2 3"]}, {"content-type": "text/plain"}, b"body")
        response = await transport.send(request)
        assert (response.status, response.headers["x-one"], response.body) == (201, "1", b"hello")

    talk(server, scenario)
    lines = server.requests[0].split(b"\r\n")
    assert lines[0] == b"POST /base/api/v1/a%20b?x=1&x=2+3 HTTP/1.1"
    assert {b"content-type: text/plain", b"content-length: 4", b"authorization: Bearer secret"} <= set(lines)
    assert lines[-1] == b"body"


def test_a_connection_is_used_again():
    server = Server([OK], [OK], [OK])

    async def scenario(transport: HttpTransport) -> None:
        for _ in range(3):
            assert (await transport.send(Request("GET", "/"))).body == b"{}"

    talk(server, scenario)
    assert server.connections == 1


@pytest.mark.parametrize(
    "closing",
    [
        [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", None],
        [b"HTTP/1.1 200 OK\r\n\r\n{}", None],
        [OK, None],
    ],
    ids=["announced", "unframed", "silent"],
)
def test_a_connection_that_the_server_closed_is_not_used_again(closing):
    server = Server(closing, [OK])

    async def scenario(transport: HttpTransport) -> None:
        for _ in range(2):
            assert await body_of(await transport.send(Request("GET", "/"))) == b"{}"

    talk(server, scenario)
    assert server.connections == 2


def test_a_read_is_sent_again_when_the_pooled_connection_turns_out_dead_and_a_write_is_not():
    server = Server([OK], [None], [OK], [None])

    async def scenario(transport: HttpTransport) -> None:
        for _ in range(2):
            await transport.send(Request("GET", "/"))
        with pytest.raises(ServiceUnavailable):
            await transport.send(Request("POST", "/", body=b"{}"))

    talk(server, scenario)
    assert len(server.requests) == 4


def test_a_chunked_answer_is_a_stream_and_its_connection_comes_back():
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server = Server([head, b"3\r\none\r\n", b"3\r\ntw", b"o\r\n", b"0\r\n\r\n"], [OK])

    async def scenario(transport: HttpTransport) -> None:
        response = await transport.send(Request("GET", "/"))
        assert response.stream is not None
        assert await body_of(response) == b"onetwo"
        await transport.send(Request("GET", "/"))

    talk(server, scenario)
    assert server.connections == 1


def test_a_stream_that_is_left_early_closes_its_connection():
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server = Server([head, b"3\r\none\r\n"], [OK])

    async def scenario(transport: HttpTransport) -> None:
        response = await transport.send(Request("GET", "/"))
        assert response.stream is not None
        async for piece in response.stream:
            assert piece == b"one"
            break
        await response.stream.aclose()  # type: ignore[attr-defined]
        assert (await transport.send(Request("GET", "/"))).status == 200

    talk(server, scenario)
    assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        [None],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", None],
        [b"HTTP/1.1 200 OK\r\nX: ", None],
        [b"no http at all\r\n\r\n"],
    ],
    ids=["nothing", "half a body", "half a head", "nonsense"],
)
def test_an_answer_that_breaks_off_is_an_error(answer):
    async def scenario(transport: HttpTransport) -> None:
        with pytest.raises(ServiceUnavailable):
            await transport.send(Request("GET", "/"))

    talk(Server(answer), scenario)


def test_a_stream_that_breaks_off_is_an_error():
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n"

    async def scenario(transport: HttpTransport) -> None:
        response = await transport.send(Request("GET", "/"))
        with pytest.raises(ServiceUnavailable, match="broke"):
            await body_of(response)

    talk(Server([head, None]), scenario)


def test_interim_answers_are_passed_over():
    server = Server([b"HTTP/1.1 100 Continue\r\n\r\n" + OK])

    async def scenario(transport: HttpTransport) -> None:
        assert (await transport.send(Request("POST", "/", body=b"{}"))).status == 200

    talk(server, scenario)


def test_requests_at_once_each_have_a_connection():
    server = Server([OK], [OK], [OK])

    async def scenario(transport: HttpTransport) -> None:
        await asyncio.gather(*(transport.send(Request("GET", "/")) for _ in range(3)))

    talk(server, scenario)
    assert server.connections == 3


def test_a_server_that_is_not_there_is_unavailable():
    async def main() -> None:
        transport = HttpTransport("http://127.0.0.1:1")
        with pytest.raises(ServiceUnavailable, match=r"cannot connect to http://127\.0\.0\.1:1"):
            await transport.send(Request("GET", "/"))
        await transport.close()
        with pytest.raises(ServiceUnavailable, match="the client is closed"):
            await transport.send(Request("GET", "/"))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("request_", "seconds"),
    [
        pytest.param(Request("GET", "/", {"watch": ["true"], "timeoutSeconds": ["300"]}), 330, id="watch"),
        pytest.param(Request("GET", "/", {"watch": ["true"]}), None, id="endless-watch"),
        pytest.param(Request("GET", "/log", {"follow": ["true"]}), None, id="log"),
        pytest.param(Request("GET", "/"), 60, id="list"),
        pytest.param(Request("POST", "/v3/watch"), None, id="not-ours"),
    ],
)
def test_how_long_a_server_may_be_silent(request_, seconds):
    assert silence_of(request_) == seconds


def test_a_watch_that_died_unseen_ends(monkeypatch):
    monkeypatch.setattr("proa.client.http.WATCH_GRACE_SECONDS", 0.05)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server = Server([head, b"3\r\none\r\n"])

    async def scenario(transport: HttpTransport) -> None:
        query = {"watch": ["true"], "timeoutSeconds": ["0"]}
        response = await transport.send(Request("GET", "/", query))
        with pytest.raises(Timeout, match="has said nothing for 0 s"):
            await body_of(response)

    talk(server, scenario)


def test_so_many_requests_are_under_way_at_once_and_the_others_wait(monkeypatch):
    monkeypatch.setattr("proa.client.http.REQUESTS_AT_ONCE", 2)
    server = Server(*[[OK]] * 6)

    async def scenario(transport: HttpTransport) -> None:
        answers = await asyncio.gather(*(transport.send(Request("GET", "/")) for _ in range(6)))
        assert [answer.body for answer in answers] == [b"{}"] * 6

    talk(server, scenario)
    assert server.connections == 2


def test_a_token_may_change():
    server = Server([OK], [OK])
    tokens = ["one", "two"]

    async def scenario(transport: HttpTransport) -> None:
        transport._token = lambda: tokens.pop(0)
        await transport.send(Request("GET", "/"))
        await transport.send(Request("GET", "/"))

    talk(server, scenario)
    assert [b"Bearer one" in server.requests[0], b"Bearer two" in server.requests[1]] == [True, True]


def test_with_other_settings_connections_made_before_are_used_no_more():
    """A renewed certificate counts from the next request on."""

    async def scenario(transport: HttpTransport) -> None:
        for _ in range(2):
            await body_of(await transport.send(Request("GET", "/a")))
        assert server.connections == 1
        transport.use(None)  # type: ignore[arg-type]
        await body_of(await transport.send(Request("GET", "/b")))
        assert server.connections == 2

    server = Server([OK], [OK], [OK])
    talk(server, scenario)
