"""Read DNS queries and write answers: the wire format, and no more of it than a cluster's resolver needs.

Queries come from any pod: every length is checked, compression pointers only go backwards, and what cannot be read
raises `MalformedMessage`. Follows RFC 1035 section 4, RFC 2782 (SRV), RFC 3596 (AAAA) and RFC 6891 (EDNS).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

from proa.objects.quick_dataclass import dataclass

A, NS, CNAME, SOA, PTR, TXT, AAAA, SRV, OPT, ANY = 1, 2, 5, 6, 12, 16, 28, 33, 41, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
IXFR, AXFR = 251, 252
QUERY_FLAG, AUTHORITATIVE, TRUNCATED, RECURSION_DESIRED, RECURSION_AVAILABLE = (
    0x8000,
    0x0400,
    0x0200,
    0x0100,
    0x0080,
)
MIN_UDP_BYTES = 512
MAX_UDP_BYTES = 4096
MAX_NAME_BYTES = 255


class MalformedMessage(ValueError):
    """These bytes are no DNS query that can be answered."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question. `name` is as asked, without the final dot; `udp_bytes` is what the client can take by UDP, and
    `edns_version` -1 for one that says nothing of EDNS."""

    id: int
    flags: int
    name: str
    type: int
    cls: int
    udp_bytes: int
    edns_version: int = -1

    @property
    def opcode(self) -> int:
        """Return the kind of query; 0 is the ordinary one."""
        return self.flags >> 11 & 0xF


@dataclass(frozen=True, slots=True)
class Record:
    """One resource record; `data` is its encoded RDATA (names in it are not compressed)."""

    name: str
    type: int
    ttl: int
    data: bytes


def parse_query(packet: bytes) -> Query:
    """Return the question of a query; raise MalformedMessage."""
    try:
        id_, flags, questions, answers, authorities, additional = struct.unpack_from(">6H", packet)
        if flags & QUERY_FLAG or questions != 1 or answers or authorities or additional > 2:
            raise MalformedMessage("not a query with one question")
        name, at = read_name(packet, 12)
        type_, cls = struct.unpack_from(">2H", packet, at)
        at += 4
        udp_bytes, version = MIN_UDP_BYTES, -1
        for _ in range(additional):
            _, at = read_name(packet, at)
            kind, size, more, length = struct.unpack_from(">HHIH", packet, at)
            at += 10 + length
            if kind == OPT:
                if version >= 0:
                    raise MalformedMessage("two OPT records")
                udp_bytes, version = min(max(size, MIN_UDP_BYTES), MAX_UDP_BYTES), more >> 16 & 0xFF
        if at > len(packet):
            raise MalformedMessage("a record is cut short")
    except struct.error as error:
        raise MalformedMessage("the message is cut short") from error
    return Query(id_, flags, name, type_, cls, udp_bytes, version)


def read_name(packet: bytes, at: int) -> tuple[str, int]:
    """Return the name at an offset and the offset after it; raise MalformedMessage."""
    labels: list[str] = []
    size = 0
    after = -1
    while True:
        if at >= len(packet):
            raise MalformedMessage("a name is cut short")
        length = packet[at]
        if length >= 0xC0:
            if at + 1 >= len(packet):
                raise MalformedMessage("a pointer is cut short")
            target = (length & 0x3F) << 8 | packet[at + 1]
            if target >= at:
                raise MalformedMessage("a pointer goes forward")
            after = at + 2 if after < 0 else after
            at = target
            continue
        if length > 63:
            raise MalformedMessage("a label has an unknown type")
        if length == 0:
            return ".".join(labels), at + 1 if after < 0 else after
        size += length + 1
        label = packet[at + 1 : at + 1 + length]
        if size > MAX_NAME_BYTES or len(label) < length or b"." in label:
            raise MalformedMessage("a name is too long or cut short")
        labels.append(label.decode("latin-1"))
        at += 1 + length


def encode_name(name: str) -> bytes:
    """Return a name's wire form; raise MalformedMessage for one that has none."""
    if not name:
        return b"\0"
    labels = [label.encode("latin-1") for label in name.split(".")]
    if (
        any(not 0 < len(label) < 64 for label in labels)
        or sum(map(len, labels)) + len(labels) > MAX_NAME_BYTES
    ):
        raise MalformedMessage(f"{name!r} is no domain name")
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def address_record(name: str, address: str, ttl: int) -> Record:
    """Return an A or AAAA record."""
    if ":" in address:
        return Record(name, AAAA, ttl, socket.inet_pton(socket.AF_INET6, address))
    return Record(name, A, ttl, socket.inet_aton(address))


