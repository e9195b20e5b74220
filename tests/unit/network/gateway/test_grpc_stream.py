"""The server's side of a gRPC stream, byte by byte."""

from __future__ import annotations

import asyncio
import itertools
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from proa.network.data_path import Endpoint
from proa.network.gateway import protobuf
from proa.network.gateway.endpoints import encode
from proa.network.gateway.grpc_stream import (
    DATA,
    FRAME_BYTES,
    HEADERS,
    PING,
    PREFACE,
    SETTINGS,
    WINDOW_UPDATE,
    GrpcStream,
)


class FakeTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.aborted = False

    def write(self, data) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True

    def frames(self, kind):
        found, at = [], 0
        while at < len(self.written):
            high, low, frame_kind, _, stream = struct.unpack_from(">HBBBI", self.written, at)
            length = high << 8 | low
            if frame_kind == kind:
                found.append((stream, bytes(self.written[at + 9 : at + 9 + length])))
            at += 9 + length
        return found


def frame(kind, stream, payload=b"", flags=0):
    return struct.pack(">HBBBI", len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def message(body):
    return b"\0" + len(body).to_bytes(4, "big") + body


def make_stream():
    heard, transport = [], FakeTransport()
    stream = GrpcStream(lambda _: heard.append("open"), heard.append)
    stream.connection_made(transport)
    return stream, transport, heard


@given(bodies=st.lists(st.binary(max_size=40), max_size=5), cuts=st.lists(st.integers(0, 400), max_size=8))
@settings(max_examples=60)
def test_messages_arrive_whole_however_their_bytes_come(bodies, cuts):
    data = PREFACE + frame(SETTINGS, 0) + frame(HEADERS, 1, b"?", 4)
    data += b"".join(frame(DATA, 1, message(body)) for body in bodies)
    stream, transport, heard = make_stream()

    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        stream.data_received(data[start:end])

    assert heard == ["open", *bodies]
    assert not transport.aborted


def test_no_more_is_sent_than_the_other_side_has_room_for():
    stream, transport, _ = make_stream()
    stream.data_received(PREFACE + frame(SETTINGS, 0, struct.pack(">HI", 4, 20_000)) + frame(HEADERS, 1))

    stream.send(b"x" * 50_000)
    first = sum(len(payload) for _, payload in transport.frames(DATA))
    stream.data_received(frame(WINDOW_UPDATE, 1, (40_000).to_bytes(4, "big")))

    assert first == 20_000
    sent = transport.frames(DATA)
    assert b"".join(payload for _, payload in sent) == message(b"x" * 50_000)
    assert all(len(payload) <= FRAME_BYTES for _, payload in sent)


def test_pings_are_answered_and_a_new_stream_begins_anew():
    stream, transport, heard = make_stream()
    stream.data_received(PREFACE + frame(HEADERS, 1) + frame(DATA, 1, message(b"a")[:3]))
    stream.data_received(frame(PING, 0, b"12345678") + frame(HEADERS, 3) + frame(DATA, 3, message(b"b")))

    assert transport.frames(PING) == [(0, b"12345678")]
    assert heard == ["open", "open", b"b"]


def test_who_does_not_speak_http2_is_cut_off():
    stream, transport, heard = make_stream()
    stream.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

    assert (transport.aborted, heard) == (True, [])


@given(st.lists(st.tuples(st.integers(1, 1000), st.binary(max_size=300)), max_size=10))
def test_fields_are_read_as_they_were_written(wanted):
    data = b"".join(protobuf.field(*entry) + protobuf.integer(7, 1 << 40) for entry in wanted)

    assert [*protobuf.fields(data)] == wanted


def test_an_assignment_is_as_envoy_reads_it():
    encoded = encode("default/web:80", [Endpoint("10.0.0.1", 8000)])

    (name, group) = [value for _, value in protobuf.fields(encoded)]
    (host,) = [value for _, value in protobuf.fields(group)]
    address = host
    for number in (1, 1, 1):
        address = dict(protobuf.fields(address))[number]
    assert (name, dict(protobuf.fields(address))) == (b"default/web:80", {2: b"10.0.0.1"})
    assert address.endswith(protobuf.integer(3, 8000))
