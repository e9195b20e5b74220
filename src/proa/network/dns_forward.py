"""Ask the host's resolvers for names outside of the cluster, and keep their answers for a short while.

Each question goes out from a socket and with an id of its own, so that an answer is hard to forge; it must come from
the resolver asked, with that id and that question. Follows what CoreDNS' forward and cache plugins do by default.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from proa.network.dns_message import MalformedMessage, Query, encode_name, read_name
from proa.objects.quick_dataclass import dataclass

ATTEMPT_SECONDS = 2.0
ATTEMPTS = 2
MAX_CACHED = 4096
MAX_CACHE_SECONDS = 30
NEGATIVE_CACHE_SECONDS = 5
MAX_UNDER_WAY = 512
PORT = 53

Server = tuple[str, int]


def read_resolvers(resolv_conf: str, *, excluded: Sequence[str] = ()) -> list[Server]:
    """Return the nameservers of a resolv.conf, at most three as libc has it; none where there is no such file."""
    try:
        lines = Path(resolv_conf).read_text(errors="replace").splitlines()
    except OSError:
        return []
    words = [line.split() for line in lines]
    addresses = [w[1] for w in words if len(w) >= 2 and w[0] == "nameserver" and w[1] not in excluded]
    return [(address, PORT) for address in addresses[:3]]


@dataclass(frozen=True, slots=True)
class _Cached:
    packet: bytes
    ttl_offsets: tuple[int, ...]
    stored_at: float
    expires_at: float


class Forwarder:
    """The resolvers, tried in order. `now` is a monotonic clock in seconds."""

    def __init__(self, servers: Sequence[Server], now: Callable[[], float] = time.monotonic) -> None:
        self._servers = list(servers)
        self._now = now
        self._cache: OrderedDict[tuple[str, int, int, bool], _Cached] = OrderedDict()
        self._under_way = 0

    async def resolve(self, query: Query, packet: bytes, *, tcp: bool) -> bytes | None:
        """Return a resolver's answer to `packet` with its id, None when none answers in time."""
        key = (query.name.lower(), query.type, query.cls, tcp)
        if (cached := self._find_cached(key)) is not None:
            return packet[:2] + cached
        if self._under_way >= MAX_UNDER_WAY:
            return None
        self._under_way += 1
        try:
            answer = await self._ask_all(query, packet, tcp=tcp)
        finally:
            self._under_way -= 1
        if answer is None:
            return None
        self._keep(key, answer)
        return packet[:2] + answer[2:]

    async def _ask_all(self, query: Query, packet: bytes, *, tcp: bool) -> bytes | None:
        question = encode_name(query.name) + struct.pack(">2H", query.type, query.cls)
        for _ in range(ATTEMPTS):
            for server in self._servers:
                own = os.urandom(2) + packet[2:]
                try:
                    async with asyncio.timeout(ATTEMPT_SECONDS):
                        answer = await (_ask_tcp if tcp else _ask_udp)(server, own, question)
                except (OSError, asyncio.IncompleteReadError):
                    continue
                return answer
        return None

    def _find_cached(self, key: tuple[str, int, int, bool]) -> bytes | None:
        """Return the cached answer without its id, its TTLs less the time since."""
        entry = self._cache.get(key)
        if entry is None:
            return None
        now = self._now()
        if entry.expires_at <= now:
            del self._cache[key]
            return None
        aged = bytearray(entry.packet)
        for offset in entry.ttl_offsets:
            (ttl,) = struct.unpack_from(">I", aged, offset)
            struct.pack_into(">I", aged, offset, max(0, ttl - int(now - entry.stored_at)))
        return bytes(aged[2:])

    def _keep(self, key: tuple[str, int, int, bool], packet: bytes) -> None:
        rcode, is_truncated = packet[3] & 0xF, packet[2] & 0x02
        if rcode not in (0, 3) or is_truncated:
            return
        try:
            offsets = ttl_offsets(packet)
        except (MalformedMessage, struct.error):
            return
        ttls = [struct.unpack_from(">I", packet, offset)[0] for offset in offsets]
        has_answers = struct.unpack_from(">H", packet, 6)[0] > 0
        longest = MAX_CACHE_SECONDS if has_answers and rcode == 0 else NEGATIVE_CACHE_SECONDS
        now = self._now()
        self._cache[key] = _Cached(packet, offsets, now, now + min([longest, *ttls]))
        self._cache.move_to_end(key)
        while len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)


def ttl_offsets(packet: bytes) -> tuple[int, ...]:
    """Return where the TTLs of a message's records are (OPT has none); raise MalformedMessage or struct.error."""
    questions, *counts = struct.unpack_from(">4H", packet, 4)
    at = 12
    for _ in range(questions):
        _, at = read_name(packet, at)
        at += 4
    offsets = []
    for _ in range(sum(counts)):
        _, at = read_name(packet, at)
        kind, _, _, length = struct.unpack_from(">HHIH", packet, at)
        if kind != 41:
            offsets.append(at + 4)
        at += 10 + length
    return tuple(offsets)


def _is_answer(answer: bytes, packet: bytes, question: bytes) -> bool:
    head = 12 + len(question)
    return (
        len(answer) >= head
        and answer[:2] == packet[:2]
        and bool(answer[2] & 0x80)
        and answer[12:head].lower() == question.lower()
    )


class _Exchange(asyncio.DatagramProtocol):
    def __init__(self, packet: bytes, question: bytes) -> None:
        self._packet = packet
        self._question = question
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.DatagramTransport, transport).sendto(self._packet)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self.answer.done() and _is_answer(data, self._packet, self._question):
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answer.done():
            self.answer.cancel()


async def _ask_udp(server: Server, packet: bytes, question: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    transport, exchange = await loop.create_datagram_endpoint(
        lambda: _Exchange(packet, question), remote_addr=server
    )
    try:
        return await exchange.answer
    finally:
        transport.close()


async def _ask_tcp(server: Server, packet: bytes, question: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(struct.pack(">H", len(packet)) + packet)
        (length,) = struct.unpack(">H", await reader.readexactly(2))
        answer = await reader.readexactly(length)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    if not _is_answer(answer, packet, question):
        raise ConnectionError("the resolver answered another question")
    return answer
