"""Encode netlink messages for netfilter, transactions of nftables among them, and read what the kernel answers. Pure.

A message is a header, netfilter's own (family, resource), and attributes: length, kind, payload, padded to four bytes;
an attribute may hold others. Numbers in nftables' attributes are big-endian. A transaction is its messages between a
begin and an end, sent in one piece; of what is refused each message says so by its sequence number.
Layouts: linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

REQUEST, ACK, EXCLUSIVE, CREATE, APPEND, DUMP = 0x1, 0x4, 0x200, 0x400, 0x800, 0x300
_ERROR, _BATCH_BEGIN, _BATCH_END = 2, 16, 17
_NFTABLES = 10
_NEST = 0x8000
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
NEW_TABLE, DELETE_TABLE, NEW_CHAIN, DELETE_CHAIN, NEW_RULE, DELETE_RULE, NEW_SET, DELETE_SET = (
    0,
    2,
    3,
    5,
    6,
    8,
    9,
    11,
)
NEW_ELEMENTS, DELETE_ELEMENTS = 12, 14
_LIST_ELEMENT = 1


class Message(NamedTuple):
    """One request of nftables: what, how (flags), of which family, its attributes, and words for an error."""

    kind: int
    flags: int
    family: int
    attributes: bytes
    doing: str


class Refused(OSError):
    """The kernel did not do it."""


def attribute(kind: int, payload: bytes) -> bytes:
    """Encode one attribute."""
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Encode an attribute that holds others."""
    payload = b"".join(attributes)
    return _ATTRIBUTE.pack(4 + len(payload), kind | _NEST) + payload


def u32(kind: int, value: int) -> bytes:
    """Encode a number."""
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def u64(kind: int, value: int) -> bytes:
    """Encode a long number."""
    return attribute(kind, struct.pack(">Q", value))


def text(kind: int, value: str) -> bytes:
    """Encode a name."""
    return attribute(kind, value.encode() + b"\0")


def items(kind: int, entries: Iterable[bytes]) -> bytes:
    """Encode a list, of which each entry is attributes."""
    return nested(kind, *(nested(_LIST_ELEMENT, entry) for entry in entries))


def transaction(messages: Sequence[Message]) -> bytes:
    """Encode messages that happen together or not at all; the last one is acknowledged."""
    parts = [_pack(_BATCH_BEGIN, REQUEST, 0, 0, _NFTABLES, b"")]
    for number, message in enumerate(messages, 1):
        flags = REQUEST | message.flags | (ACK if number == len(messages) else 0)
        kind = _NFTABLES << 8 | message.kind
        parts.append(_pack(kind, flags, number, message.family, 0, message.attributes))
    parts.append(_pack(_BATCH_END, REQUEST, len(messages) + 1, 0, _NFTABLES, b""))
    return b"".join(parts)


def request(subsystem: int, kind: int, flags: int, family: int, attributes: bytes, number: int = 1) -> bytes:
    """Encode a request that stands alone."""
    return _pack(subsystem << 8 | kind, REQUEST | flags, number, family, 0, attributes)


def _pack(kind: int, flags: int, number: int, family: int, resource: int, attributes: bytes) -> bytes:
    body = struct.pack(">BBH", family, 0, resource) + attributes
    return _HEADER.pack(16 + len(body), kind, flags, number, 0) + body


def check(messages: Sequence[Message], answers: bytes) -> None:
    """Raise Refused, with the first message that was, unless the kernel says that the transaction is done."""
    is_done = False
    for kind, number, body in split(answers):
        if kind != _ERROR:
            continue
        code = -int(struct.unpack_from("=i", body)[0])
        if code:
            doing = messages[number - 1].doing if 0 < number <= len(messages) else "commit"
            raise Refused(code, f"{os.strerror(code)} ({doing})")
        is_done = True
    if not is_done:
        raise Refused(5, "the kernel did not answer")


def split(answers: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield (kind, sequence number, body) of each message of an answer."""
    offset = 0
    while offset + 16 <= len(answers):
        length, kind, _, number, _ = _HEADER.unpack_from(answers, offset)
        if length < 16:
            return
        yield kind, number, answers[offset + 16 : offset + length]
        offset += (length + 3) & ~3


def attributes_in(data: bytes) -> dict[int, bytes]:
    """Decode attributes, by their kinds."""
    found = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found
