"""Whatever a client sends, it is answered or cut, and nothing is kept of it afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import repeat
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.ml.serving.activator import client_connection
from proa.ml.serving.activator.activator import Activator
from proa.ml.serving.activator.client_connection import ClientConnection
from proa.ml.serving.activator.http2_frames import PREFACE, Malformed, make_frame, read_headers, take_frame
from proa.ml.serving.records import Backends
from proa.ml.serving.settings import dial_directly
from support.activated import HEADERS, KEY

BLOCK = b"\x82\x86\x84"  # :method GET, :scheme http, :path /
FRAMES = st.builds(
    make_frame,
    st.integers(0, 12),
    st.integers(0, 255),
    st.integers(0, 9),
    st.one_of(st.binary(max_size=64), st.just(BLOCK)),
)
LINES = st.sampled_from(
    [
        "GET / HTTP/1.1\r\n",
        "POST / HTTP/1.0\r\n",
        HEADERS,
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\n",
        "Expect: 100-continue\r\n",
        "\r\n",
        "5\r\nabcde\r\n",
        "0\r\n\r\n",
        "zzz",
    ]
)


class Transport:
    """Takes what is written, until it is closed."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False
        self.is_read = True
        self.unread: Iterator[int] = repeat(0)
        """How much is not taken yet, each time that it is asked."""

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def get_write_buffer_size(self) -> int:
        return next(self.unread)

    def set_write_buffer_limits(self, high: int) -> None: ...


def feed(pieces: list[bytes]) -> Transport:
    """Send an activator these pieces, and go away; nothing may be left of it."""

    async def within() -> Transport:
        activator, transport = Activator(dial_directly), Transport()
        activator.update(KEY, Backends((), 0, 20.0))
        connection = ClientConnection(activator)
        connection.connection_made(cast(Any, transport))
        for piece in pieces:
            if not transport.is_closed:
                connection.data_received(piece)
        connection.connection_lost(None)
        assert activator.shares.kept_bytes == 0
        load = activator.load(KEY)
        assert load is not None
        assert load.in_hand == 0
        await activator.close()
        return transport

    return asyncio.run(within())


@settings(max_examples=60)
@given(st.lists(st.one_of(FRAMES, st.binary(max_size=40)), max_size=8))
def test_any_frames(frames: list[bytes]) -> None:
    feed([PREFACE, *frames])


@settings(max_examples=60)
@given(st.lists(LINES, max_size=12), st.integers(1, 40))
def test_any_lines_in_pieces_of_any_length(lines: list[str], length: int) -> None:
    data = "".join(lines).encode()
    feed([data[n : n + length] for n in range(0, len(data), length)])


def test_a_frame_that_is_too_long_ends_the_connection() -> None:
    transport = feed([PREFACE, (1 << 20).to_bytes(3, "big") + bytes(6)])
    assert transport.is_closed


def test_headers_without_end_end_the_connection() -> None:
    more = make_frame(9, 0, 1, b"x" * 16_000)
    assert feed([PREFACE, make_frame(1, 0, 1, BLOCK), *[more] * 6]).is_closed


def test_a_ping_is_answered_while_there_is_no_pod() -> None:
    assert make_frame(6, 1, 0, b"12345678") in feed([PREFACE, make_frame(6, 0, 0, b"12345678")]).written


def test_frames_are_taken_one_by_one_and_whole() -> None:
    unread = bytearray(make_frame(1, 4, 3, BLOCK) + make_frame(0, 1, 3, b"body")[:-1])
    frame = take_frame(unread)
    assert frame is not None
    assert (frame.kind, frame.flags, frame.stream, frame.block) == (1, 4, 3, BLOCK)
    assert take_frame(unread) is None
    assert read_headers(BLOCK) == {":method": "GET", ":scheme": "http", ":path": "/"}
    with pytest.raises(Malformed):
        read_headers(b"\xff" * 10)


@pytest.mark.parametrize(
    "asked",
    [
        b"GET / HTTP/1.1\r\nHost: nowhere\r\n\r\n",
        b"GET / HTTP/1.1\r\nK-Network-Probe: activator\r\n\r\n",
        PREFACE + make_frame(6, 0, 0, b"12345678"),
    ],
    ids=["refused", "probe", "ping"],
)
def test_a_client_that_takes_no_answers_is_not_read_until_it_does(asked: bytes) -> None:
    async def within() -> None:
        activator, transport = Activator(dial_directly), Transport()
        connection = ClientConnection(activator)
        connection.connection_made(cast(Any, transport))
        connection.pause_writing()
        connection.data_received(asked)
        assert not transport.is_read
        connection.resume_writing()
        assert transport.is_read
        connection.connection_lost(None)
        await activator.close()

    asyncio.run(within())


def test_a_client_that_takes_its_answer_too_slowly_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_connection, "LOOK_SECONDS", 0.0)

    async def within() -> None:
        activator, transport = Activator(dial_directly), Transport()
        transport.unread = iter([400_000, 360_000, 320_000, 300_000])
        connection = ClientConnection(activator)
        connection.connection_made(cast(Any, transport))
        connection.pause_writing()
        async with asyncio.timeout(30):
            while not transport.is_closed:
                await asyncio.sleep(0)
        assert next(transport.unread, None) is None
        connection.connection_lost(None)
        await activator.close()

    asyncio.run(within())


@pytest.mark.parametrize(
    "first", ["CONNECT somewhere:80 HTTP/1.1", "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: other"]
)
def test_what_is_no_body_does_not_leave_a_pods_connection_waiting_for_one(first: str) -> None:
    transport = feed([f"{first}\r\n{HEADERS}Content-Length: 100\r\n\r\n".encode()])
    assert transport.written.startswith(b"HTTP/1.1 400 ")
    assert transport.is_closed
