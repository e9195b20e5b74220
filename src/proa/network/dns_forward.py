"""Ask the host's resolvers for names outside of the cluster, and keep their answers for a short while.

Each question goes out from a socket and with an id of its own, so that an answer is hard to forge; it must come from
the resolver asked, with that id and that question. Who asks what is being asked already waits for the same answer, so
that a loop (a host's resolver that asks us) ends by time-out, at the cost of one question. The resolver that answered
last is asked first. Follows CoreDNS' forward and cache plugins as they are by default, and libc in what is tried next.
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

from proa.network.dns_message import (
    NOERROR,
    NOTIMP,
    NXDOMAIN,
    OPT,
    REFUSED,
    SERVFAIL,
    SOA,
    MalformedMessage,
    Query,
    encode_name,
    read_name,
)
from proa.objects.quick_dataclass import dataclass

ATTEMPT_SECONDS = 2.0
ATTEMPTS = 2
MAX_CACHED = 4096
MAX_CACHE_SECONDS = 30
NEGATIVE_CACHE_SECONDS = 30
MAX_UNDER_WAY = 512
LOOK_SECONDS = 2.0
PORT = 53

Server = tuple[str, int]
Key = tuple[str, int, int, int, bool]


def read_resolvers(resolv_conf: str) -> list[Server]:
    """Return the nameservers of a resolv.conf, at most three as libc has it; none where there is no such file."""
    try:
        lines = Path(resolv_conf).read_text(errors="replace").splitlines()
    except OSError:
        return []
    words = [line.split() for line in lines]
    addresses = [w[1] for w in words if len(w) >= 2 and w[0] == "nameserver"]
    return [(address, PORT) for address in addresses[:3]]


class ResolvConf:
    """A resolv.conf, which is read again when it has changed: laptops change networks."""

    def __init__(self, path: str, now: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._now = now
        self._looked_at = -LOOK_SECONDS
        self._seen: object = None
        self._servers: list[Server] = []

    def read(self) -> Sequence[Server]:
        """Return its nameservers, looked at no more than every two seconds."""
        now = self._now()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            seen = self._look()
            if seen != self._seen:
                self._seen, self._servers = seen, read_resolvers(self._path)
        return self._servers

    def _look(self) -> object:
        try:
            found = os.stat(self._path)
        except OSError:
            return "nothing"
        return found.st_ino, found.st_mtime_ns, found.st_size


@dataclass(frozen=True, slots=True)
class _Cached:
    packet: bytes
    ttl_offsets: tuple[int, ...]
    stored_at: float
    expires_at: float


class Forwarder:
    """`servers` returns the resolvers, in the order in which they are tried. `now` is a monotonic clock in seconds."""

    def __init__(
        self, servers: Callable[[], Sequence[Server]], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._servers = servers
        self._now = now
        self._cache: OrderedDict[Key, _Cached] = OrderedDict()
        self._under_way: dict[Key, asyncio.Task[bytes | None]] = {}
        self._preferred: Server | None = None

    async def resolve(self, query: Query, packet: bytes, *, tcp: bool) -> bytes | None:
        """Return a resolver's answer to `packet` with its id, None when none answers in time."""
        key = (query.name.lower(), query.type, query.cls, query.edns_version, tcp)
        if (cached := self._find_cached(key)) is not None:
            return packet[:2] + _asked(query, cached)
        task = self._under_way.get(key)
        if task is None:
            if len(self._under_way) >= MAX_UNDER_WAY:
                return None
            task = asyncio.ensure_future(self._ask(key, query, packet, tcp=tcp))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        answer = await asyncio.shield(task)
        return packet[:2] + _asked(query, answer[2:]) if answer is not None else None

    async def close(self) -> None:
        """Ask nobody any more."""
        tasks = [*self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, key: Key, query: Query, packet: bytes, *, tcp: bool) -> bytes | None:
        answer = await self._ask_all(query, packet, tcp=tcp)
        if answer is not None:
            self._keep(key, answer)
        return answer

    async def _ask_all(self, query: Query, packet: bytes, *, tcp: bool) -> bytes | None:
        """Ask one after another; an answer that says no more than that it failed is the last to be taken."""
        question = encode_name(query.name) + struct.pack(">2H", query.type, query.cls)
        failed = None
        for _ in range(ATTEMPTS):
            for server in self._in_order():
                own = os.urandom(2) + packet[2:]
                try:
                    async with asyncio.timeout(ATTEMPT_SECONDS):
                        answer = await (_ask_tcp if tcp else _ask_udp)(server, own, question)
                except (OSError, asyncio.IncompleteReadError):
                    continue
                if answer[3] & 0xF in (SERVFAIL, NOTIMP, REFUSED):
                    failed = answer
                    continue
                self._preferred = server
                return answer
            if failed is not None:
                break
        return failed

    def _in_order(self) -> list[Server]:
        servers = self._servers()
        return sorted(servers, key=lambda server: server != self._preferred)

    def _find_cached(self, key: Key) -> bytes | None:
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

    def _keep(self, key: Key, packet: bytes) -> None:
        rcode, is_truncated = packet[3] & 0xF, packet[2] & 0x02
        if rcode not in (NOERROR, NXDOMAIN) or is_truncated:
            return
        try:
            seconds, offsets = lifetime(packet)
        except (MalformedMessage, struct.error):
            return
        if seconds <= 0:
            return
        now = self._now()
        self._cache[key] = _Cached(packet, offsets, now, now + seconds)
        self._cache.move_to_end(key)
        while len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)


def _asked(query: Query, rest: bytes) -> bytes:
    """Return an answer (without its id) with the question's name spelled as this client has spelled it."""
    name = encode_name(query.name)
    return rest[:10] + name + rest[10 + len(name) :]


def lifetime(packet: bytes) -> tuple[int, tuple[int, ...]]:
    """Return for how many seconds an answer may be kept (RFC 2308), and where its TTLs are; raise MalformedMessage or
    struct.error. OPT has none; an answer that there is nothing, and that does not say for how long, is not kept."""
    questions, answers, *counts = struct.unpack_from(">4H", packet, 4)
    at = 12
    for _ in range(questions):
        _, at = read_name(packet, at)
        at += 4
    offsets: list[int] = []
    ttls: list[int] = []
    negative = None
    for _ in range(answers + sum(counts)):
        _, at = read_name(packet, at)
        kind, _, ttl, length = struct.unpack_from(">HHIH", packet, at)
        if kind != OPT:
            offsets.append(at + 4)
            ttls.append(ttl)
        if kind == SOA and length >= 20:
            (minimum,) = struct.unpack_from(">I", packet, at + 10 + length - 4)
            negative = min(ttl, minimum)
        at += 10 + length
    if at > len(packet):
        raise MalformedMessage("a record is cut short")
    if packet[3] & 0xF == NOERROR and answers:
        return min([MAX_CACHE_SECONDS, *ttls]), tuple(offsets)
    return min(NEGATIVE_CACHE_SECONDS, negative or 0), tuple(offsets)


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
