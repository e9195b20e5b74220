"""A database in PostgreSQL survives the server's restart, tells what is wrong meanwhile, and never tells a password."""

import asyncio
import logging
import sys
from collections.abc import Iterator

import pytest

from proa.ml.database.errors import CannotOpen, Unavailable
from proa.ml.pipelines.database.database import open_database
from proa.ml.pipelines.records import Run, RunState
from support.postgres import Postgres, run_postgres

SECRET = "open sesame/"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with run_postgres() as running:
        yield running


def make_run(number: int) -> Run:
    return Run(f"{number:032d}", "n", "team", "n", RunState.PENDING, float(number), pipeline_spec={"x": "y"})


def test_a_restart_of_the_server_is_told_of_while_it_lasts_and_met_by_connecting_again(
    server: Postgres, caplog
) -> None:
    async def go() -> None:
        database = await open_database(server.new_url())
        try:
            await database.runs.insert(make_run(0))
            assert (await database.runs.page()).total == 1
            server.stop()
            with pytest.raises(Unavailable, match=r"PostgreSQL at /tmp/.* does not answer: ") as refused:
                await database.runs.insert(make_run(1))
            with pytest.raises(Unavailable):
                await database.runs.page()
            expect_no_secret(str(refused.value), repr(refused.value.__cause__), caplog.text)
            server.start()
            assert (await database.runs.page()).total == 1
            server.stop()
            server.start()
            await database.runs.insert(make_run(1))
            assert (await database.runs.get(make_run(1).id, with_spec=True)) == make_run(1)
        finally:
            await database.close()

    with caplog.at_level(logging.DEBUG):
        asyncio.run(go())


def test_a_connection_that_the_server_ends_in_the_middle_costs_nothing(server: Postgres) -> None:
    async def go() -> None:
        database = await open_database(server.new_url())
        try:
            await database.runs.insert(make_run(0))
            calls = []

            def work(transaction) -> int:
                calls.append(transaction)
                added = transaction.run("UPDATE runs SET description = 'x' WHERE id = ?", (make_run(0).id,))
                if len(calls) == 1:
                    transaction.rows("SELECT pg_terminate_backend(pg_backend_pid())")
                return added

            assert await database._engine.write(work) == 1
            assert len(calls) == 2
            assert (await database.runs.get(make_run(0).id)).description == "x"
        finally:
            await database.close()

    asyncio.run(go())


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("postgresql://me:open%20sesame%2F@127.0.0.1:1/name", Unavailable),
        ("postgresql://me:open%20sesame%2F@host:port/name?colour=red", CannotOpen),
        ("postgresql://me:open sesame/@[host", CannotOpen),
        ("postgresql://host/name?password=open%20sesame%2F&sslmode=perhaps", Unavailable),
    ],
)
def test_no_message_has_the_password(url: str, error: type[Exception]) -> None:
    pytest.importorskip("psycopg", reason="not on this machine: no psycopg; pip install 'proa[postgres]'")
    with pytest.raises(error) as refused:
        asyncio.run(open_database(url))
    chain, cause = [str(refused.value)], refused.value
    while cause is not None:
        chain.append(repr(cause))
        cause = cause.__cause__
    expect_no_secret(*chain)


def expect_no_secret(*texts: str) -> None:
    for text in texts:
        assert SECRET not in text
        assert "sesame" not in text


def test_without_psycopg_the_message_names_the_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(CannotOpen, match=r"pip install 'proa\[postgres\]'"):
        asyncio.run(open_database("postgresql://host/name"))
