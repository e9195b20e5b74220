"""Other names are asked of whichever resolver answers, once at a time, and kept for as long as their answers say."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.network import dns_forward
from proa.network.dns import question_packet, read_answers
from proa.network.dns_forward import Forwarder, ResolvConf, Server, lifetime, read_resolvers
from proa.network.dns_message import (
    IN,
    NOERROR,
    NXDOMAIN,
    SERVFAIL,
    A,
    MalformedMessage,
    Query,
    Record,
    build_answer,
    parse_query,
    soa_record,
)
from support.virtual_time import run_unhurried

ADDRESS = b"\x01\x02\x03\x04"


class Resolver(asyncio.DatagramProtocol):
    """A resolver of the host: what it answers to a query, None for nothing."""

    def __init__(self, answer: Callable[[Query], bytes | None]) -> None:
        self._answer = answer
        self.asked = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.asked += 1
        if answer := self._answer(parse_query(data)):
            self._transport.sendto(answer, addr)


def finds(query: Query, ttl: int = 600) -> bytes:
    return build_answer(query, NOERROR, [Record(query.name, A, ttl, ADDRESS)])


def has_nothing(query: Query) -> bytes:
    return build_answer(query, NXDOMAIN, (), [soa_record("org", 600, 1)])


def fails(query: Query) -> bytes:
    return build_answer(query, SERVFAIL)


def is_silent(query: Query) -> None:
    return None


@contextlib.asynccontextmanager
async def serving(
    *answers: Callable[[Query], bytes | None],
) -> AsyncIterator[tuple[list[Server], list[Resolver]]]:
    loop = asyncio.get_running_loop()
    pairs = [
        await loop.create_datagram_endpoint(
            lambda answer=answer: Resolver(answer), local_addr=("127.0.0.1", 0)
        )
        for answer in answers
    ]
    try:
        yield [transport.get_extra_info("sockname") for transport, _ in pairs], [one for _, one in pairs]
    finally:
        for transport, _ in pairs:
            transport.close()


def make_query(name: str = "pypi.org") -> tuple[Query, bytes]:
    query = Query(7, 0x0100, name, A, IN, 512)
    return query, question_packet(query)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def addresses_in(answer: bytes | None) -> list[bytes]:
    assert answer is not None
    return [record.data for record in read_answers(answer)]


def test_answers_are_kept_for_as_long_as_they_say_and_half_a_minute_at_most() -> None:
    async def scenario() -> None:
        clock = Clock()
        async with serving(finds) as (servers, (resolver,)):
            forwarder = Forwarder(lambda: servers, clock)
            for seconds, asked in ((0, 1), (29, 1), (31, 2)):
                clock.now = 1000.0 + seconds
                answer = await forwarder.resolve(*make_query(), tcp=False)
                assert addresses_in(answer) == [ADDRESS]
                assert resolver.asked == asked

    asyncio.run(scenario())


def test_that_there_is_nothing_is_kept_too_and_that_it_failed_is_not() -> None:
    async def scenario() -> None:
        async with serving(has_nothing) as (servers, (resolver,)):
            forwarder = Forwarder(lambda: servers)
            for _ in range(3):
                answer = await forwarder.resolve(*make_query(), tcp=False)
                assert answer is not None
                assert answer[3] & 0xF == NXDOMAIN
            assert resolver.asked == 1
        async with serving(fails) as (servers, (resolver,)):
            forwarder = Forwarder(lambda: servers)
            for _ in range(2):
                answer = await forwarder.resolve(*make_query(), tcp=False)
                assert answer is not None
                assert answer[3] & 0xF == SERVFAIL
            assert resolver.asked == 2

    asyncio.run(scenario())


def test_who_asks_the_same_at_once_shares_a_question_and_has_his_own_spelling_back() -> None:
    async def scenario() -> None:
        async with serving(finds) as (servers, (resolver,)):
            forwarder = Forwarder(lambda: servers)
            names = [("pypi.org", "PyPI.org")[number % 2] for number in range(20)]
            answers = await asyncio.gather(
                *(forwarder.resolve(*make_query(name), tcp=False) for name in names)
            )
            assert resolver.asked == 1
            for name, answer in zip(names, answers, strict=True):
                assert answer is not None
                assert answer[:2] == b"\0\7"
                assert name.partition(".")[0].encode() in answer[:20]

    asyncio.run(scenario())


def test_the_next_resolver_is_asked_where_one_fails_and_the_one_that_answered_goes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(dns_forward, "ATTEMPT_SECONDS", 0.05)
        async with serving(is_silent, fails, finds) as (servers, resolvers):
            forwarder = Forwarder(lambda: [("127.0.0.1", 1), *servers])
            for number in range(3):
                answer = await forwarder.resolve(*make_query(f"n{number}.org"), tcp=False)
                assert addresses_in(answer) == [ADDRESS]
            assert [resolver.asked for resolver in resolvers] == [1, 1, 3]

    run_unhurried(scenario())


def test_questions_under_way_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(dns_forward, "MAX_UNDER_WAY", 3)
        async with serving(is_silent) as (servers, _):
            forwarder = Forwarder(lambda: servers)
            waiting = [
                asyncio.ensure_future(forwarder.resolve(*make_query(f"n{number}.org"), tcp=False))
                for number in range(3)
            ]
            await asyncio.sleep(0)
            assert await forwarder.resolve(*make_query("one.more"), tcp=False) is None
            await forwarder.close()
            done = await asyncio.gather(*waiting, return_exceptions=True)
            assert all(isinstance(one, asyncio.CancelledError) for one in done)

    asyncio.run(scenario())


def test_resolvers_are_read_again_when_the_file_has_changed(tmp_path: Any) -> None:
    clock, path = Clock(), tmp_path / "resolv.conf"
    path.write_text("search x\nnameserver 127.0.0.53\n# nameserver 9.9.9.9\nnameserver 1.1.1.1\nnameserver\n")
    found = ResolvConf(str(path), clock)
    assert found.read() == [("127.0.0.53", 53), ("1.1.1.1", 53)]
    path.unlink()
    assert found.read() == [("127.0.0.53", 53), ("1.1.1.1", 53)]
    clock.now += 2
    assert found.read() == []
    path.write_text("nameserver 8.8.8.8\n")
    clock.now += 2
    assert found.read() == [("8.8.8.8", 53)]
    assert read_resolvers(str(tmp_path / "missing")) == []


@settings(max_examples=200, derandomize=True)
@given(st.binary(max_size=200), st.integers(0, 3))
def test_what_a_resolver_says_is_read_or_not_kept(tail: bytes, answers: int) -> None:
    head = struct.pack(">6H", 7, 0x8180, 1, answers, 1, 1)
    with contextlib.suppress(MalformedMessage, struct.error):
        seconds, offsets = lifetime(head + make_query()[1][12:] + tail)
        assert 0 <= seconds <= 30
        assert all(offset + 4 <= 12 + 14 + len(tail) for offset in offsets)
    assert read_answers(head + make_query()[1][12:] + tail) is not None
