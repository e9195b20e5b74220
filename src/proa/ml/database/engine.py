"""Run one piece of work after another in one thread with one connection; writes that wait share one commit.

A piece of work is a plain function of a `Transaction`. It sees and changes the database as if it were alone, may be run
again when the database asks for it (a deadlock, a lost connection before the commit), and so does nothing else.
Its result is told only once it is durable. If it raises, what it did is undone and the others' stays.

SQLite and PostgreSQL differ in their `Connection` only (sqlite.py, postgres.py). SQL is written with `?`.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from proa.ml.database.errors import CannotOpen, Unavailable

_Result = TypeVar("_Result")
Row = tuple[Any, ...]

MAX_BATCH = 256
"""How many writes go into one commit at most."""
MAX_WAITING = 10_000
"""How many may wait; more are refused."""
MAX_RETRIES = 5


class Transaction(Protocol):
    """What a piece of work does with the database. All of it blocks, in the engine's thread."""

    for_update: str
    """What ends a SELECT of a row that is then changed."""

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Return all rows of a query."""

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Return how many rows a statement changed."""

    def run_many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each."""


class Connection(Transaction, Protocol):
    """One open connection; `begin` opens it where it is closed. Raises Unavailable, CannotOpen, or `Again`."""

    def begin(self, *, is_write: bool) -> None:
        """Begin a transaction."""

    def commit(self) -> None:
        """Make it durable. Unavailable here means: nobody knows whether it was."""

    def rollback(self) -> None:
        """Undo it; never raises."""

    def close(self) -> None:
        """Close the connection; never raises."""


class Again(Exception):
    """Nothing was done, and the same may succeed when it is tried again."""


_Item = tuple[Callable[[Transaction], Any], Future[Any]]
_Outcome = tuple[Any, Exception | None]
_NOT_OF_ONE = (Again, Unavailable, CannotOpen)
"""What concerns the whole transaction, and not only the work that met it."""


class Worker:
    """One thread and its connection."""

    def __init__(self, name: str, connect: Callable[[], Connection], *, is_writer: bool) -> None:
        """Start the thread; the connection is opened by its first work."""
        self._connect = connect
        self._is_writer = is_writer
        self._waiting: queue.Queue[_Item | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._is_closed = False
        self._thread.start()

    async def do(self, work: Callable[[Transaction], _Result]) -> _Result:
        """Return what the work does, once it is durable."""
        if self._is_closed:
            raise Unavailable("the database is closed")
        if self._waiting.qsize() >= MAX_WAITING:
            raise Unavailable(f"the database is too slow: {MAX_WAITING} requests wait for it already")
        future: Future[_Result] = Future()
        self._waiting.put((work, future))
        return await asyncio.wrap_future(future)

    async def close(self) -> None:
        """Do what waits, then end."""
        if not self._is_closed:
            self._is_closed = True
            self._waiting.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        connection = self._connect()
        is_open = True
        while is_open:
            batch: list[_Item] = []
            is_open = self._take(batch)
            if batch:
                self._do(connection, batch)
        connection.close()

    def _take(self, batch: list[_Item]) -> bool:
        """Wait for work and take what is there; return whether there may be more."""
        item = self._waiting.get()
        while item is not None:
            if item[1].set_running_or_notify_cancel():
                batch.append(item)
            if not self._is_writer or len(batch) >= MAX_BATCH or self._waiting.empty():
                return True
            item = self._waiting.get()
        return False

    def _do(self, connection: Connection, batch: list[_Item]) -> None:
        try:
            outcomes = self._commit(connection, [work for work, _ in batch])
        except Exception as error:
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), (result, failure) in zip(batch, outcomes, strict=True):
            if failure is not None:
                future.set_exception(failure)
            else:
                future.set_result(result)

    def _commit(self, connection: Connection, works: list[Callable[[Transaction], Any]]) -> list[_Outcome]:
        """Return what each gave or raised. Only where one raises is each undone by itself: that costs more."""
        do, retries = _do_all, 0
        while True:
            try:
                connection.begin(is_write=self._is_writer)
                outcomes = do(connection, works)
                connection.commit()
                return outcomes
            except Again as error:
                connection.rollback()
                retries += 1
                if retries > MAX_RETRIES:
                    raise Unavailable(f"the database is too busy: {error}") from error
            except Exception as error:
                connection.rollback()
                if do is _do_each or len(works) == 1 or isinstance(error, _NOT_OF_ONE):
                    raise
                do = _do_each


def _do_all(connection: Connection, works: list[Callable[[Transaction], Any]]) -> list[_Outcome]:
    return [(work(connection), None) for work in works]


def _do_each(connection: Connection, works: list[Callable[[Transaction], Any]]) -> list[_Outcome]:
    """Do each in a transaction of its own within the one: what raises is undone, and the rest stays."""
    outcomes: list[_Outcome] = []
    for work in works:
        connection.run("SAVEPOINT work")
        try:
            outcomes.append((work(connection), None))
        except _NOT_OF_ONE:
            raise
        except Exception as error:
            connection.run("ROLLBACK TO SAVEPOINT work")
            outcomes.append((None, error))
        connection.run("RELEASE SAVEPOINT work")
    return outcomes


class Engine:
    """A writer and a reader, so that reading does not wait for the disk."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        """Start the threads."""
        self._writer = Worker("pipelines-db-writer", connect, is_writer=True)
        self._reader = Worker("pipelines-db-reader", connect, is_writer=False)

    async def write(self, work: Callable[[Transaction], _Result]) -> _Result:
        """Do work that changes something."""
        return await self._writer.do(work)

    async def read(self, work: Callable[[Transaction], _Result]) -> _Result:
        """Do work that only reads: of one moment, and not older than any write that was told to be done."""
        return await self._reader.do(work)

    async def close(self) -> None:
        """Finish what waits and close the connections."""
        await self._reader.close()
        await self._writer.close()
