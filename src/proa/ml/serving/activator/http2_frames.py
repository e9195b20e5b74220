"""HTTP/2's frames, as much of them as the activator looks at: RFC 9113, sections 4.1 and 6. Pure."""

from __future__ import annotations

from typing import NamedTuple

from hpack import Decoder, Encoder, HPACKError

from proa.ml.serving.activator.answers import Refusal

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_HEAD_BYTES = 64 * 1024
MAX_FRAME_BYTES = 16 * 1024
HEAD_BYTES = 9
HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 1, 3, 4, 6, 7, 9
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITY = 0x4, 0x8, 0x20


class Malformed(Exception):
    """These bytes are no HTTP/2."""


class Frame(NamedTuple):
    """One frame; `data` is all of it, its head too."""

    kind: int
    flags: int
    stream: int
    data: bytes

    @property
    def payload(self) -> bytes:
        """Return what is behind its head."""
        return self.data[HEAD_BYTES:]

    @property
    def block(self) -> bytes:
        """Return the piece of headers that a HEADERS or CONTINUATION frame has."""
        payload = self.payload
        if self.kind == HEADERS and self.flags & PADDED:
            payload = payload[1 : len(payload) - payload[0]] if payload else b""
        return payload[5:] if self.kind == HEADERS and self.flags & PRIORITY else payload


def take_frame(unread: bytearray) -> Frame | None:
    """Take the next whole frame away, None where there is none yet; raise Malformed."""
    if len(unread) < HEAD_BYTES:
        return None
    length = int.from_bytes(unread[:3], "big")
    if length > MAX_FRAME_BYTES:
        raise Malformed
    if len(unread) < HEAD_BYTES + length:
        return None
    data = bytes(unread[: HEAD_BYTES + length])
    del unread[: HEAD_BYTES + length]
    return Frame(data[3], data[4], int.from_bytes(data[5:HEAD_BYTES], "big") & 0x7FFFFFFF, data)


def make_frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return the bytes of a frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def read_headers(block: bytes) -> dict[str, str]:
    """Return the headers of a connection's first request; raise Malformed."""
    try:
        found = Decoder(max_header_list_size=MAX_HEAD_BYTES).decode(block)
    except HPACKError:
        raise Malformed from None
    return {str(name).lower(): str(value) for name, value in found}


def make_refusal(refusal: Refusal, stream: int) -> bytes:
    """Return the answer to a stream in gRPC's words, 0 for none, and the end of its connection."""
    headers = [
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", str(refusal.grpc_status)),
        ("grpc-message", refusal.words),
    ]
    end = make_frame(GOAWAY, 0, 0, stream.to_bytes(4, "big") + bytes(4))
    if not stream:
        return end
    return make_frame(HEADERS, END_HEADERS | END_STREAM, stream, Encoder().encode(headers)) + end
