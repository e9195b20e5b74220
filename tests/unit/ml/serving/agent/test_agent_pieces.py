"""However a client's bytes, and the container's, are cut into pieces: each hears what the other said, and no more."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httptools
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.ml.serving.agent.client_connection import ClientConnection
from proa.ml.serving.agent.gate import Full, Gate
from proa.ml.serving.agent.proxy import Proxy
from proa.ml.serving.agent.readiness import Readiness
from proa.ml.serving.agent.settings import read_settings
from proa.ml.serving.wire.http1_client import ClientConnection as Upstream


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.sent = b""
        self.is_cut = False

    def write(self, data: bytes) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return self.is_cut

    def close(self) -> None:
        self.is_cut = True

    abort = close

    def set_write_buffer_limits(self, **_: int) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Container:
    """Answers each whole request that reaches it with its body, in pieces."""

    def __init__(self, is_chunked: bool) -> None:
        self.bodies: list[bytes] = []
        self.answers: list[bytes] = []
        self._is_chunked = is_chunked
        self._body = b""
        self._parser = httptools.HttpRequestParser(self)

    def take(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        self.bodies.append(body)
        head = b"HTTP/1.1 200 OK\r\nX-Number: %d\r\n" % len(self.bodies)
        if self._is_chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            self.answers.append(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n")
        else:
            self.answers.append(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))


class Answers:
    """Reads what the client got."""

    def __init__(self, data: bytes) -> None:
        self.bodies: list[bytes] = []
        parser = httptools.HttpResponseParser(self)
        self._body = b""
        parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.bodies.append(self._body)
        self._body = b""


def make_request(body: bytes, is_chunked: bool) -> bytes:
    if not is_chunked:
        return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    half = len(body) // 2
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part]
    return (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(chunks) + b"0\r\n\r\n"
    )


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False) if end > start]


BODIES = st.lists(st.tuples(st.binary(max_size=40), st.booleans()), min_size=1, max_size=5)
PLACES = st.lists(st.integers(0, 2000), max_size=8)


@settings(max_examples=150, deadline=None)
@given(BODIES, PLACES, PLACES, st.booleans())
def test_each_hears_what_the_other_said(
    requests: list[tuple[bytes, bool]], places: list[int], back: list[int], is_chunked: bool
) -> None:
    async def scenario() -> None:
        proxy = Proxy(read_settings([], {}), Readiness(1, None), None)
        client, upstream = Wire(), Wire()
        connection, container = Upstream(), Container(is_chunked)
        connection.connection_made(cast(Any, upstream))
        connection.is_reusable = True
        proxy.pool.give_back(connection)
        serving = ClientConnection(proxy)
        serving.connection_made(cast(Any, client))
        taken = answered = 0
        for piece in cut(b"".join(make_request(*one) for one in requests), places):
            serving.data_received(piece)
            while taken < len(upstream.sent) or answered < len(container.answers):
                data, taken = upstream.sent[taken:], len(upstream.sent)
                container.take(data)
                for answer in container.answers[answered:]:
                    answered += 1
                    for part in cut(answer, back):
                        connection.data_received(part)
        wanted = [body for body, _ in requests]
        assert container.bodies == wanted
        assert Answers(client.sent).bodies == wanted
        assert proxy.load.read()[3:] == (len(requests), 0)
        serving.connection_lost(None)
        assert not proxy.connections

    asyncio.run(scenario())


class Entrant:
    def __init__(self, inside: list[Entrant]) -> None:
        self.is_over = False
        self._inside = inside

    def enter(self) -> None:
        self._inside.append(self)


@given(
    st.integers(1, 3), st.integers(0, 3), st.lists(st.sampled_from(["ask", "leave", "give up"]), max_size=40)
)
def test_no_more_are_inside_or_wait_than_may_and_nobody_who_waits_is_forgotten(
    limit: int, depth: int, moves: list[str]
) -> None:
    inside: list[Entrant] = []
    waiting: list[Entrant] = []
    gate = Gate(limit, depth)
    for move in moves:
        before = len(inside)
        if move == "ask":
            entrant = Entrant(inside)
            try:
                gate.ask(entrant)
            except Full:
                assert len(waiting) == depth
                continue
            if len(inside) == before:
                waiting.append(entrant)
        elif move == "leave" and inside:
            inside.pop(0)
            gate.leave()
        elif waiting:
            waiting.pop(0).is_over = True
        waiting = [one for one in waiting if one not in inside]
        assert len(inside) <= limit
        assert len(waiting) <= depth
        assert not waiting or len(inside) == limit
