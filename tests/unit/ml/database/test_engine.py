"""Writes that wait share a commit; a lost connection and a deadlock are met by doing the work again."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from proa.ml.database.engine import MAX_RETRIES, Again, Engine
from proa.ml.database.errors import Unavailable


class Recorded:
    """A connection to nothing that writes down what is asked of it, and fails as it is told to."""

    for_update = ""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failures: dict[str, list[Exception]] = {}
        self.gate = threading.Event()
        self.gate.set()

    def _note(self, what: str) -> None:
        self.asked.append(what)
        if self.failures.get(what):
            raise self.failures[what].pop(0)

    def begin(self, *, is_write: bool) -> None:
        assert self.gate.wait(60)
        self._note("begin" if is_write else "begin reading")

    def rows(self, sql, parameters=()) -> list:
        self._note(sql)
        return []

    def run(self, sql, parameters=()) -> int:
        self._note(sql)
        return 1

    def run_many(self, sql, parameters) -> None:
        self._note(sql)

    def commit(self) -> None:
        self._note("commit")

    def rollback(self) -> None:
        self._note("rollback")

    def close(self) -> None:
        self._note("close")


def with_engine(body: Callable) -> Recorded:
    connection, others = Recorded(), []

    def connect() -> Recorded:
        if threading.current_thread().name == "pipelines-db-writer":
            return connection
        others.append(Recorded())
        return others[-1]

    async def go() -> None:
        engine = Engine(connect)
        try:
            await body(engine, connection)
        finally:
            connection.gate.set()
            await engine.close()

    asyncio.run(go())
    return connection


def do(what: str) -> Callable:
    return lambda transaction: transaction.run(what)


async def all_at_once(engine: Engine, connection: Recorded, *works: str) -> list:
    """Let work wait behind a first write that takes long, so that it is taken at once."""
    connection.gate.clear()
    first = asyncio.ensure_future(engine.write(do("first")))
    await asyncio.sleep(0)
    while engine._writer._waiting.qsize():
        await asyncio.sleep(0)
    writes = asyncio.gather(*[engine.write(do(work)) for work in works], return_exceptions=True)
    await asyncio.sleep(0)
    connection.gate.set()
    await first
    return await writes


def test_writes_that_wait_share_a_commit_in_their_order() -> None:
    async def body(engine: Engine, connection: Recorded) -> None:
        assert await all_at_once(engine, connection, "a", "b", "c") == [1, 1, 1]

    connection = with_engine(body)
    assert connection.asked == ["begin", "first", "commit", "begin", "a", "b", "c", "commit", "close"]


def test_work_that_fails_is_undone_alone() -> None:
    async def body(engine: Engine, connection: Recorded) -> None:
        connection.failures["b"] = [ValueError("b"), ValueError("b again")]
        answers = await all_at_once(engine, connection, "a", "b", "c")
        assert [str(answer) for answer in answers] == ["1", "b again", "1"]

    connection = with_engine(body)
    save, back, release = "SAVEPOINT work", "ROLLBACK TO SAVEPOINT work", "RELEASE SAVEPOINT work"
    assert connection.asked[3:] == [
        *("begin", "a", "b", "rollback"),
        *("begin", save, "a", release, save, "b", back, release, save, "c", release, "commit"),
        "close",
    ]


def test_work_is_done_again_after_a_deadlock_and_given_up_in_the_end() -> None:
    async def body(engine: Engine, connection: Recorded) -> None:
        connection.failures["a"] = [Again("deadlock")] * 2
        assert await engine.write(do("a")) == 1
        assert connection.asked.count("a") == 3
        connection.failures["a"] = [Again("deadlock")] * 99
        with pytest.raises(Unavailable, match="the database is too busy: deadlock"):
            await engine.write(do("a"))
        assert connection.asked.count("a") == 3 + 1 + MAX_RETRIES
        connection.failures["a"] = []
        assert await engine.write(do("a")) == 1

    with_engine(body)


def test_a_commit_that_fails_fails_every_write_in_it() -> None:
    async def body(engine: Engine, connection: Recorded) -> None:
        connection.failures["begin"] = []
        connection.gate.clear()
        writes = asyncio.gather(*[engine.write(do(work)) for work in "ab"], return_exceptions=True)
        await asyncio.sleep(0)
        connection.failures["commit"] = [Unavailable("gone")] * 2
        connection.gate.set()
        assert [str(answer) for answer in await writes] == ["gone", "gone"]

    with_engine(body)


def test_a_write_whose_caller_went_away_before_it_began_is_not_done() -> None:
    async def body(engine: Engine, connection: Recorded) -> None:
        connection.gate.clear()
        first = asyncio.ensure_future(engine.write(do("first")))
        await asyncio.sleep(0)
        while engine._writer._waiting.qsize():
            await asyncio.sleep(0)
        second = asyncio.ensure_future(engine.write(do("second")))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        connection.gate.set()
        await first

    connection = with_engine(body)
    assert "second" not in connection.asked
