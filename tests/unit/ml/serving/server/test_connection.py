"""One connection without a socket: bytes in any pieces, answers ready in any order, clients that go."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from proa.ml.serving.server.connection import Connection
from proa.ml.serving.server.exchange import Exchange
from proa.ml.serving.server.http_server import HttpServer


class Wire(asyncio.Transport):
    """What a connection writes to."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.is_closed = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There are none."""

    def write(self, data) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return self.is_closed

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """It is asked no more than it takes."""

    def resume_reading(self) -> None:
        """Likewise."""

    def close(self) -> None:
        self.is_closed = True

    abort = close


def connect(handle) -> tuple[Connection, Wire]:
    connection, wire = Connection(HttpServer(handle, max_body_bytes=1000)), Wire()
    connection.connection_made(wire)
    return connection, wire


def make_request(body: bytes, is_chunked: bool) -> bytes:
    if not is_chunked:
        return b"POST /a HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:3], body[3:]) if part)
    return b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % chunks


def answered(wire: Wire) -> list[bytes]:
    """Return the bodies of all answers."""
    bodies, rest = [], wire.sent
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        bodies.append(rest[:length])
        rest = rest[length:]
    return bodies


requests = st.lists(st.tuples(st.binary(max_size=9), st.booleans()), min_size=1, max_size=6)


@given(requests, st.lists(st.integers(1, 40), max_size=20))
def test_requests_in_any_pieces_are_answered_as_they_came(asked, sizes):
    seen = []

    def echo(exchange: Exchange) -> None:
        seen.append(exchange.body)
        exchange.answer_json(exchange.body)

    connection, wire = connect(echo)
    left = b"".join(make_request(*one) for one in asked)
    for size in sizes:
        connection.data_received(left[:size])
        left = left[size:]
    connection.data_received(left)
    assert seen == answered(wire) == [body for body, _ in asked]
    assert connection.is_idle


@given(requests, st.randoms(use_true_random=False))
def test_answers_that_are_ready_in_any_order_go_out_in_that_of_the_requests(asked, random):
    waiting: list[Exchange] = []
    connection, wire = connect(waiting.append)
    connection.data_received(b"".join(make_request(*one) for one in asked))
    for exchange in random.sample(waiting, len(waiting)):
        exchange.answer_json(exchange.body)
    assert answered(wire) == [body for body, _ in asked]
    assert connection.is_idle


@given(requests, st.integers(0, 5))
def test_who_goes_away_ends_what_is_under_way_once(asked, answered_before):
    waiting: list[Exchange] = []
    ends: list[int] = []
    connection, _ = connect(waiting.append)
    connection.data_received(b"".join(make_request(*one) for one in asked))
    for number, exchange in enumerate(waiting):
        exchange.on_end = lambda number=number: ends.append(number)
    for exchange in waiting[:answered_before]:
        exchange.answer_json(b"")
    connection.connection_lost(None)
    for exchange in waiting:
        exchange.answer(200, b"")
    assert sorted(ends) == [*range(len(asked))]


@given(st.binary(max_size=300))
def test_any_bytes_are_taken_or_refused_and_nothing_fails(data):
    connection, wire = connect(lambda exchange: exchange.answer_json(b"{}"))
    connection.data_received(data)
    connection.data_received(b"\r\n\r\n")
    assert wire.sent[:9] in (b"", b"HTTP/1.1 ")
    connection.connection_lost(None)