def ns_record(zone: str, target: str, ttl: int) -> Record:
    """Return an NS record."""
    return Record(zone, NS, ttl, encode_name(target))


def cname_record(name: str, target: str, ttl: int) -> Record:
    """Return a CNAME record."""
    return Record(name, CNAME, ttl, encode_name(target))


def ptr_record(name: str, target: str, ttl: int) -> Record:
    """Return a PTR record."""
    return Record(name, PTR, ttl, encode_name(target))


def txt_record(name: str, text: str, ttl: int) -> Record:
    """Return a TXT record of one string of at most 255 bytes."""
    return Record(name, TXT, ttl, bytes((len(text),)) + text.encode())


def srv_record(name: str, port: int, target: str, ttl: int, weight: int = 100) -> Record:
    """Return an SRV record."""
    return Record(name, SRV, ttl, struct.pack(">3H", 0, weight, port) + encode_name(target))


def soa_record(zone: str, ttl: int, serial: int) -> Record:
    """Return the SOA record that negative answers carry; its last number is how long they may be kept."""
    names = encode_name(f"ns.dns.{zone}") + encode_name(f"hostmaster.{zone}")
    return Record(zone, SOA, ttl, names + struct.pack(">5I", serial, 7200, 1800, 86400, ttl))


def build_answer(
    query: Query,
    rcode: int,
    answers: Iterable[Record] = (),
    authorities: Iterable[Record] = (),
    additional: Iterable[Record] = (),
    *,
    is_authoritative: bool = True,
    limit: int = 65535,
) -> bytes:
    """Return the answer to a query, with the TC flag and no records where it is over `limit` bytes."""
    flags = QUERY_FLAG | query.flags & (RECURSION_DESIRED | 0x7800) | RECURSION_AVAILABLE | rcode & 0xF
    flags |= AUTHORITATIVE if is_authoritative else 0
    question = encode_name(query.name) + struct.pack(">2H", query.type, query.cls)
    sections = [
        [_encode(record, query.name) for record in records] for records in (answers, authorities, additional)
    ]
    has_edns = query.edns_version >= 0
    if has_edns:
        sections[2].append(b"\0" + struct.pack(">HHIH", OPT, MAX_UDP_BYTES, rcode >> 4 << 24, 0))
    if 12 + len(question) + sum(map(len, sections[2])) > limit or _size(question, sections) > limit:
        sections[2] = sections[2][-1:] if has_edns else []
    if _size(question, sections) > limit:
        sections[:2] = [], []
        flags |= TRUNCATED
    head = struct.pack(">6H", query.id, flags, 1, *map(len, sections))
    return b"".join((head, question, *(record for section in sections for record in section)))


def _size(question: bytes, sections: list[list[bytes]]) -> int:
    return 12 + len(question) + sum(len(record) for section in sections for record in section)


def _encode(record: Record, asked: str) -> bytes:
    name = b"\xc0\x0c" if record.name == asked.lower() else encode_name(record.name)
    return name + struct.pack(">HHIH", record.type, IN, record.ttl, len(record.data)) + record.data


def build_failure(packet: bytes, rcode: int) -> bytes | None:
    """Return the answer to a message that could not be parsed, None where even its id is missing or it is an answer."""
    if len(packet) < 12 or packet[2] & 0x80:
        return None
    flags = QUERY_FLAG | (packet[2] & 0x79) << 8 | RECURSION_AVAILABLE | rcode
    return packet[:2] + struct.pack(">5H", flags, 0, 0, 0, 0)
