"""SPDY frames survive any cutting of the byte stream, and what breaks the protocol ends the connection, no more."""

from __future__ import annotations

import asyncio
import struct
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proa.apiserver.streams import spdy


def syn_stream(codec: spdy.HeaderCodec, stream_id: int, headers: dict[str, str], flags: int = 0) -> bytes:
    return spdy.control_frame(
        spdy.SYN_STREAM, struct.pack(">IIBB", stream_id, 0, 0, 0) + codec.encode(headers), flags
    )


class Pipe:
    """An UpgradedConnection whose client is the test."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self.sent: list[bytes] = []
        self.closed = False

    async def read(self) -> bytes:
        return await self.incoming.get()

    async def write(self, data: bytes) -> None:
        self.sent.append(data)

    async def close(self) -> None:
        self.closed = True


def test_the_dictionary_is_the_one_of_the_specification() -> None:
    assert (len(spdy.DICTIONARY), zlib.adler32(spdy.DICTIONARY)) == (1423, 0xE3C6A7C2)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(st.dictionaries(st.text("abcz-", min_size=1), st.text("xyz 019\u00e9"), max_size=5), max_size=6)
)
def test_headers_round_trip_over_one_connections_compression(blocks: list[dict[str, str]]) -> None:
    encoder, decoder = spdy.HeaderCodec(), spdy.HeaderCodec()
    for headers in blocks:
        assert decoder.decode(encoder.encode(headers)) == headers


@given(st.lists(st.tuples(st.integers(1, 9), st.binary(max_size=50)), max_size=8), st.integers(1, 20))
def test_frames_survive_any_cutting(parts: list[tuple[int, bytes]], step: int) -> None:
    wire = b"".join(spdy.data_frame(stream_id, data) for stream_id, data in parts)
    reader = spdy.FrameReader()
    frames = [f for start in range(0, len(wire), step) for f in reader.feed(wire[start : start + step])]
    assert [(f.stream_id, f.data) for f in frames if isinstance(f, spdy.DataFrame)] == parts


@given(st.binary(max_size=300))
def test_any_bytes_give_frames_or_a_spdy_error(data: bytes) -> None:
    try:
        for frame in spdy.FrameReader().feed(data):
            if isinstance(frame, spdy.ControlFrame):
                spdy.HeaderCodec().decode(frame.payload)
    except spdy.SpdyError:
        pass


def test_headers_that_inflate_without_bound_are_refused() -> None:
    bomb = spdy.HeaderCodec().encode({"a": "x" * 1_000_000})
    with pytest.raises(spdy.SpdyError, match="over the limit"):
        spdy.HeaderCodec().decode(bomb)


def test_streams_carry_bytes_until_the_client_ends_or_resets_them() -> None:
    async def scenario() -> None:
        pipe, codec = Pipe(), spdy.HeaderCodec()
        connection = spdy.SpdyConnection(pipe)
        running = asyncio.ensure_future(connection.run())
        pipe.incoming.put_nowait(
            syn_stream(codec, 1, {"streamType": "data", "port": "80"})
            + spdy.data_frame(1, b"hello")
            + spdy.data_frame(1, b"", spdy.FIN)
            + syn_stream(codec, 3, {"streamtype": "error"})
            + spdy.control_frame(spdy.RST_STREAM, struct.pack(">II", 3, spdy.CANCEL))
            + spdy.control_frame(spdy.PING, struct.pack(">I", 7))
        )
        first, second = await connection.accept(), await connection.accept()
        assert first
        assert second
        assert first.headers == {"streamtype": "data", "port": "80"}
        assert (await first.read(3), await first.read(), await first.read()) == (b"hel", b"lo", b"")
        with pytest.raises(ConnectionResetError):
            await second.read()
        await first.write(b"answer")
        await first.close_write()
        with pytest.raises(ConnectionResetError):
            await first.write(b"late")
        pipe.incoming.put_nowait(b"")
        await running
        assert await connection.accept() is None
        frames = list(spdy.FrameReader().feed(b"".join(pipe.sent)))
        assert [f.type for f in frames if isinstance(f, spdy.ControlFrame)] == [
            spdy.SYN_REPLY,
            spdy.SYN_REPLY,
            spdy.PING,
        ]
        assert [(f.data, f.flags) for f in frames if isinstance(f, spdy.DataFrame)] == [
            (b"answer", 0),
            (b"", spdy.FIN),
        ]

    asyncio.run(scenario())


def test_a_reader_that_lags_stops_the_connection_from_reading() -> None:
    async def scenario() -> None:
        pipe, codec = Pipe(), spdy.HeaderCodec()
        connection = spdy.SpdyConnection(pipe)
        running = asyncio.ensure_future(connection.run())
        pipe.incoming.put_nowait(syn_stream(codec, 1, {"streamtype": "data"}))
        stream = await connection.accept()
        assert stream
        for _ in range(20):
            pipe.incoming.put_nowait(spdy.data_frame(1, b"x" * 65536))
        for _ in range(100):
            await asyncio.sleep(0)
        assert pipe.incoming.qsize() >= 14
        received = 0
        while received < 20 * 65536:
            received += len(await stream.read())
        assert pipe.incoming.empty()
        running.cancel()

    asyncio.run(scenario())
